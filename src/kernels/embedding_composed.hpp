// The functions of cuboid/kernels/embedding.hpp by LibTorch's operations.
#pragma once

#include "cuboid/kernels/embedding.hpp"

namespace cuboid::detail {

at::Tensor composed_embed(const at::Tensor& tokens, const at::Tensor& table, std::int64_t first_row,
                          std::int64_t num_rows, const at::Tensor& positions);
void composed_add_rows_(const at::Tensor& gradient, const at::Tensor& dy, const at::Tensor& tokens,
                        std::int64_t first_row, std::int64_t num_rows);
void composed_add_positions(const at::Tensor& dy, const GradientTarget& target);

}  // namespace cuboid::detail
