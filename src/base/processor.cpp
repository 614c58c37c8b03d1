#include "cuboid/base/processor.hpp"

namespace cuboid {

#if defined(__x86_64__)

bool has_bf16_products() {
  return __builtin_cpu_supports("avx512bf16") != 0 || __builtin_cpu_supports("amx-bf16") != 0;
}

bool is_intel_processor() {
  return __builtin_cpu_is("intel") != 0;
}

std::string vector_instructions() {
  std::string text;
  if (__builtin_cpu_supports("x86-64-v4") != 0) {
    text = "AVX-512";
  } else if (__builtin_cpu_supports("x86-64-v3") != 0) {
    text = "AVX2";
  }
  if (__builtin_cpu_supports("avx512bf16") != 0) text += ", bf16";
  if (__builtin_cpu_supports("amx-bf16") != 0) text += ", AMX";
  return text;
}

#else

bool has_bf16_products() {
  return true;  // not known: LibTorch's choice
}

bool is_intel_processor() {
  return false;
}

std::string vector_instructions() {
  return "";
}

#endif

}  // namespace cuboid
