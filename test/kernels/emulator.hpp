// Runs CUDA kernels on the host, so that their own source is tested where there is no GPU: an
// including test reads src/kernels/*.cu with g++. Threads of a block are fibers; between barriers
// they run one after the other in an order that changes, which shows a barrier that is missing;
// threads that do not all come to a barrier are an error. Blocks run one after the other.
//
// Not emulated: caches, registers and speed, what nvcc makes of the code, races inside a warp.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime.h>
#include <setjmp.h>
#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#undef __global__
#undef __device__
#undef __shared__
#undef __launch_bounds__
#define __global__
#define __device__
#define __shared__ static
#define __launch_bounds__(...)
#define rsqrtf(x) (1.0F / std::sqrt(x))

inline uint3 threadIdx, blockIdx;
inline dim3 blockDim, gridDim;

namespace cuboid::emulator {

constexpr unsigned kLanes = 32;

// All threads of a block, or of a warp, come to it before any goes on.
struct Barrier {
  unsigned expected = 0, arrived = 0;
  std::uint64_t generation = 0;
};

class Block {
 public:
  Block(std::string name, const std::function<void()>& body, unsigned threads, unsigned seed)
      : name_(std::move(name)),
        body_(body),
        fibers_(threads),
        warps_((threads + kLanes - 1) / kLanes),
        seed_(seed) {
    all_.expected = threads;
    for (unsigned w = 0; w < warps_.size(); ++w)
      warps_[w].barrier.expected = std::min(kLanes, threads - w * kLanes);
  }

  void run() {
    current_block = this;
    for (unsigned i = 0; i < fibers_.size(); ++i) start(i);
    bool all = false;
    while (live_ > 0) {
      const std::uint64_t before = progress_;
      // Round about, forwards or backwards, from another thread each time; and without some warps,
      // so that others come far ahead of them.
      seed_ = seed_ * 1664525U + 1013904223U;
      const unsigned count = static_cast<unsigned>(fibers_.size());
      for (unsigned i = 0; i < count; ++i) {
        const unsigned turn = (seed_ >> 8) + i;
        const unsigned index = (seed_ & 1U) != 0 ? turn % count : count - 1 - turn % count;
        const unsigned warp = index / kLanes;
        if (all || ((seed_ >> 16) + warp * 2654435761U) >> 31 == 0) resume(index);
      }
      if (progress_ == before && all)
        throw std::logic_error(name_ + ": some threads wait at a barrier that others never reach");
      all = progress_ == before;
    }
  }

  void synchronize() { wait(all_); }

  // What `lane` of this warp gave, for all lanes together.
  template <typename W>
  W exchange(W mine, unsigned lane_mask) {
    static_assert(sizeof(W) <= sizeof(double));
    Warp& warp = warps_[current_ / kLanes];
    const unsigned lane = current_ % kLanes;
    // Two sets of slots: who is one exchange ahead does not overwrite what others have yet to read.
    auto& slots = warp.slots[warp.barrier.generation % 2];
    std::memcpy(&slots[lane], &mine, sizeof(W));
    wait(warp.barrier);
    W other{};
    std::memcpy(&other, &slots[lane ^ lane_mask], sizeof(W));
    return other;
  }

  static inline Block* current_block = nullptr;

 private:
  struct Fiber {
    ucontext_t context;  // of its beginning
    jmp_buf place;       // where it goes on
    bool begun = false;
    Barrier* waits_for = nullptr;
    std::uint64_t generation = 0;
    bool done = false;
  };
  struct Warp {
    Barrier barrier;
    double slots[2][kLanes];
  };
  static constexpr std::size_t kStack = 65536;

  void start(unsigned index) {
    Fiber& fiber = fibers_[index];
    // Kept for all blocks to come.
    static std::vector<std::unique_ptr<char[]>> stacks;
    if (index == stacks.size()) stacks.push_back(std::make_unique_for_overwrite<char[]>(kStack));
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = stacks[index].get();
    fiber.context.uc_stack.ss_size = kStack;
    fiber.context.uc_link = nullptr;
    makecontext(&fiber.context, &Block::enter, 0);
    ++live_;
  }

  static void enter() {
    Block& block = *current_block;
    block.body_();
    Fiber& fiber = block.fibers_[block.current_];
    fiber.done = true;
    --block.live_;
    _longjmp(block.scheduler_, 1);
  }

  // _setjmp and _longjmp leave the signal mask alone; swapcontext would ask the kernel each time.
  void leave(Fiber& fiber) {
    if (_setjmp(fiber.place) == 0) _longjmp(scheduler_, 1);
  }

  void resume(unsigned index) {
    Fiber& fiber = fibers_[index];
    if (fiber.done) return;
    if (fiber.waits_for != nullptr && fiber.waits_for->generation == fiber.generation) return;
    fiber.waits_for = nullptr;
    current_ = index;
    threadIdx = {index % blockDim.x, index / blockDim.x % blockDim.y,
                 index / (blockDim.x * blockDim.y)};
    ++progress_;
    if (_setjmp(scheduler_) != 0) return;
    if (fiber.begun) _longjmp(fiber.place, 1);
    fiber.begun = true;
    setcontext(&fiber.context);
  }

  void wait(Barrier& barrier) {
    Fiber& fiber = fibers_[current_];
    fiber.generation = barrier.generation;
    if (++barrier.arrived == barrier.expected) {
      barrier.arrived = 0;
      ++barrier.generation;
    } else {
      fiber.waits_for = &barrier;
    }
    leave(fiber);
  }

  std::string name_;
  const std::function<void()>& body_;
  std::vector<Fiber> fibers_;
  std::vector<Warp> warps_;
  Barrier all_;
  jmp_buf scheduler_;
  unsigned current_ = 0, live_ = 0, seed_;
  std::uint64_t progress_ = 0;
};

inline void run(const char* name, dim3 grid, dim3 block, void* /*stream*/,
                const std::function<void()>& body) {
  constexpr unsigned kMaxThreads = 1024;
  const unsigned threads = block.x * block.y * block.z;
  if (threads == 0 || threads > kMaxThreads || grid.y > 65535 || grid.z > 65535)
    throw std::logic_error(std::string(name) + ": no GPU launches such a grid");
  gridDim = grid;
  blockDim = block;
  for (unsigned y = 0; y < grid.y; ++y) {
    for (unsigned x = 0; x < grid.x; ++x) {
      blockIdx = {x, y, 0};
      Block(name, body, threads, x + y * grid.x).run();
    }
  }
}

}  // namespace cuboid::emulator

inline void __syncthreads() {
  cuboid::emulator::Block::current_block->synchronize();
}
template <typename W>
W __shfl_xor_sync(unsigned /*mask*/, W value, int lane_mask) {
  return cuboid::emulator::Block::current_block->exchange(value, static_cast<unsigned>(lane_mask));
}
