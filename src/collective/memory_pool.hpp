// Host memory that communicators keep and reuse: scratch for reductions, pinned memory for staging.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "cuboid/collective/cuda.hpp"

namespace cuboid {

// Fresh large allocations cost a page fault for every 4 KiB, pinned ones a halt of the whole
// device: a step asks for the same sizes again and again, so blocks are kept until the pool goes.
// Used by one thread at a time; must outlive its blocks.
class MemoryPool {
 public:
  enum class Kind : unsigned char { kPageable, kPinned };

 private:
  struct Memory {
    Kind kind;
    void* data = nullptr;
    std::size_t bytes = 0;
    bool in_use = false;
    CudaEvent fence;  // the last device copy from this memory

    Memory(Kind kind, std::size_t bytes);
    Memory(const Memory&) = delete;
    Memory& operator=(const Memory&) = delete;
    ~Memory();
  };

 public:
  // Memory on loan. Moving hands the loan on; the destructor ends it.
  class Block {
   public:
    Block() = default;
    Block(Block&& other) noexcept : memory_(std::exchange(other.memory_, nullptr)) {}
    Block& operator=(Block&& other) noexcept;
    Block(const Block&) = delete;
    Block& operator=(const Block&) = delete;
    ~Block() { give_back(); }

    [[nodiscard]] void* data() const { return memory_ == nullptr ? nullptr : memory_->data; }
    // The memory may be lent again only when what is now in `stream` has finished.
    void fence(cudaStream_t stream);
    // Never lends the memory again: an operation that was given up may still write to it.
    void abandon() { memory_ = nullptr; }

   private:
    friend class MemoryPool;
    explicit Block(Memory* memory) : memory_(memory) {}
    void give_back() noexcept;
    Memory* memory_ = nullptr;
  };

  explicit MemoryPool(Kind kind) : kind_(kind) {}
  MemoryPool(const MemoryPool&) = delete;
  MemoryPool& operator=(const MemoryPool&) = delete;
  // Memory that is still in use is left alone: the operation it served was given up.
  ~MemoryPool();

  // At least `bytes` of host memory, aligned to 64 bytes, with undefined contents.
  [[nodiscard]] Block borrow(std::size_t bytes);
  [[nodiscard]] std::size_t num_blocks() const { return memories_.size(); }

 private:
  Kind kind_;
  std::vector<std::unique_ptr<Memory>> memories_;
};

}  // namespace cuboid
