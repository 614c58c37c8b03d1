// What the checkpoint tests share: a folder of all ranks, tensors with known values, slicings.
#pragma once

#include <gtest/gtest.h>
#include <mpi.h>
#include <stdlib.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstddef>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <vector>

#include "cuboid/base/error.hpp"
#include "cuboid/checkpoint/metadata.hpp"
#include "cuboid/checkpoint/tensor_slice.hpp"
#include "cuboid/grid/shape.hpp"

namespace cuboid::testing_checkpoint {

inline int world_rank() {
  int rank = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  return rank;
}
inline int world_size() {
  int size = 0;
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  return size;
}

// A folder that all ranks see, gone when the test ends.
class CheckpointTest : public testing::Test {
 protected:
  void SetUp() override {
    // As the program does: a limit on file sizes is an error, not the end.
    std::signal(SIGXFSZ, SIG_IGN);
    std::array<char, 256> name{};
    if (world_rank() == 0) {
      std::strcpy(name.data(), (std::filesystem::temp_directory_path() / "cuboid-XXXXXX").c_str());
      ASSERT_NE(::mkdtemp(name.data()), nullptr);
    }
    MPI_Bcast(name.data(), static_cast<int>(name.size()), MPI_CHAR, 0, MPI_COMM_WORLD);
    folder_ = name.data();
  }
  void TearDown() override {
    MPI_Barrier(MPI_COMM_WORLD);
    if (world_rank() == 0) std::filesystem::remove_all(folder_);
  }
  [[nodiscard]] std::string path(const std::string& name) const { return folder_ + "/" + name; }
  [[nodiscard]] std::vector<std::string> files() const {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(folder_))
      names.push_back(entry.path().filename());
    std::sort(names.begin(), names.end());
    return names;
  }
  std::string folder_;
};

// Byte `b` of element `index` of a tensor: all differ enough that a wrong place shows.
inline unsigned char byte_at(const std::string& name, std::int64_t index, std::size_t b) {
  auto x = static_cast<std::uint64_t>(index) * 0x9E3779B97F4A7C15U + std::hash<std::string>{}(name);
  x = (x ^ (x >> 31)) * 0xBF58476D1CE4E5B9U;
  return static_cast<unsigned char>(x >> (8 * (b % 7) + 3));
}

// A slice that owns its memory.
struct OwnedSlice {
  TensorSlice slice;
  std::vector<unsigned char> bytes;
};

using Shape = std::vector<std::int64_t>;

inline OwnedSlice make_slice(const std::string& name, DType dtype, const Shape& shape,
                             const Box& box, bool filled) {
  OwnedSlice owned;
  const std::size_t width = size_of(dtype);
  owned.bytes.assign(static_cast<std::size_t>(volume(box.extent)) * width, 0xA5);
  if (filled) {
    for_each_run(box, shape, [&](const Run& run) {
      for (std::int64_t i = 0; i < run.count; ++i)
        for (std::size_t b = 0; b < width; ++b)
          owned.bytes[static_cast<std::size_t>(run.box_begin + i) * width + b] =
              byte_at(name, run.tensor_begin + i, b);
    });
  }
  owned.slice = {.name = name,
                 .dtype = dtype,
                 .shape = shape,
                 .offset = box.offset,
                 .extent = box.extent,
                 .data = {owned.bytes.data(), volume(box.extent), dtype, Place::kHost}};
  return owned;
}

// How the ranks share a tensor.
enum class Slicing { kRows, kColumns, kBlocks, kReplicated, kLastRank, kReversedUneven };
inline constexpr std::array kSlicings = {Slicing::kRows,     Slicing::kColumns,
                                         Slicing::kBlocks,   Slicing::kReplicated,
                                         Slicing::kLastRank, Slicing::kReversedUneven};

inline void cut_dim(Box& box, std::size_t dim, Range part) {
  box.offset[dim] = part.begin;
  box.extent[dim] = part.size();
}

inline Box box_of(Slicing slicing, const Shape& shape, int rank, int size) {
  Box box = whole(shape);
  const std::size_t last = shape.size() - 1;
  switch (slicing) {
    case Slicing::kRows: cut_dim(box, 0, even_part(shape[0], size, rank)); break;
    case Slicing::kColumns: cut_dim(box, last, even_part(shape[last], size, rank)); break;
    case Slicing::kBlocks: {
      const int columns = size % 2 == 0 ? 2 : 1;
      cut_dim(box, last, even_part(shape[last], columns, rank % columns));
      if (last > 0)
        cut_dim(box, 0, even_part(shape[0], size / columns, rank / columns));
      else if (rank >= columns)
        box.extent[0] = 0;
      break;
    }
    case Slicing::kReplicated: break;
    case Slicing::kLastRank:
      if (rank != size - 1) box.extent[0] = 0;
      break;
    case Slicing::kReversedUneven: {  // ranks in reverse, the first part three times the others
      const int r = size - 1 - rank;
      const Range head = even_part(shape[0], size + 2, 2);
      const Range part = even_part(shape[0], size + 2, r + 2);
      cut_dim(box, 0, r == 0 ? Range{0, head.end} : part);
      break;
    }
  }
  return box;
}

struct Tensor {
  std::string name;
  DType dtype;
  Shape shape;
};

inline std::vector<Tensor> small_model() {
  return {{"parameters/embedding.token.weight", DType::kFloat32, {67, 24}},
          {"parameters/layers.0.mlp.up.weight", DType::kFloat32, {96, 24}},
          {"parameters/layers.0.mlp.down.bias", DType::kFloat32, {24}},
          {"parameters/layers.0.norm.weight", DType::kBFloat16, {5, 3, 7}},
          {"parameters/empty", DType::kFloat32, {0, 4}},
          {"optimizer/exp_avg/embedding.token.weight", DType::kFloat32, {67, 24}},
          {"optimizer/exp_avg_sq/embedding.token.weight", DType::kFloat64, {67, 24}},
          {"optimizer/large", DType::kFloat32, {300, 1000}},
          {"state/counter", DType::kInt64, {1}},
          {"state/bytes", DType::kUInt8, {1, 1, 2050}}};
}

// This rank's slices of the model. Saved replicas share the work; loaded ones hold it whole.
struct Slices {
  std::vector<OwnedSlice> owned;
  std::vector<TensorSlice> list;
};

inline Slices slices_of(const std::vector<Tensor>& model, Slicing slicing, bool filled) {
  Slices result;
  result.owned.reserve(model.size());
  for (const Tensor& tensor : model) {
    const Box box = box_of(slicing, tensor.shape, world_rank(), world_size());
    result.owned.push_back(make_slice(tensor.name, tensor.dtype, tensor.shape, box, filled));
    TensorSlice slice = result.owned.back().slice;
    if (filled && slicing == Slicing::kReplicated)
      slice = share_of(slice, world_size(), world_rank());
    result.list.push_back(slice);
  }
  return result;
}

inline void expect_filled(const Slices& slices, const std::string& context = "") {
  for (const OwnedSlice& got : slices.owned) {
    const TensorSlice& s = got.slice;
    const OwnedSlice want = make_slice(s.name, s.dtype, s.shape, s.box(), true);
    EXPECT_EQ(got.bytes == want.bytes, true) << s.name << " " << context;
  }
}

inline Metadata some_metadata() {
  Metadata metadata;
  metadata.step = 120;
  metadata.consumed_samples = 960;
  metadata.tokens = 61440;
  metadata.seed = 0xFEDCBA9876543210U;
  metadata.sample_digest = "0123456789abcdef";
  metadata.grid = {.dp = world_size(), .tp = 1, .pp = 1};
  metadata.options = {{"hidden-size", "24"}, {"learning-rate", "0.0003"}, {"resume", ""}};
  metadata.state = {{"rng", "philox 7"}};
  metadata.versions = {{"cuboid", "1.0"}};
  for (int i = 0; i < 120; ++i) {
    metadata.history.step.push_back(i + 1);
    metadata.history.loss.push_back(5.5 - 0.01 * i);
    metadata.history.grad_norm.push_back(1.0 / (i + 1));
    metadata.history.learning_rate.push_back(1e-4 * i);
    metadata.history.consumed_samples.push_back(8 * (i + 1));
  }
  return metadata;
}

// The error's text, or "" where `call` throws no Error.
template <typename Error>
std::string error_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

inline std::vector<char> file_bytes(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}
inline void write_bytes(const std::string& path, const std::vector<char>& bytes) {
  std::ofstream(path, std::ios::binary)
      .write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

}  // namespace cuboid::testing_checkpoint
