// The test bodies of the verbs, run for each backend: a Backend type says how to make a
// communicator, where its buffers are, how large they get, and why it cannot run here, if so.
#pragma once

#include <gtest/gtest.h>
#include <mpi.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <functional>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

#include "cuboid/base/error.hpp"
#include "cuboid/collective/bfloat16.hpp"
#include "cuboid/collective/communicator.hpp"
#include "cuboid/collective/cuda.hpp"

namespace cuboid::test {

constexpr DType kAllTypes[] = {DType::kFloat32, DType::kFloat64, DType::kBFloat16, DType::kInt64,
                               DType::kUInt8};
constexpr DType kReducedTypes[] = {DType::kFloat32, DType::kFloat64, DType::kBFloat16,
                                   DType::kInt64};
constexpr ReduceOp kOps[] = {ReduceOp::kSum, ReduceOp::kMax, ReduceOp::kMin};

// Elements in host or device memory, read and written as double.
class Array {
 public:
  Array(std::int64_t count, DType dtype, Place place)
      : bytes_(static_cast<std::size_t>(count) * size_of(dtype)),
        view_{bytes_.data(), count, dtype, place} {
    if (place == Place::kDevice) check_cuda(cudaMalloc(&view_.data, bytes_.size() + 1));
  }
  Array(Array&& other) noexcept
      : bytes_(std::move(other.bytes_)), view_(std::exchange(other.view_, {})) {}
  Array(const Array&) = delete;
  Array& operator=(const Array&) = delete;
  Array& operator=(Array&&) = delete;
  ~Array() {
    if (view_.place == Place::kDevice) cudaFree(view_.data);
  }

  [[nodiscard]] Buffer buffer() const { return view_; }
  [[nodiscard]] std::int64_t count() const { return view_.count; }

  void fill(const std::function<double(std::int64_t)>& value) {
    for (std::int64_t i = 0; i < count(); ++i) encode(i, value(i));
    if (view_.place == Place::kDevice) {
      check_cuda(cudaMemcpy(view_.data, bytes_.data(), bytes_.size(), cudaMemcpyHostToDevice));
    }
  }
  // What the compute stream sees: the copy is ordered after wait().
  const std::vector<std::byte>& read() {
    if (view_.place == Place::kDevice) {
      check_cuda(cudaMemcpy(bytes_.data(), view_.data, bytes_.size(), cudaMemcpyDeviceToHost));
    }
    return bytes_;
  }
  // Expects element i to be value(i).
  void expect(const std::function<double(std::int64_t)>& value) {
    read();
    for (std::int64_t i = 0; i < count(); ++i) {
      if (decode(i) == value(i)) continue;
      ADD_FAILURE() << "element " << i << " of " << count() << ": " << decode(i) << " instead of "
                    << value(i);
      return;
    }
  }
  [[nodiscard]] double decode(std::int64_t i) const {
    switch (view_.dtype) {
      case DType::kFloat32: return get<float>(i);
      case DType::kFloat64: return get<double>(i);
      case DType::kBFloat16: return float_of_bfloat16(get<std::uint16_t>(i));
      case DType::kInt64: return static_cast<double>(get<std::int64_t>(i));
      case DType::kUInt8: return get<std::uint8_t>(i);
    }
    return 0;
  }

 private:
  void encode(std::int64_t i, double value) {
    switch (view_.dtype) {
      case DType::kFloat32: return set(i, static_cast<float>(value));
      case DType::kFloat64: return set(i, value);
      case DType::kBFloat16: return set(i, bfloat16_of_float(static_cast<float>(value)));
      case DType::kInt64: return set(i, static_cast<std::int64_t>(value));
      case DType::kUInt8: return set(i, static_cast<std::uint8_t>(value));
    }
  }
  template <typename T>
  [[nodiscard]] T get(std::int64_t i) const {
    T value;
    std::memcpy(&value, bytes_.data() + static_cast<std::size_t>(i) * sizeof(T), sizeof(T));
    return value;
  }
  template <typename T>
  void set(std::int64_t i, T value) {
    std::memcpy(bytes_.data() + static_cast<std::size_t>(i) * sizeof(T), &value, sizeof(T));
  }

  std::vector<std::byte> bytes_;
  Buffer view_;
};

// Small whole numbers: sums over 8 ranks are exact in every type.
inline double value_of(int rank, std::int64_t i) {
  return static_cast<double>((rank * 7 + i * 3) % 11);
}

inline double reduced(ReduceOp op, int size, std::int64_t i) {
  double result = value_of(0, i);
  for (int rank = 1; rank < size; ++rank) {
    const double next = value_of(rank, i);
    if (op == ReduceOp::kSum) result += next;
    if (op == ReduceOp::kMax) result = std::max(result, next);
    if (op == ReduceOp::kMin) result = std::min(result, next);
  }
  return result;
}

// Uneven, with empty parts among them; rank 0's is not the largest.
inline std::vector<std::int64_t> uneven_counts(int size, std::int64_t scale) {
  std::vector<std::int64_t> counts(static_cast<std::size_t>(size));
  for (std::size_t r = 0; r < counts.size(); ++r) {
    counts[r] =
        static_cast<std::int64_t>((r * 2 + 1) % 4) * scale + static_cast<std::int64_t>(r % 2);
    if (r % 3 == 2) counts[r] = 0;
  }
  return counts;
}

inline std::int64_t offset_of(const std::vector<std::int64_t>& counts, int rank) {
  return std::accumulate(counts.begin(), counts.begin() + rank, std::int64_t{0});
}

template <typename Backend>
class Verbs : public testing::Test {
 protected:
  void SetUp() override {
    const std::string reason = Backend::why_not();
    if (!reason.empty()) GTEST_SKIP() << reason;
    comm_ = Backend::make(MPI_COMM_WORLD, "test");
  }
  [[nodiscard]] Array array(std::int64_t count, DType dtype = DType::kFloat32) const {
    return Array(count, dtype, Backend::kPlace);
  }
  // Empty, one, odd; within an eager message, beyond it, and beyond one piece of a reduction.
  [[nodiscard]] static std::vector<std::int64_t> sizes() {
    std::vector<std::int64_t> all = {0, 1, 7, 1000, 5003, 300007};
    std::erase_if(all, [](std::int64_t size) { return size > Backend::kLargest; });
    return all;
  }
  // Of one rank's part of a buffer that holds all parts.
  [[nodiscard]] std::vector<std::int64_t> part_sizes() const {
    auto all = sizes();
    for (std::int64_t& size : all) size = size > 10000 ? size / comm_->size() : size;
    return all;
  }
  [[nodiscard]] int next() const { return (comm_->rank() + 1) % comm_->size(); }
  [[nodiscard]] int previous() const { return (comm_->rank() + comm_->size() - 1) % comm_->size(); }
  std::unique_ptr<Communicator> comm_;
};
TYPED_TEST_SUITE_P(Verbs);

TYPED_TEST_P(Verbs, AllReduceGivesEveryRankTheReduction) {
  const int size = this->comm_->size();
  for (const DType dtype : kReducedTypes) {
    for (const ReduceOp op : kOps) {
      for (const std::int64_t count : this->sizes()) {
        SCOPED_TRACE(std::string(name_of(dtype)) + " op " + std::to_string(static_cast<int>(op)));
        Array blocking = this->array(count, dtype);
        Array started = this->array(count, dtype);
        const auto mine = [&](std::int64_t i) { return value_of(this->comm_->rank(), i); };
        blocking.fill(mine);
        started.fill(mine);
        this->comm_->all_reduce(blocking.buffer(), op);
        this->comm_->start_all_reduce(started.buffer(), op)->wait();
        blocking.expect([&](std::int64_t i) { return reduced(op, size, i); });
        started.expect([&](std::int64_t i) { return reduced(op, size, i); });
      }
    }
  }
}

TYPED_TEST_P(Verbs, AllGatherConcatenatesInRankOrder) {
  const int size = this->comm_->size();
  for (const DType dtype : kAllTypes) {
    for (const std::int64_t count : this->part_sizes()) {
      Array send = this->array(count, dtype);
      Array receive = this->array(count * size, dtype);
      send.fill([&](std::int64_t i) { return value_of(this->comm_->rank(), i); });
      this->comm_->all_gather(send.buffer(), receive.buffer());
      receive.expect(
          [&](std::int64_t i) { return value_of(static_cast<int>(i / count), i % count); });
    }
  }
}

TYPED_TEST_P(Verbs, AllGatherTakesUnevenCountsInPlaceToo) {
  const int size = this->comm_->size();
  const int rank = this->comm_->rank();
  for (const DType dtype : kAllTypes) {
    for (const std::int64_t scale : {1, 40, 3000}) {
      if (scale > TypeParam::kLargest) continue;
      const auto counts = uneven_counts(size, scale);
      const auto mine = counts[static_cast<std::size_t>(rank)];
      const auto total = offset_of(counts, size);
      const auto begin = offset_of(counts, rank);
      Array send = this->array(mine, dtype);
      send.fill([&](std::int64_t i) { return value_of(0, begin + i); });
      Array receive = this->array(total, dtype);
      this->comm_->all_gather(send.buffer(), receive.buffer(), counts);
      receive.expect([&](std::int64_t i) { return value_of(0, i); });
      Array whole = this->array(total, dtype);
      whole.fill(
          [&](std::int64_t i) { return i >= begin && i < begin + mine ? value_of(0, i) : 99; });
      this->comm_->all_gather(slice(whole.buffer(), begin, mine), whole.buffer(), counts);
      whole.expect([&](std::int64_t i) { return value_of(0, i); });
    }
  }
}

TYPED_TEST_P(Verbs, ReduceScatterGivesEachRankItsPart) {
  const int size = this->comm_->size();
  const int rank = this->comm_->rank();
  for (const DType dtype : kReducedTypes) {
    for (const ReduceOp op : kOps) {
      for (const std::int64_t count : this->part_sizes()) {
        Array send = this->array(count * size, dtype);
        send.fill([&](std::int64_t i) { return value_of(rank, i); });
        Array blocking = this->array(count, dtype);
        Array started = this->array(count, dtype);
        this->comm_->reduce_scatter(send.buffer(), blocking.buffer(), op);
        this->comm_->start_reduce_scatter(send.buffer(), started.buffer(), op, {})->wait();
        const auto expected = [&](std::int64_t i) { return reduced(op, size, rank * count + i); };
        blocking.expect(expected);
        started.expect(expected);
        send.expect([&](std::int64_t i) { return value_of(rank, i); });
      }
    }
  }
}

TYPED_TEST_P(Verbs, ReduceScatterTakesUnevenCountsInPlaceToo) {
  const int size = this->comm_->size();
  const int rank = this->comm_->rank();
  for (const DType dtype : kReducedTypes) {
    for (const std::int64_t scale : {1, 40, 3000}) {
      if (scale > TypeParam::kLargest) continue;
      const auto counts = uneven_counts(size, scale);
      const auto mine = counts[static_cast<std::size_t>(rank)];
      const auto begin = offset_of(counts, rank);
      Array send = this->array(offset_of(counts, size), dtype);
      Array receive = this->array(mine, dtype);
      const auto expected = [&](std::int64_t i) {
        return reduced(ReduceOp::kSum, size, begin + i);
      };
      send.fill([&](std::int64_t i) { return value_of(rank, i); });
      this->comm_->reduce_scatter(send.buffer(), receive.buffer(), ReduceOp::kSum, counts);
      receive.expect(expected);
      const Buffer part = slice(send.buffer(), begin, mine);
      this->comm_->reduce_scatter(send.buffer(), part, ReduceOp::kSum, counts);
      send.expect([&](std::int64_t i) {
        return i >= begin && i < begin + mine ? expected(i - begin) : value_of(rank, i);
      });
    }
  }
}

TYPED_TEST_P(Verbs, BroadcastComesFromItsRoot) {
  for (const DType dtype : kAllTypes) {
    for (const std::int64_t count : this->sizes()) {
      const int root = static_cast<int>(count) % this->comm_->size();
      Array data = this->array(count, dtype);
      data.fill([&](std::int64_t i) { return value_of(this->comm_->rank(), i); });
      this->comm_->broadcast(data.buffer(), root);
      data.expect([&](std::int64_t i) { return value_of(root, i); });
    }
  }
}

// Blocking sends around a ring would wait for each other for ever.
TYPED_TEST_P(Verbs, RingOfLargeMessagesDoesNotDeadlock) {
  const std::int64_t count = TypeParam::kLargest;
  Array out = this->array(count);
  Array in = this->array(count);
  out.fill([&](std::int64_t i) { return value_of(this->comm_->rank(), i); });
  const Transfer ring[] = {{Transfer::Kind::kSend, out.buffer(), this->next()},
                           {Transfer::Kind::kReceive, in.buffer(), this->previous()}};
  this->comm_->start_exchange(ring)->wait();
  in.expect([&](std::int64_t i) { return value_of(this->previous(), i); });
}

TYPED_TEST_P(Verbs, MessagesOfAPairArriveInTheOrderOfTheirStart) {
  constexpr int kMessages = 12;
  std::vector<Array> out;
  std::vector<Array> in;
  std::vector<Transfer> transfers;
  for (int m = 0; m < kMessages; ++m) {
    // Large and small in turn: an eager message must not overtake a slow one.
    const std::int64_t count = std::min<std::int64_t>(m % 2 == 0 ? 20000 : 3, TypeParam::kLargest);
    out.push_back(this->array(count));
    in.push_back(this->array(count));
    out.back().fill([&](std::int64_t) { return 100 * this->comm_->rank() + m; });
    transfers.push_back({Transfer::Kind::kSend, out.back().buffer(), this->next()});
    transfers.push_back({Transfer::Kind::kReceive, in.back().buffer(), this->previous()});
  }
  // In two calls: order holds over calls too.
  auto first = this->comm_->start_exchange(std::span(transfers).first(kMessages));
  auto second = this->comm_->start_exchange(std::span(transfers).subspan(kMessages));
  second->wait();
  first->wait();
  for (int m = 0; m < kMessages; ++m) {
    in[static_cast<std::size_t>(m)].expect(
        [&](std::int64_t) { return 100 * this->previous() + m; });
  }
}

TYPED_TEST_P(Verbs, SendAndReceiveBetweenTwo) {
  if (this->comm_->size() == 1) GTEST_SKIP() << "needs two ranks";
  Array data = this->array(100);
  data.fill([&](std::int64_t i) { return value_of(this->comm_->rank(), i); });
  const int last = this->comm_->size() - 1;
  if (this->comm_->rank() == 0) this->comm_->send(data.buffer(), last);
  if (this->comm_->rank() == last) {
    this->comm_->receive(data.buffer(), 0);
    data.expect([&](std::int64_t i) { return value_of(0, i); });
  }
}

TYPED_TEST_P(Verbs, OperationsUnderWayDoNotDisturbEachOther) {
  const int size = this->comm_->size();
  const int rank = this->comm_->rank();
  const std::int64_t count = std::min<std::int64_t>(9001, TypeParam::kLargest);
  Array sum = this->array(count);
  Array most = this->array(count, DType::kBFloat16);
  Array gathered = this->array(count * size);
  Array part = this->array(count);
  Array scattered = this->array(count);
  Array least = this->array(count);
  Array out = this->array(count);
  Array in = this->array(count);
  for (Array* array : {&sum, &most, &part, &out}) {
    array->fill([&](std::int64_t i) { return value_of(rank, i); });
  }
  Array parts = this->array(count * size);
  Array other_parts = this->array(count * size);
  parts.fill([&](std::int64_t i) { return value_of(rank, i); });
  other_parts.fill([&](std::int64_t i) { return 20 + value_of(rank, i); });
  const Transfer ring[] = {{Transfer::Kind::kReceive, in.buffer(), this->previous()},
                           {Transfer::Kind::kSend, out.buffer(), this->next()}};
  std::vector<PendingWork> works;
  works.push_back(this->comm_->start_all_reduce(sum.buffer(), ReduceOp::kSum));
  works.push_back(
      this->comm_->start_reduce_scatter(parts.buffer(), scattered.buffer(), ReduceOp::kSum, {}));
  works.push_back(this->comm_->start_exchange(ring));
  works.push_back(
      this->comm_->start_reduce_scatter(other_parts.buffer(), least.buffer(), ReduceOp::kMin, {}));
  works.push_back(this->comm_->start_all_reduce(most.buffer(), ReduceOp::kMax));
  works.push_back(this->comm_->start_all_gather(part.buffer(), gathered.buffer(), {}));
  // Ranks may wait in any order.
  if (rank % 2 == 0) std::reverse(works.begin(), works.end());
  for (const PendingWork& work : works) work->wait();
  sum.expect([&](std::int64_t i) { return reduced(ReduceOp::kSum, size, i); });
  most.expect([&](std::int64_t i) { return reduced(ReduceOp::kMax, size, i); });
  gathered.expect([&](std::int64_t i) { return value_of(static_cast<int>(i / count), i % count); });
  scattered.expect([&](std::int64_t i) { return reduced(ReduceOp::kSum, size, rank * count + i); });
  least.expect(
      [&](std::int64_t i) { return 20 + reduced(ReduceOp::kMin, size, rank * count + i); });
  in.expect([&](std::int64_t i) { return value_of(this->previous(), i); });
}

TYPED_TEST_P(Verbs, TwoCommunicatorsKeepTheirMessagesApart) {
  const auto other = TypeParam::make(MPI_COMM_WORLD, "other");
  Array out[] = {this->array(64), this->array(64)};
  Array in[] = {this->array(64), this->array(64)};
  for (int c = 0; c < 2; ++c) {
    out[c].fill([&](std::int64_t) { return 10 * c + this->comm_->rank(); });
  }
  std::vector<PendingWork> works;
  const auto start = [&](Communicator& by, int c) {
    const Transfer ring[] = {{Transfer::Kind::kSend, out[c].buffer(), this->next()},
                             {Transfer::Kind::kReceive, in[c].buffer(), this->previous()}};
    works.push_back(by.start_exchange(ring));
  };
  // Ranks may use them in another order than each other (NCCL: once they are connected).
  const bool any_order = TypeParam::kPlace == Place::kHost || this->comm_->size() == 2;
  if (!any_order || this->comm_->rank() % 2 == 0) {
    start(*this->comm_, 0);
    start(*other, 1);
  } else {
    start(*other, 1);
    start(*this->comm_, 0);
  }
  for (const PendingWork& work : works) work->wait();
  for (int c = 0; c < 2; ++c) {
    in[c].expect([&](std::int64_t) { return 10 * c + this->previous(); });
  }
}

// Numbers whose sum depends on the order of addition.
TYPED_TEST_P(Verbs, EveryRankReceivesTheSameBits) {
  const int size = this->comm_->size();
  const int rank = this->comm_->rank();
  for (const DType dtype : {DType::kFloat32, DType::kFloat64, DType::kBFloat16}) {
    for (const std::int64_t count : this->sizes()) {
      if (count > 10000) continue;
      Array mine = this->array(count, dtype);
      for (const bool blocking : {true, false}) {
        mine.fill([&](std::int64_t i) {
          return std::ldexp(1.0 + static_cast<double>((i * 37 + rank * 101) % 997) / 3.0,
                            static_cast<int>((i + rank * 5) % 24) - 12);
        });
        if (blocking) {
          this->comm_->all_reduce(mine.buffer());
        } else {
          this->comm_->start_all_reduce(mine.buffer(), ReduceOp::kSum)->wait();
        }
        std::vector<std::byte> bytes = mine.read();
        std::vector<std::byte> first = bytes;
        MPI_Bcast(first.data(), static_cast<int>(first.size()), MPI_BYTE, 0, MPI_COMM_WORLD);
        EXPECT_EQ(bytes, first) << name_of(dtype) << " " << count << " of " << size;
      }
    }
  }
}

TYPED_TEST_P(Verbs, PollEndsAndADroppedWorkIsWaitedFor) {
  const int size = this->comm_->size();
  const std::int64_t count = std::min<std::int64_t>(50000, TypeParam::kLargest);
  Array polled = this->array(count);
  Array dropped = this->array(count);
  for (Array* array : {&polled, &dropped}) {
    array->fill([&](std::int64_t i) { return value_of(this->comm_->rank(), i); });
  }
  const PendingWork work = this->comm_->start_all_reduce(polled.buffer(), ReduceOp::kSum);
  while (!work->poll()) std::this_thread::yield();
  work->wait();
  polled.expect([&](std::int64_t i) { return reduced(ReduceOp::kSum, size, i); });
  this->comm_->start_all_reduce(dropped.buffer(), ReduceOp::kSum).reset();
  dropped.expect([&](std::int64_t i) { return reduced(ReduceOp::kSum, size, i); });
}

TYPED_TEST_P(Verbs, BarrierWaitsForTheLast) {
  using namespace std::chrono;
  this->comm_->barrier();
  const auto begin = steady_clock::now();
  constexpr auto kDelay = milliseconds(60);
  if (this->comm_->rank() == this->comm_->size() - 1) std::this_thread::sleep_for(kDelay);
  this->comm_->barrier();
  EXPECT_GE(steady_clock::now() - begin, kDelay / 2);
}

TYPED_TEST_P(Verbs, AloneItCopiesAtMost) {
  const auto alone = TypeParam::make(MPI_COMM_SELF, "alone");
  Array in = this->array(5);
  Array out = this->array(5);
  const auto expected = [](std::int64_t i) { return value_of(3, i); };
  in.fill(expected);
  alone->all_reduce(in.buffer());
  alone->broadcast(in.buffer(), 0);
  in.expect(expected);
  alone->all_gather(in.buffer(), out.buffer());
  out.expect(expected);
  out.fill([](std::int64_t) { return 99; });
  alone->reduce_scatter(in.buffer(), out.buffer());
  out.expect(expected);
  out.fill([](std::int64_t) { return 99; });
  const Transfer self[] = {{Transfer::Kind::kReceive, out.buffer(), 0},
                           {Transfer::Kind::kSend, in.buffer(), 0}};
  alone->start_exchange(self)->wait();
  out.expect(expected);
  alone->barrier();
}

TYPED_TEST_P(Verbs, ContradictingArgumentsAreRefused) {
  Array three = this->array(3);
  Array four = this->array(4 * this->comm_->size() + 1);
  Array bytes = this->array(3, DType::kUInt8);
  EXPECT_THROW(this->comm_->all_gather(three.buffer(), four.buffer()), std::logic_error);
  EXPECT_THROW(this->comm_->reduce_scatter(four.buffer(), three.buffer()), std::logic_error);
  EXPECT_THROW(this->comm_->all_reduce(bytes.buffer()), std::logic_error);
  EXPECT_THROW(this->comm_->broadcast(three.buffer(), this->comm_->size()), std::logic_error);
  EXPECT_THROW(this->comm_->send(three.buffer(), -1), std::logic_error);
}

REGISTER_TYPED_TEST_SUITE_P(Verbs, AllReduceGivesEveryRankTheReduction,
                            AllGatherConcatenatesInRankOrder, AllGatherTakesUnevenCountsInPlaceToo,
                            ReduceScatterGivesEachRankItsPart,
                            ReduceScatterTakesUnevenCountsInPlaceToo, BroadcastComesFromItsRoot,
                            RingOfLargeMessagesDoesNotDeadlock,
                            MessagesOfAPairArriveInTheOrderOfTheirStart, SendAndReceiveBetweenTwo,
                            OperationsUnderWayDoNotDisturbEachOther,
                            TwoCommunicatorsKeepTheirMessagesApart, EveryRankReceivesTheSameBits,
                            PollEndsAndADroppedWorkIsWaitedFor, BarrierWaitsForTheLast,
                            AloneItCopiesAtMost, ContradictingArgumentsAreRefused);

}  // namespace cuboid::test
