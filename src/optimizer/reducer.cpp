#include "cuboid/optimizer/reducer.hpp"

#include <ATen/ops/add.h>

#include <algorithm>

#include "cuboid/base/error.hpp"
#include "cuboid/base/timer.hpp"
#include "cuboid/model/tensor_buffer.hpp"

namespace cuboid {
namespace {

// Decaying matrices, other values and gradient-only weights are complete at different times in a
// backward pass (the output layer's second gradient first, the vectors with the first layer).
int region_of(const Weight& weight) {
  if (weight.gradient_only) return 2;
  return weight.decays ? 0 : 1;
}

std::vector<const Weight*> in_backward_order(const WeightStore& store) {
  std::vector<const Weight*> weights;
  for (const auto& weight : store.weights()) weights.push_back(weight.get());
  std::sort(weights.begin(), weights.end(),
            [](const Weight* a, const Weight* b) { return a->offset > b->offset; });
  return weights;
}

}  // namespace

BucketedReducer::BucketedReducer(const WeightStore& store, Communicator& dp,
                                 std::int64_t bucket_size)
    : store_(store), dp_(dp) {
  require(bucket_size >= 1, "a bucket holds at least one element");
  const Weight* previous = nullptr;
  for (const Weight* weight : in_backward_order(store)) {
    const std::int64_t end = weight->offset + weight->count();
    if (previous == nullptr || region_of(*previous) != region_of(*weight) ||
        buckets_.back().size() >= bucket_size) {
      buckets_.push_back({weight->offset, end});
      bucket_weights_.push_back(0);
    }
    buckets_.back().begin = weight->offset;
    ++bucket_weights_.back();
    bucket_of_[weight] = buckets_.size() - 1;
    previous = weight;
  }
  reset();
}

void BucketedReducer::reset() {
  added_.clear();
  missing_ = bucket_weights_;
  num_started_ = 0;
}

void BucketedReducer::add(const Weight& weight) {
  const auto bucket = bucket_of_.find(&weight);
  require(bucket != bucket_of_.end(), "the weight belongs to the reducer's store");
  require(!weight.fresh, "a weight has a gradient when it is added");
  require(added_.insert(&weight).second, "a weight is added once in a step");
  if (--missing_[bucket->second] == 0) start(bucket->second);
  // MPI moves data only when it is called.
  while (!pending_.empty() && pending_.front()->poll()) pending_.pop_front();
}

void BucketedReducer::start(std::size_t bucket) {
  const Range range = buckets_[bucket];
  pending_.push_back(dp_.start_all_reduce(
      slice(buffer_of(store_.gradients()), range.begin, range.size()), ReduceOp::kSum));
  ++num_started_;
}

void BucketedReducer::finish() {
  require(num_started_ == buckets_.size(), "every weight is added before a step's end");
  const Timer timer;
  for (; !pending_.empty(); pending_.pop_front()) pending_.front()->wait();
  wait_seconds_ += timer.seconds();
  reset();
}

void BucketedReducer::abandon() {
  pending_.clear();
  reset();
}

void finish_tied_gradient(Weight& weight, const Weight* second, Communicator& ends) {
  if (second != nullptr) {
    require(ends.size() == 1, "a second gradient exists where both ends are one stage");
    weight.gradient.add_(second->gradient);
  }
  ends.all_reduce(buffer_of(weight.gradient));
}

}  // namespace cuboid
