// Cross entropy of logits with targets, and its gradient made in place of the logits. The columns
// [0, num_rows) are the rows [first_row, first_row + num_rows) of the vocabulary, further ones
// padding: never read, and 0 in the gradient.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace cuboid {

// Of each token over this rank's part of the vocabulary: fp32 (fp64 for fp64 logits), [tokens].
struct RowSums {
  at::Tensor maximum;       // of the logits; -infinity where the part is empty
  at::Tensor sum;           // of exp(logit - maximum)
  at::Tensor target_logit;  // 0 where the target lies in another part
};

// logits [tokens, columns] fp32, bf16 or fp64, read once; targets [tokens] int64.
RowSums cross_entropy_rows(const at::Tensor& logits, const at::Tensor& targets,
                           std::int64_t first_row, std::int64_t num_rows);

// logits = (exp(logit - maximum) / sum - is_target) * scale, with maximum and sum over the whole
// vocabulary; bf16 is computed in fp32 and rounded once.
void cross_entropy_gradient_(const at::Tensor& logits, const at::Tensor& targets,
                             const at::Tensor& maximum, const at::Tensor& sum,
                             std::int64_t first_row, std::int64_t num_rows, double scale);

// Both in one visit to each row, where the whole vocabulary is here: returns the sum over tokens of
// log(sum of exp(logits)) - target's logit, fp64 without dims. With scale 0 logits stay as they
// are.
at::Tensor cross_entropy_(const at::Tensor& logits, const at::Tensor& targets,
                          std::int64_t num_rows, double scale);

}  // namespace cuboid
