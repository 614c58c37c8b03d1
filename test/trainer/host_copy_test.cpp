// ranks: 1
// Memory whose pages are locked for copies, with a CUDA runtime that only notes what it is asked.
#include "cuboid/trainer/host_copy.hpp"

#include <ATen/ops/zeros.h>
#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <map>

namespace {

std::map<const void*, std::size_t> g_locked;
bool g_may_lock = true;

}  // namespace

extern "C" {
cudaError_t cudaHostRegister(void* begin, std::size_t bytes, unsigned int /*flags*/) {
  if (!g_may_lock) return cudaErrorMemoryAllocation;
  g_locked[begin] = bytes;
  return cudaSuccess;
}
cudaError_t cudaHostUnregister(void* begin) {
  // While the memory is still there.
  if (static_cast<float*>(begin)[0] == 7.0F) g_locked.erase(begin);
  return cudaSuccess;
}
}

namespace cuboid {
namespace {

TEST(HostCopy, LocksItsPagesForAsLongAsItLives) {
  g_may_lock = true;
  at::Tensor memory = lock_pages(at::zeros({1000}));
  EXPECT_EQ(g_locked, (std::map<const void*, std::size_t>{{memory.data_ptr(), 4000}}));
  memory.fill_(7.0);
  at::Tensor part = memory.narrow(0, 0, 10);
  memory.reset();
  EXPECT_EQ(g_locked.size(), 1U);
  EXPECT_EQ(part.sum().item<float>(), 70.0F);
  part.reset();
  EXPECT_TRUE(g_locked.empty());
}

TEST(HostCopy, IsOrdinaryWhereNothingMayBeLocked) {
  g_may_lock = false;
  at::Tensor memory = lock_pages(at::zeros({1000}));
  EXPECT_EQ(memory.numel(), 1000);
  EXPECT_EQ(memory.sum().item<float>(), 0.0F);
  memory.reset();
  EXPECT_TRUE(g_locked.empty());
}

TEST(HostCopy, OfTensorsOnTheHostIsOrdinaryToo) {
  g_may_lock = true;
  const at::Tensor memory = host_copy_of(at::zeros({3}, at::kDouble), 20);
  EXPECT_EQ(memory.numel(), 20);
  EXPECT_EQ(memory.scalar_type(), at::kDouble);
  EXPECT_TRUE(g_locked.empty());
  EXPECT_EQ(lock_pages(at::zeros({0})).numel(), 0);
}

}  // namespace
}  // namespace cuboid
