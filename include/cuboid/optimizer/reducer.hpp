// Sums gradients over data-parallel replicas while the backward pass still runs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "cuboid/collective/communicator.hpp"
#include "cuboid/model/weight.hpp"

namespace cuboid {

// Two verbs, called in each step on all ranks of the data-parallel group in the same order: add()
// once for each weight of the store, gradient-only ones included, then finish(). Whether and how
// communication overlaps with the backward pass is the implementation's to say.
class GradientReducer {
 public:
  GradientReducer() = default;
  GradientReducer(const GradientReducer&) = delete;
  GradientReducer& operator=(const GradientReducer&) = delete;
  virtual ~GradientReducer() = default;

  // This rank's gradient of the weight is final for this step; nobody may touch it until finish().
  virtual void add(const Weight& weight) = 0;
  // Afterwards every gradient is the sum over the group, the same bits on every rank. Throws
  // std::logic_error when a weight was not added.
  virtual void finish() = 0;
};

// All-reduces contiguous ranges of the flat gradients ("buckets"), each as soon as its last weight
// has been added. Sums, not means: the loss carries the scale. Li et al., "PyTorch Distributed",
// VLDB 2020, section 3.2.
class BucketedReducer : public GradientReducer {
 public:
  // A bucket ends at the weight with which it reaches `bucket_size` elements. Both must outlive the
  // reducer; the store must be allocated.
  BucketedReducer(const WeightStore& store, Communicator& dp, std::int64_t bucket_size);

  void add(const Weight& weight) override;
  void finish() override;
  // Forgets a step that was cut short, so that another can begin.
  void abandon();

  // Ranges of the flat gradients, ordered as a backward pass completes them: each of the store's
  // regions (decaying, other, gradient-only) from its end to its start.
  [[nodiscard]] const std::vector<Range>& buckets() const { return buckets_; }
  // All-reduces that this step has started so far.
  [[nodiscard]] std::size_t num_started() const { return num_started_; }
  // Seconds, summed over all steps, in which finish() waited: what the backward pass did not hide.
  [[nodiscard]] double wait_seconds() const { return wait_seconds_; }

 private:
  void start(std::size_t bucket);
  void reset();

  const WeightStore& store_;
  Communicator& dp_;
  std::vector<Range> buckets_;
  std::unordered_map<const Weight*, std::size_t> bucket_of_;
  std::vector<std::size_t> bucket_weights_;  // of each bucket
  // Of this step.
  std::unordered_set<const Weight*> added_;
  std::vector<std::size_t> missing_;  // weights of each bucket that were not added yet
  std::deque<PendingWork> pending_;
  std::size_t num_started_ = 0;
  double wait_seconds_ = 0;
};

// The second part of a tied weight's gradient, once a step after the reducer has finished. With one
// pipeline stage `second` is the gradient of the output layer: gradient += second. With several,
// `second` is null and both ends call this for their weight: gradient = sum over `ends` (first and
// last stage). Other stages have no tied weight and do not call it. Each rank of the
// tensor-parallel group holds its slice. Either way one number of the embedding is added to one of
// the output layer, and a + b is b + a: the same bits on every grid.
void finish_tied_gradient(Weight& weight, const Weight* second, Communicator& ends);

}  // namespace cuboid
