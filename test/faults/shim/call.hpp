// One call that a preloaded function is about to make: counted, logged and made to fail as planned.
#pragma once

#include <array>
#include <cerrno>
#include <string_view>
#include <type_traits>

#include "plan.hpp"

namespace shim {

// One call that is about to be made.
struct Call {
  std::string_view name;
  std::string_view path;
  std::string_view new_path = "-";  // of a rename or link
  std::string_view mode = "-";      // "r" or "w": how the file is open
  long long offset = -1;            // of a write; -1: the file's own position
  long long bytes = -1;             // of a write, ftruncate or fallocate
  std::string_view head = "-";      // the first bytes that are written
};

// Where a descriptor leads; empty where it is no file.
class FilePath {
 public:
  explicit FilePath(int descriptor);
  [[nodiscard]] std::string_view text() const { return {bytes_.data(), size_}; }
  [[nodiscard]] std::string_view mode() const { return writable_ ? "w" : "r"; }

 private:
  std::array<char, 1024> bytes_{};
  std::size_t size_ = 0;
  bool writable_ = false;
};

// True where the plan speaks of the call's file.
bool concerns(const Call& call);
// How many calls of the name there were, with this one.
long count_call(std::string_view name);
// What is done before a call that is hit: a signal, a sleep, a limit.
void do_before(const Call& call, long number);
void log(const Call& call, long number, long long begin, long result, int error,
         std::string_view note);
void note_exit(int code);
long long now_ns();

// Makes the call by `real`, which is given false where it should do only a part, unless the plan
// has it fail. A close that fails closes all the same, as Linux does.
template <typename Result, typename Real>
Result run(const Call& call, const Real& real) {
  if (!concerns(call)) return real(true);
  const long number = count_call(call.name);
  const bool hit = is_hit(call.name);
  const long long begin = now_ns();
  if (hit) do_before(call, number);
  Result result{};
  const bool fails = hit && plan.kind == Kind::kError;
  if (!fails || call.name == "close") result = real(!(hit && plan.kind == Kind::kShort));
  int error = errno;
  if (fails) error = static_cast<int>(plan.value);
  if constexpr (std::is_pointer_v<Result>) {
    if (fails) result = nullptr;
    log(call, number, begin, result == nullptr ? -1 : 0, error, hit ? "hit" : "-");
  } else {
    if (fails) result = -1;
    log(call, number, begin, result, error, hit ? "hit" : "-");
  }
  errno = error;
  return result;
}

}  // namespace shim
