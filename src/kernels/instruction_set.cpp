#include "instruction_set.hpp"

namespace cuboid::detail {

InstructionSet best_instruction_set() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("x86-64-v4") != 0) return InstructionSet::kAvx512;
  if (__builtin_cpu_supports("x86-64-v3") != 0) return InstructionSet::kAvx2;
#endif
  return InstructionSet::kAny;
}

}  // namespace cuboid::detail
