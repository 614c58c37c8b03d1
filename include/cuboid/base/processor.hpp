// What this processor can do: which of the vector instructions that matter here it has.
#pragma once

#include <string>

namespace cuboid {

// "AVX-512, bf16", "AVX2", "": the widest vectors for fp32, and whether products of bf16 numbers
// have instructions of their own.
std::string vector_instructions();

// Whether the processor multiplies bf16 matrices faster than fp32 ones (AVX512_BF16, AMX-BF16).
bool has_bf16_products();

// Whether Intel made it: MKL has code of its own for those.
bool is_intel_processor();

}  // namespace cuboid
