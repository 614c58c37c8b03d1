// What tests of kernels share: shapes, types, random tensors, and comparison with fp64 references.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/randn.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace cuboid {

// Widths below a vector, odd, of one vector and more; rows below, at and above a block of sums.
struct RowsWidth {
  std::int64_t rows, width;
};
inline const std::vector<RowsWidth> kShapes = {{1, 1},    {1, 7},   {3, 16},   {5, 33},
                                               {64, 2},   {65, 48}, {127, 31}, {130, 128},
                                               {768, 96}, {9, 1030}};
inline const std::vector<at::ScalarType> kTypes = {at::kFloat, at::kBFloat16, at::kDouble};

inline std::string name_of(at::ScalarType type, RowsWidth shape) {
  return std::string(c10::toString(type)) + " " + std::to_string(shape.rows) + " x " +
         std::to_string(shape.width);
}

inline at::Tensor random(at::IntArrayRef shape, at::ScalarType type) {
  return at::randn(shape, at::kDouble).to(type);
}

// As a gradient that is added to has it.
inline at::ScalarType gradient_type(at::ScalarType type) {
  return type == at::kDouble ? at::kDouble : at::kFloat;
}

// Elements of `got` are those of `want` (fp64), rounded to the type of `got`, after errors of a few
// roundings of the type that it was computed in, on numbers up to `scale`.
inline void expect_close(const at::Tensor& got, const at::Tensor& want, double scale,
                         const std::string& what) {
  ASSERT_EQ(got.sizes(), want.sizes()) << what;
  const bool bf16 = got.scalar_type() == at::kBFloat16;
  const double computed = (got.scalar_type() == at::kDouble ? 0x1p-52 : 0x1p-23) * scale;
  const double rounded = bf16 ? 0x1p-8 : 0.0;
  const at::Tensor allowed = want.abs() * rounded + computed;
  const double excess = ((got.to(at::kDouble) - want).abs() - allowed).max().item<double>();
  EXPECT_LE(excess, 0.0) << what;
  EXPECT_TRUE(got.isfinite().all().item<bool>()) << what;
}

}  // namespace cuboid
