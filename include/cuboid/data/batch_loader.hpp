// One rank's batches: tokens and targets of each step, read ahead by a thread.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include "cuboid/data/sampler.hpp"
#include "cuboid/data/token_sequence.hpp"

namespace cuboid {

// How a global batch is divided: replica r of dp_size takes samples [r * n, (r + 1) * n) of it, n =
// num_microbatches * micro_batch_size, in order.
struct BatchShape {
  std::int64_t seq_length = 0;
  std::int64_t micro_batch_size = 1;
  std::int64_t num_microbatches = 1;
  std::int64_t dp_size = 1;
  std::int64_t dp_rank = 0;

  [[nodiscard]] std::int64_t samples_per_replica() const {
    return num_microbatches * micro_batch_size;
  }
  [[nodiscard]] std::int64_t global_batch_size() const { return dp_size * samples_per_replica(); }
};

// kIdsOnly is for the middle stages of a pipeline, which see neither tokens nor targets.
enum class BatchContent : unsigned char { kTokensAndTargets, kIdsOnly };

// One step's batch of one rank.
struct Batch {
  // Samples over all replicas before this batch.
  std::int64_t consumed = 0;
  // Number in the whole run of this replica's first sample; the others follow it one by one, so
  // micro-batch m begins with first_sample + m * micro_batch_size. Seeds dropout.
  std::int64_t first_sample = 0;
  // [num_microbatches][micro_batch_size * seq_length], contiguous; empty for kIdsOnly.
  std::vector<std::int64_t> tokens;
  std::vector<std::int64_t> targets;  // the tokens that follow, same shape
  // Token offsets of this replica's samples, [num_microbatches * micro_batch_size].
  std::vector<std::int64_t> sample_ids;
  std::string digest;  // sample_digest of the whole global batch
};

// First token of the sample with a given number: a pure function.
using SampleOrder = std::function<std::int64_t(std::int64_t sample)>;
SampleOrder order_of(const TrainSampler& sampler);
SampleOrder order_of(const ValidationSampler& sampler);

// Reads batches as a pure function of the samples consumed before.
class BatchReader {
 public:
  BatchReader(TokenSplit tokens, SampleOrder order, const BatchShape& shape,
              BatchContent content = BatchContent::kTokensAndTargets);

  [[nodiscard]] const BatchShape& shape() const { return shape_; }
  // Fills `batch`, reusing its memory. Throws what TokenFile::read throws.
  void read(std::int64_t consumed, Batch& batch) const;

 private:
  TokenSplit tokens_;
  SampleOrder order_;
  BatchShape shape_;
  BatchContent content_;
};

// Reads one step ahead in a thread of its own (with all signals blocked). Not for several threads.
class BatchLoader {
 public:
  // Starts to read the batch after `consumed` samples.
  explicit BatchLoader(BatchReader reader, std::int64_t consumed = 0);
  BatchLoader(const BatchLoader&) = delete;
  BatchLoader& operator=(const BatchLoader&) = delete;
  ~BatchLoader();

  [[nodiscard]] const BatchShape& shape() const { return reader_.shape(); }
  // The next batch; valid until the next call of next() or seek(). Rethrows the thread's error,
  // again at every call until seek().
  const Batch& next();
  // The next batch will be the one after `consumed` samples; what was read ahead is dropped.
  void seek(std::int64_t consumed);

 private:
  enum class State : unsigned char { kReading, kReady, kFailed };
  void run(const std::stop_token& stop);

  BatchReader reader_;
  std::mutex mutex_;
  std::condition_variable_any changed_;
  State state_ = State::kReading;    // of ahead_
  std::uint64_t generation_ = 0;     // counts seeks, so that a stale read is dropped
  std::int64_t ahead_consumed_ = 0;  // of ahead_
  Batch current_, ahead_;
  std::exception_ptr error_;
  std::jthread thread_;  // last: it must end before what it uses
};

}  // namespace cuboid
