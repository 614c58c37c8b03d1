#include "cuboid/collective/benchmark.hpp"

#include <array>

#include "cuboid/base/error.hpp"
#include "cuboid/base/timer.hpp"
#include "cuboid/collective/check_data.hpp"
#include "cuboid/collective/cuda.hpp"

namespace cuboid {
namespace {

// The first `count` elements of `memory`, as `dtype`.
Buffer as(const Buffer& memory, std::int64_t count, DType dtype) {
  const Buffer view = {memory.data, count, dtype, memory.place};
  require(view.bytes() <= memory.bytes(), "a benchmark's memory is as large as memory_for says");
  return view;
}

}  // namespace

std::int64_t count_for(Collective collective, DType dtype, std::int64_t bytes, int ranks) {
  const std::int64_t whole = bytes / static_cast<std::int64_t>(size_of(dtype));
  return has_parts(collective) ? whole / ranks : whole;
}

std::int64_t size_of(const CollectiveCase& one, int ranks) {
  const std::int64_t parts = has_parts(one.collective) ? ranks : 1;
  return one.count * parts * static_cast<std::int64_t>(size_of(one.dtype));
}

BenchmarkMemory memory_for(const CollectiveCase& one, int ranks) {
  const std::int64_t whole = size_of(one, ranks);
  if (one.in_place) return {.first = whole, .second = 0};
  switch (one.collective) {
    case Collective::kAllGather: return {.first = whole / ranks, .second = whole};
    case Collective::kReduceScatter: return {.first = whole, .second = whole / ranks};
    default: return {.first = whole, .second = whole};
  }
}

CollectiveBenchmark::Views CollectiveBenchmark::views_of(const CollectiveCase& one) const {
  const std::int64_t whole = has_parts(one.collective) ? one.count * group_.size() : one.count;
  const auto part_of = [&](const Buffer& buffer) {
    return slice(buffer, group_.rank() * one.count, one.count);
  };
  switch (one.collective) {
    case Collective::kAllReduce:
    case Collective::kBroadcast: {
      const Buffer all = as(first_, whole, one.dtype);
      return {all, all};
    }
    case Collective::kAllGather: {
      const Buffer all = as(one.in_place ? first_ : second_, whole, one.dtype);
      return {one.in_place ? part_of(all) : as(first_, one.count, one.dtype), all};
    }
    case Collective::kReduceScatter: {
      const Buffer all = as(first_, whole, one.dtype);
      return {all, one.in_place ? part_of(all) : as(second_, one.count, one.dtype)};
    }
    case Collective::kSendReceive:
      return {as(first_, whole, one.dtype), as(second_, whole, one.dtype)};
  }
  return {};
}

void CollectiveBenchmark::run(const CollectiveCase& one, const Views& views) {
  const int n = group_.size();
  switch (one.collective) {
    case Collective::kAllReduce: return group_.all_reduce(views.send, one.op);
    case Collective::kAllGather: return group_.all_gather(views.send, views.receive);
    case Collective::kReduceScatter:
      return group_.reduce_scatter(views.send, views.receive, one.op);
    case Collective::kBroadcast: return group_.broadcast(views.send, one.root);
    case Collective::kSendReceive: {
      const std::array<Transfer, 2> ring = {
          {{Transfer::Kind::kReceive, views.receive, (group_.rank() + n - 1) % n},
           {Transfer::Kind::kSend, views.send, (group_.rank() + 1) % n}}};
      return group_.start_exchange(ring)->wait();
    }
  }
}

// For host memory an operation is complete when its verb returns.
void CollectiveBenchmark::finish() const {
  if (first_.place == Place::kDevice) check_cuda(cudaDeviceSynchronize());
}

double CollectiveBenchmark::time(const CollectiveCase& one, int warmups, int iterations) {
  prepare(one, 0);
  const Views views = views_of(one);
  for (int i = 0; i < warmups; ++i) run(one, views);
  finish();
  everyone_.barrier();
  const Timer timer;
  for (int i = 0; i < iterations; ++i) run(one, views);
  finish();
  return timer.seconds() / iterations;
}

// What is to be received is poisoned, so that nothing of before can pass for a result.
void CollectiveBenchmark::prepare(const CollectiveCase& one, int round) {
  const Views views = views_of(one);
  const int rank = group_.rank();
  if (reduces(one.collective)) {
    poison(views.receive);
    fill(views.send,
         [&](std::int64_t i) { return check_term(one.op, rank, group_.size(), i, round); });
    return;
  }
  poison(views.receive);
  if (one.collective == Collective::kBroadcast && rank != one.root) return;
  fill(views.send, [&](std::int64_t i) { return check_message(rank, i, round); });
}

std::int64_t CollectiveBenchmark::check(const CollectiveCase& one, int round) {
  prepare(one, round);
  const Views views = views_of(one);
  const int n = group_.size();
  const int rank = group_.rank();
  run(one, views);
  switch (one.collective) {
    case Collective::kAllReduce:
      return count_wrong(views.receive,
                         [&](std::int64_t i) { return check_result(one.op, n, i, round); });
    case Collective::kReduceScatter:
      return count_wrong(views.receive, [&](std::int64_t i) {
        return check_result(one.op, n, rank * one.count + i, round);
      });
    case Collective::kAllGather:
      return count_wrong(views.receive, [&](std::int64_t i) {
        return check_message(static_cast<int>(i / one.count), i % one.count, round);
      });
    case Collective::kBroadcast:
      return count_wrong(views.receive,
                         [&](std::int64_t i) { return check_message(one.root, i, round); });
    case Collective::kSendReceive:
      return count_wrong(views.receive, [&](std::int64_t i) {
        return check_message((rank + n - 1) % n, i, round);
      });
  }
  return 0;
}

double over_ranks(double seconds, Average average, Communicator& group) {
  switch (average) {
    case Average::kFirst: group.broadcast(buffer_of(seconds), 0); return seconds;
    case Average::kMean: group.all_reduce(buffer_of(seconds)); return seconds / group.size();
    case Average::kMinimum: group.all_reduce(buffer_of(seconds), ReduceOp::kMin); return seconds;
    case Average::kMaximum: group.all_reduce(buffer_of(seconds), ReduceOp::kMax); return seconds;
  }
  return seconds;
}

}  // namespace cuboid
