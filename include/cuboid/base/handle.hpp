// The one owner type for raw handles of C libraries (MPI_Comm, hid_t, file descriptors, ...).
#pragma once

#include <utility>

namespace cuboid {

// Traits: `using Type`, `static Type null()`, `static void release(Type) noexcept`.
// Moving nulls the source: a defaulted move of a raw handle would free it twice, silently.
template <typename Traits>
class Handle {
 public:
  using Type = typename Traits::Type;

  Handle() noexcept : value_(Traits::null()) {}
  explicit Handle(Type value) noexcept : value_(value) {}
  Handle(Handle&& other) noexcept : value_(std::exchange(other.value_, Traits::null())) {}
  Handle& operator=(Handle&& other) noexcept {
    if (this != &other) {
      reset();
      value_ = std::exchange(other.value_, Traits::null());
    }
    return *this;
  }
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;
  ~Handle() { reset(); }

  [[nodiscard]] Type get() const noexcept { return value_; }
  // For C functions that return a handle through a pointer; releases what is held.
  [[nodiscard]] Type* out() noexcept {
    reset();
    return &value_;
  }
  // Hands the duty to release over to the caller.
  [[nodiscard]] Type detach() noexcept { return std::exchange(value_, Traits::null()); }
  explicit operator bool() const noexcept { return value_ != Traits::null(); }
  void reset() noexcept {
    if (value_ != Traits::null()) Traits::release(value_);
    value_ = Traits::null();
  }

 private:
  Type value_;
};

}  // namespace cuboid
