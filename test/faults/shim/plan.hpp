// What the environment asks for (../README.md lists the variables).
#pragma once

#include <string_view>

namespace shim {

enum class Kind : unsigned char { kNone, kError, kShort, kSignal, kSleep, kFileSize };
enum class Target : unsigned char { kSelf, kParent, kSiblings };

// Read once, before main.
struct Plan {
  std::string_view path;   // FAULT_PATH: a part of the path; none: the shim does nothing
  std::string_view calls;  // FAULT_CALL: "write,pwrite" or "any"
  long nth = 0;            // FAULT_NTH: the first such call that is hit, from 1
  long count = 1;          // FAULT_COUNT: how many are hit; 0: all that follow
  Kind kind = Kind::kNone;
  Target target = Target::kSelf;
  long value = 0;  // errno, signal, milliseconds or bytes
  long rank = 0;
  int log = -1;
  int exits = -1;
};
extern Plan plan;

// True where a call of this name is the one that the plan means. Counts such calls.
bool is_hit(std::string_view name);

}  // namespace shim
