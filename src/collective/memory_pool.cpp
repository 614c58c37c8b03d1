#include "memory_pool.hpp"

#include <new>
#include <utility>

namespace cuboid {
namespace {

constexpr std::size_t kAlignment = 64;
constexpr std::size_t kGranule = 64 * 1024;

}  // namespace

MemoryPool::Memory::Memory(Kind kind_of_memory, std::size_t num_bytes)
    : kind(kind_of_memory), bytes(num_bytes) {
  if (kind == Kind::kPinned) {
    check_cuda(cudaMallocHost(&data, bytes));
  } else {
    data = ::operator new(bytes, std::align_val_t(kAlignment));
  }
}

MemoryPool::Memory::~Memory() {
  if (kind == Kind::kPinned) {
    cudaFreeHost(data);  // waits for copies under way
  } else {
    ::operator delete(data, std::align_val_t(kAlignment));
  }
}

MemoryPool::Block& MemoryPool::Block::operator=(Block&& other) noexcept {
  if (this != &other) {
    give_back();
    memory_ = std::exchange(other.memory_, nullptr);
  }
  return *this;
}

void MemoryPool::Block::fence(cudaStream_t stream) {
  if (!memory_->fence) memory_->fence = make_cuda_event();
  check_cuda(cudaEventRecord(memory_->fence.get(), stream));
}

void MemoryPool::Block::give_back() noexcept {
  if (memory_ != nullptr) memory_->in_use = false;
  memory_ = nullptr;
}

MemoryPool::~MemoryPool() {
  for (auto& memory : memories_) {
    // Leaked on purpose (see the header).
    if (memory->in_use) static_cast<void>(memory.release());
  }
}

MemoryPool::Block MemoryPool::borrow(std::size_t bytes) {
  Memory* best = nullptr;
  for (const auto& memory : memories_) {
    // A far too large block is left for the request that it was made for.
    const bool fits = memory->bytes >= bytes && memory->bytes <= 2 * bytes + kGranule;
    if (memory->in_use || !fits || (best != nullptr && best->bytes <= memory->bytes)) continue;
    if (memory->fence && !is_complete(memory->fence)) continue;
    best = memory.get();
  }
  if (best == nullptr) {
    const std::size_t rounded = (bytes + kGranule - 1) / kGranule * kGranule;
    best = memories_.emplace_back(std::make_unique<Memory>(kind_, rounded)).get();
  }
  best->in_use = true;
  return Block(best);
}

}  // namespace cuboid
