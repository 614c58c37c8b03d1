// Attention on the host, one head of one sequence at a time; src/kernels/attention.cpp divides them
// over threads.
#pragma once

#include <cstdint>

#include "cuboid/kernels/attention.hpp"
#include "cuboid/kernels/math.hpp"
#include "instruction_set.hpp"

namespace cuboid::detail {

template <typename T>
struct AttentionForward {
  AttentionShape shape;
  const T* qkv;
  T* output;
  Wide<T>* log_sum_exp;
  std::int64_t pieces;  // that the queries of a head are cut into, each about as much work
};

template <typename T>
struct AttentionBackward {
  AttentionShape shape;
  const T* qkv;
  const T* output;
  const Wide<T>* log_sum_exp;
  const T* d_output;
  T* d_qkv;
  // [sequences, heads, 2, seq, head_dim]: what each head of queries gives to the key and the value
  // that it shares. Null where none are shared.
  Wide<T>* d_shared;
};

// Pieces [begin, end) of all query heads of all sequences, in their order. Nothing is added up
// across them: however they are cut and shared out, not a bit changes.
template <typename T>
void attend(const AttentionForward<T>& work, std::int64_t begin, std::int64_t end,
            InstructionSet set);
// Query heads [begin, end) of all sequences.
template <typename T>
void attend_backward(const AttentionBackward<T>& work, std::int64_t begin, std::int64_t end,
                     InstructionSet set);
// After all heads: the gradients of shared keys and values at tokens [begin, end), the heads' parts
// in their order. Uses d_shared up.
template <typename T>
void add_shared(const AttentionBackward<T>& work, std::int64_t begin, std::int64_t end);

}  // namespace cuboid::detail
