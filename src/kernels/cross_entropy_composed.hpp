// The functions of cuboid/kernels/cross_entropy.hpp by LibTorch's operations.
#pragma once

#include "cuboid/kernels/cross_entropy.hpp"

namespace cuboid::detail {

RowSums composed_cross_entropy_rows(const at::Tensor& logits, const at::Tensor& targets,
                                    std::int64_t first_row, std::int64_t num_rows);
void composed_cross_entropy_gradient_(const at::Tensor& logits, const at::Tensor& targets,
                                      const at::Tensor& maximum, const at::Tensor& sum,
                                      std::int64_t first_row, std::int64_t num_rows, double scale);
at::Tensor composed_cross_entropy_(const at::Tensor& logits, const at::Tensor& targets,
                                   std::int64_t num_rows, double scale);

}  // namespace cuboid::detail
