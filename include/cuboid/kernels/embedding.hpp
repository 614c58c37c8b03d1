// Rows of an embedding table, looked up and added up.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "cuboid/kernels/gradient_target.hpp"

namespace cuboid {

// y[i] = table[tokens[i] - first_row] + positions[i % seq]: [tokens, hidden]. A token whose row is
// not one of the table's first num_rows (it lies on another rank) counts as zeros. tokens int64;
// positions [seq, hidden], undefined for none. bf16 is added in fp32 and rounded once.
at::Tensor embed(const at::Tensor& tokens, const at::Tensor& table, std::int64_t first_row,
                 std::int64_t num_rows, const at::Tensor& positions);

// gradient[tokens[i] - first_row] += dy[i] in the order of i, for the tokens that embed() looked
// up. Deterministic on the host. gradient [rows, hidden] fp32 or fp64, dy [tokens, hidden] of any
// element type.
void add_rows_(const at::Tensor& gradient, const at::Tensor& dy, const at::Tensor& tokens,
               std::int64_t first_row, std::int64_t num_rows);

// target [seq, hidden] gets the sum of dy [sequences * seq, hidden] over sequences.
void add_positions(const at::Tensor& dy, const GradientTarget& target);

}  // namespace cuboid
