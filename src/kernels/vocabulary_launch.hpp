// Launching the GPU's kernels over the vocabulary (vocabulary.cu): embedding and cross entropy.
// Free of LibTorch, so that nvcc reads it.
#pragma once

#include <cstdint>

#include "cuboid/base/dtype.hpp"

namespace cuboid::detail {

// Asynchronous on `stream` (a cudaStream_t); throw SystemError. Elements of `type`: fp32 or bf16.

// logits [rows, pitch]: columns [0, columns) are rows [first, first + columns) of the vocabulary,
// the others padding. targets [rows]: of the whole vocabulary.
struct CrossEntropyLaunch {
  DType type;
  std::int64_t rows, pitch, columns, first;
  void* logits;
  const std::int64_t* targets;
  float *maximum, *sum;  // [rows]; read by the gradient
  float* target_logit;   // [rows]; 0 where the target is another rank's
  double* losses;        // [rows], of launch_cross_entropy
  double scale;          // of the gradient
};
// maximum, sum of exp(logit - maximum), and the target's logit, by one read of the logits.
void launch_cross_entropy_rows(const CrossEntropyLaunch& launch, void* stream);
// logits = (exp(logit - maximum) / sum - is_target) * scale; 0 in the padding.
void launch_cross_entropy_gradient(const CrossEntropyLaunch& launch, void* stream);
// Both, where the whole vocabulary is here: losses = log(sum of exp(logits)) - target's logit, and
// the gradient unless scale is 0.
void launch_cross_entropy(const CrossEntropyLaunch& launch, void* stream);

// y [tokens, width] = weight[tokens - first], 0 for rows outside [0, num_rows), plus
// positions[token % seq_length] unless null.
struct EmbeddingLaunch {
  DType type;
  std::int64_t tokens, width, first, num_rows, seq_length;
  const std::int64_t* ids;
  const void *weight, *positions;
  void* y;
};
void launch_embedding(const EmbeddingLaunch& launch, void* stream);

// gradient[id - first] += dy[order], for ids sorted and `order` where each was: rows outside
// [0, num_rows) are skipped, and a row's tokens are added in their order.
struct AddRowsLaunch {
  DType type;  // of dy [tokens, width]
  std::int64_t tokens, width, first, num_rows;
  const std::int64_t *ids, *order;  // [tokens]
  const void* dy;
  float* gradient;  // [num_rows, width]
};
void launch_add_rows(const AddRowsLaunch& launch, void* stream);

// gradient [seq_length, width] = or += the sum over sequences of dy [sequences, seq_length, width]
struct AddPositionsLaunch {
  DType type;
  std::int64_t sequences, seq_length, width;
  const void* dy;
  float* gradient;
  bool accumulate;
};
void launch_add_positions(const AddPositionsLaunch& launch, void* stream);

}  // namespace cuboid::detail
