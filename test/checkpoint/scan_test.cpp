// ranks: 1
// timeout: 60
// Pieces of tensors and the threads that share them.
#include "cuboid/checkpoint/scan.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <numeric>

#include "cuboid/base/error.hpp"
#include "cuboid/checkpoint/digest.hpp"

namespace cuboid {
namespace {

TEST(Scan, PiecesCoverATensorInOrderAndTheirSumsAddToItsDigest) {
  for (const DType dtype :
       {DType::kFloat32, DType::kFloat64, DType::kBFloat16, DType::kInt64, DType::kUInt8}) {
    const TensorInfo tensor{.name = "t", .dtype = dtype, .shape = {3, 700001}};
    std::vector<Piece> pieces;
    append_pieces(tensor, 7, 4096, pieces);
    std::vector<std::byte> values(3 * 700001 * size_of(dtype));
    std::uint64_t x = 1;
    for (std::byte& value : values) value = static_cast<std::byte>((x = x * 69069 + 1) >> 24);
    std::int64_t next = 0;
    std::uint64_t sum = 0;
    for (const Piece& piece : pieces) {
      EXPECT_EQ(piece.tensor, 7);
      EXPECT_EQ(piece.first, next);
      const std::int64_t begin = next * static_cast<std::int64_t>(size_of(dtype));
      EXPECT_EQ(piece.offset, 4096 + begin);
      sum += sum_of(piece, std::span(values).subspan(static_cast<std::size_t>(begin),
                                                     static_cast<std::size_t>(piece.bytes())));
      next += piece.count;
    }
    EXPECT_EQ(next, 3 * 700001);
    EXPECT_GT(pieces.size(), 1U);
    EXPECT_EQ(sum, digest_sum(dtype, tensor.shape, whole(tensor.shape), values.data()));
  }
  std::vector<Piece> none;
  append_pieces({.name = "t", .shape = {0, 4}}, 0, 0, none);
  EXPECT_TRUE(none.empty());
}

TEST(Scan, ThreadsHandleEachItemOnce) {
  for (const int num_threads : {-1, 0, 1, 2, 7, 100}) {
    for (const std::int64_t count : {0, 1, 2, 5, 63, 1000}) {
      std::vector<std::atomic<int>> times(static_cast<std::size_t>(count));
      std::atomic<int> num_workers{0};
      share_among_threads(count, num_threads, [&]() -> Worker {
        ++num_workers;
        return [&](std::int64_t item) { ++times[static_cast<std::size_t>(item)]; };
      });
      for (const auto& n : times) EXPECT_EQ(n, 1) << num_threads << " threads, " << count;
      EXPECT_LE(num_workers, std::max(num_threads, 1));
    }
  }
}

TEST(Scan, AFailureOfAnyThreadEndsAll) {
  for (const int num_threads : {1, 4}) {
    std::atomic<std::int64_t> num_done{0};
    const auto make_worker = [&]() -> Worker {
      return [&](std::int64_t item) {
        if (item == 100) throw SystemError("item 100");
        ++num_done;
      };
    };
    EXPECT_THROW(share_among_threads(1000000, num_threads, make_worker), SystemError);
    if (num_threads == 1) {
      EXPECT_EQ(num_done, 100);
    }
  }
  EXPECT_THROW(share_among_threads(3, 2, []() -> Worker { throw SystemError("no worker"); }),
               SystemError);
}

}  // namespace
}  // namespace cuboid
