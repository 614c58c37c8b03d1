// A 64-bit digest of a tensor that does not depend on how the tensor was cut: every box has a sum,
// sums of boxes that tile the tensor add (modulo 2^64) to that of the whole.
//
// Definition. The row-major elements, little endian, are a sequence of 32-bit words w(p): one for
// fp32, two (low half first) for fp64 and int64, one each for bf16 and uint8 (zero-extended). With
// block b = p / 1024 and keys k(j) (1024 distinct odd 32-bit numbers) and m(b) (odd 64-bit):
//     sum = sum over p of  m(b) * k(p mod 1024) * w(p)   modulo 2^64
// So any one changed word changes the sum, and so do any two swapped words of a block, with
// certainty; other damage goes unnoticed with a chance of about 2^-60. It is no protection against
// someone who forges a file.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "cuboid/base/dtype.hpp"
#include "cuboid/checkpoint/layout.hpp"

namespace cuboid {

// The sum of one box; `data` holds its elements, contiguous, in row-major order.
std::uint64_t digest_sum(DType dtype, std::span<const std::int64_t> shape, const Box& box,
                         const void* data);

// The digest of a tensor whose boxes' sums add to `sum`: mixes dtype and shape in.
std::uint64_t finish_digest(DType dtype, std::span<const std::int64_t> shape, std::uint64_t sum);

// 16 hexadecimal digits.
std::string digest_text(std::uint64_t digest);

}  // namespace cuboid
