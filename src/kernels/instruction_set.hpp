// The instruction sets that host kernels with tiles of registers are compiled for.
#pragma once

namespace cuboid::detail {

// Ascending: a processor that has one has those before it.
enum class InstructionSet : unsigned char { kAny, kAvx2, kAvx512 };
InstructionSet best_instruction_set();

}  // namespace cuboid::detail
