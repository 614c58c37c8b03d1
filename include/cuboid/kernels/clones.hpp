// Host code for several instruction sets in one binary, as LibTorch's own kernels have it.
#pragma once

// Compiles a function for AVX-512, for AVX2 and for every x86-64 processor; the dynamic loader
// takes the best that this processor has. It holds for the function itself, not for lambdas inside
// it; what it calls must be inlined (gnu::always_inline) to be vectorised with it.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define CUBOID_CLONES [[gnu::target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")]]
#else
#define CUBOID_CLONES
#endif
