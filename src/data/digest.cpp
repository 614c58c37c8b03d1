#include "cuboid/data/digest.hpp"

// Header-only use of xxHash: no library to link.
#define XXH_INLINE_ALL
#include <xxhash.h>

#include <new>

#include "cuboid/base/text.hpp"

namespace cuboid {

std::uint64_t xxh3(std::span<const std::byte> bytes) {
  return XXH3_64bits(bytes.data(), bytes.size());
}

void Xxh3Stream::Free::operator()(void* state) const noexcept {
  XXH3_freeState(static_cast<XXH3_state_t*>(state));
}

Xxh3Stream::Xxh3Stream() : state_(XXH3_createState()) {
  if (state_ == nullptr) throw std::bad_alloc();
  XXH3_64bits_reset(static_cast<XXH3_state_t*>(state_.get()));
}

void Xxh3Stream::add(std::span<const std::byte> bytes) {
  XXH3_64bits_update(static_cast<XXH3_state_t*>(state_.get()), bytes.data(), bytes.size());
}

std::uint64_t Xxh3Stream::digest() const {
  return XXH3_64bits_digest(static_cast<const XXH3_state_t*>(state_.get()));
}

std::string hex_digest(std::uint64_t digest) {
  return format("%016llx", static_cast<unsigned long long>(digest));
}

}  // namespace cuboid
