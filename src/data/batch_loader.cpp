#include "cuboid/data/batch_loader.hpp"

#include <algorithm>
#include <utility>

#include "cuboid/base/error.hpp"
#include "cuboid/base/signals_blocked.hpp"

namespace cuboid {
SampleOrder order_of(const TrainSampler& sampler) {
  return [sampler](std::int64_t sample) { return sampler.at(sample).token_offset; };
}

SampleOrder order_of(const ValidationSampler& sampler) {
  return [sampler](std::int64_t sample) { return sampler.token_offset(sample); };
}

BatchReader::BatchReader(TokenSplit tokens, SampleOrder order, const BatchShape& shape,
                         BatchContent content)
    : tokens_(std::move(tokens)), order_(std::move(order)), shape_(shape), content_(content) {
  require(shape.seq_length > 0 && shape.micro_batch_size > 0 && shape.num_microbatches > 0 &&
              shape.dp_rank >= 0 && shape.dp_rank < shape.dp_size,
          "a batch has a shape");
}

void BatchReader::read(std::int64_t consumed, Batch& batch) const {
  const std::int64_t mine = shape_.samples_per_replica();
  batch.consumed = consumed;
  batch.first_sample = consumed + shape_.dp_rank * mine;
  std::vector<std::int64_t> ids(static_cast<std::size_t>(shape_.global_batch_size()));
  for (std::size_t i = 0; i < ids.size(); ++i)
    ids[i] = order_(consumed + static_cast<std::int64_t>(i));
  batch.digest = sample_digest(ids);
  const auto first = ids.begin() + (batch.first_sample - consumed);
  batch.sample_ids.assign(first, first + mine);
  if (content_ == BatchContent::kIdsOnly) return;

  const auto length = static_cast<std::size_t>(shape_.seq_length);
  batch.tokens.resize(batch.sample_ids.size() * length);
  batch.targets.resize(batch.tokens.size());
  std::vector<std::int64_t> window(length + 1);
  for (std::size_t i = 0; i < batch.sample_ids.size(); ++i) {
    tokens_.read(batch.sample_ids[i], window);
    const auto at = static_cast<std::ptrdiff_t>(i * length);
    std::copy(window.begin(), window.end() - 1, batch.tokens.begin() + at);
    std::copy(window.begin() + 1, window.end(), batch.targets.begin() + at);
  }
}

BatchLoader::BatchLoader(BatchReader reader, std::int64_t consumed)
    : reader_(std::move(reader)), ahead_consumed_(consumed) {
  const SignalsBlocked blocked;
  thread_ = std::jthread([this](const std::stop_token& stop) { run(stop); });
}

BatchLoader::~BatchLoader() = default;

void BatchLoader::run(const std::stop_token& stop) {
  std::unique_lock lock(mutex_);
  while (changed_.wait(lock, stop, [&] { return state_ == State::kReading; })) {
    if (stop.stop_requested()) return;
    const std::uint64_t generation = generation_;
    const std::int64_t consumed = ahead_consumed_;
    lock.unlock();
    std::exception_ptr error;
    try {
      reader_.read(consumed, ahead_);
    } catch (...) {
      error = std::current_exception();
    }
    lock.lock();
    if (generation != generation_) continue;  // seek() came between
    state_ = error ? State::kFailed : State::kReady;
    error_ = error;
    changed_.notify_all();
  }
}

const Batch& BatchLoader::next() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return state_ != State::kReading; });
  if (state_ == State::kFailed) std::rethrow_exception(error_);
  std::swap(current_, ahead_);
  ahead_consumed_ += shape().global_batch_size();
  state_ = State::kReading;
  changed_.notify_all();
  return current_;
}

void BatchLoader::seek(std::int64_t consumed) {
  const std::lock_guard lock(mutex_);
  ++generation_;
  ahead_consumed_ = consumed;
  state_ = State::kReading;
  error_ = nullptr;
  changed_.notify_all();
}

}  // namespace cuboid
