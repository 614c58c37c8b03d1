// How the tensors of two checkpoints differ, value by value.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "cuboid/checkpoint/reader.hpp"

namespace cuboid {

// One tensor, by its name. The figures are 0 unless both files have it in the same shape and dtype.
struct TensorDifference {
  enum class Kind : unsigned char { kEqual, kValues, kShapeOrDtype, kOnlyInFirst, kOnlyInSecond };
  std::string name;
  Kind kind = Kind::kEqual;
  TensorInfo first, second;  // without a name where a file does not have it
  std::int64_t num_elements = 0;
  // Elements whose bits differ: 0.0 and -0.0 do, a NaN and the same NaN do not.
  std::int64_t num_different = 0;
  // Of |first - second| over all elements; infinite where a NaN or an infinity meets anything else.
  double max_difference = 0.0;
  double mean_difference = 0.0;
};

struct CompareOptions {
  int num_threads = 1;
  // Called now and then, from one thread at a time, with the bytes read of both files.
  std::function<void(std::int64_t bytes_done, std::int64_t bytes_in_all)> progress = {};
};

// Every tensor that either file has, by ascending name; the same with any number of threads. Reads
// all values of both, a few MiB a thread at a time, and verifies them: throws DamagedCheckpoint
// naming every damaged tensor of either, SystemError where reading fails.
std::vector<TensorDifference> compare_checkpoints(const CheckpointReader& first,
                                                  const CheckpointReader& second,
                                                  const CompareOptions& options = {});

}  // namespace cuboid
