#include "product_blocks.hpp"

#include <omp.h>

#include <algorithm>
#include <memory>
#include <new>
#include <type_traits>

#include "product_parts.hpp"
#include "product_tiles.hpp"

namespace cuboid::detail {
namespace {

// Rows of a block, a multiple of every kRows: with kSteps they fit the second-level cache.
constexpr std::int64_t kBlockRows = 72;
// Columns of a block, a multiple of every kColumns: a thread's share of the last-level cache.
constexpr std::int64_t kBlockColumns = 512;
// Rows of a block's columns whose sums wait in a thread's memory to be rounded, a multiple of
// kBlockRows: few enough for the last-level cache, many for columns that are packed once for them.
constexpr std::int64_t kRoundedRows = 1152;

// Memory that a thread keeps for its next product, aligned to lines of the caches.
class Scratch {
 public:
  float* at_least(std::int64_t count) {
    if (count > size_) {
      memory_.reset();
      memory_.reset(static_cast<float*>(
          ::operator new(static_cast<std::size_t>(count) * sizeof(float), kAlign)));
      size_ = count;
    }
    return memory_.get();
  }

 private:
  static constexpr std::align_val_t kAlign{64};
  struct Free {
    void operator()(float* memory) const { ::operator delete(memory, kAlign); }
  };
  std::unique_ptr<float, Free> memory_;
  std::int64_t size_ = 0;
};

// A block of b: columns [j0, j0 + columns) of steps [k0, k0 + steps).
struct Block {
  std::int64_t j0, columns, k0, steps;
};

// Where rows from i0 and columns from j0 on are added up over the blocks of steps.
struct Sums {
  float* data;
  std::int64_t stride, i0, j0;

  [[nodiscard]] float* at(std::int64_t i, std::int64_t j) const {
    return data + (i - i0) * stride + (j - j0);
  }
};

// The sums' tile from whole rows, or through a copy where it sticks out of the matrix.
template <typename Isa, typename T>
[[gnu::always_inline]] inline void tile_into_place(const HostProduct<T>& p, const TileRows& a,
                                                   const float* b, const Block& block,
                                                   const Sums& sums, std::int64_t i,
                                                   std::int64_t j) {
  constexpr std::int64_t kColumns = Tile<Isa>::kColumns;
  const bool adds = p.accumulate || block.k0 > 0;
  const float* bias = !adds && p.bias != nullptr ? p.bias + j : nullptr;
  float* c = sums.at(i, j);
  const std::int64_t rows = std::min<std::int64_t>(Isa::kRows, p.m - i);
  const std::int64_t columns = std::min(kColumns, p.n - j);
  if (rows == Isa::kRows && columns == kColumns) {
    if (adds) return multiply_tile<Isa, Start::kSum>(a, b, block.steps, nullptr, c, sums.stride);
    if (bias == nullptr)
      return multiply_tile<Isa, Start::kZero>(a, b, block.steps, nullptr, c, sums.stride);
    return multiply_tile<Isa, Start::kBias>(a, b, block.steps, bias, c, sums.stride);
  }
  float whole[Isa::kRows * kColumns];
  multiply_tile<Isa, Start::kZero>(a, b, block.steps, nullptr, whole, kColumns);
  for (std::int64_t r = 0; r < rows; ++r)
    for (std::int64_t x = 0; x < columns; ++x) {
      const float start = adds ? c[r * sums.stride + x] : (bias != nullptr ? bias[x] : 0.0F);
      c[r * sums.stride + x] = whole[r * kColumns + x] + start;
    }
}

// Rows [i0, i0 + rows) as tiles read them: where they lie, or packed.
template <typename Isa, typename T>
struct RowBlock {
  const float* data;
  std::int64_t tile_stride, row_stride, step_stride;

  [[nodiscard]] TileRows tile(std::int64_t index) const {
    return {data + index * tile_stride, row_stride, step_stride};
  }

  [[gnu::always_inline]] RowBlock(const HostProduct<T>& p, const Block& block, std::int64_t i0,
                                  std::int64_t rows, Scratch& scratch) {
    const MatrixView<T> a = {p.a.data + i0 * p.a.row_stride + block.k0 * p.a.column_stride,
                             p.a.row_stride, p.a.column_stride};
    const std::int64_t steps = block.steps;
    if (a.column_stride != 1) {
      float* packed = scratch.at_least((kBlockRows + Isa::kRows) * kSteps);
      pack_rows_transposed<Isa>(a, steps, rows, p.m - i0, packed);
      data = packed, tile_stride = Isa::kRows * steps, row_stride = 1, step_stride = Isa::kRows;
      return;
    }
    if constexpr (std::is_same_v<T, float>) {
      if (rows % Isa::kRows == 0) {
        data = a.data, tile_stride = Isa::kRows * a.row_stride, row_stride = a.row_stride;
        step_stride = 1;
        return;
      }
    }
    float* packed = scratch.at_least((kBlockRows + Isa::kRows) * kSteps);
    pack_rows<Isa>(a, steps, rows, packed);
    data = packed, tile_stride = Isa::kRows * steps, row_stride = steps, step_stride = 1;
  }
};

template <typename Isa, typename T>
[[gnu::always_inline]] inline void pack_block(const HostProduct<T>& p, const Block& block,
                                              float* packed) {
  constexpr std::int64_t kColumns = Tile<Isa>::kColumns;
  for (std::int64_t j = 0; j < block.columns; j += kColumns) {
    const MatrixView<T> b = {
        p.b.data + block.k0 * p.b.row_stride + (block.j0 + j) * p.b.column_stride, p.b.row_stride,
        p.b.column_stride};
    pack_columns<Isa>(b, block.steps, std::min(kColumns, p.n - block.j0 - j),
                      packed + j * block.steps);
  }
}

// Rows [i0, i0 + rows) of a block's columns, which have all their steps.
template <typename T>
[[gnu::always_inline]] inline void round_rows(const HostProduct<T>& p, const Block& block,
                                              const Sums& sums, std::int64_t i0,
                                              std::int64_t rows) {
  for (std::int64_t i = i0; i < i0 + rows; ++i) {
    const float* from = sums.at(i, block.j0);
    Bfloat16* to = p.c_bf16 + i * p.n + block.j0;
#pragma omp simd
    for (std::int64_t j = 0; j < block.columns; ++j) to[j] = narrow<Bfloat16>(from[j]);
  }
}

// One thread's part of c.
template <typename Isa, typename T>
[[gnu::always_inline]] inline void multiply_part(const HostProduct<T>& p, const Part& part) {
  constexpr std::int64_t kColumns = Tile<Isa>::kColumns;
  thread_local Scratch of_a;
  thread_local Scratch of_b;
  thread_local Scratch of_sums;
  const bool rounds = p.c_bf16 != nullptr;
  const std::int64_t part_rows = part.rows.end - part.rows.begin;
  const std::int64_t most_rows = rounds ? std::min(kRoundedRows, part_rows) : part_rows;
  for (std::int64_t j0 = part.columns.begin; j0 < part.columns.end; j0 += kBlockColumns)
    for (std::int64_t r0 = part.rows.begin; r0 < part.rows.end; r0 += most_rows) {
      const std::int64_t columns = std::min(kBlockColumns, part.columns.end - j0);
      const std::int64_t end = std::min(part.rows.end, r0 + most_rows);
      const Sums sums = rounds ? Sums{of_sums.at_least(most_rows * columns), columns, r0, j0}
                               : Sums{p.c, p.n, 0, 0};
      for (std::int64_t k0 = 0; k0 < p.k; k0 += kSteps) {
        const Block block = {j0, columns, k0, std::min(kSteps, p.k - k0)};
        float* packed = of_b.at_least(tiles(block.columns, kColumns) * kColumns * block.steps);
        pack_block<Isa>(p, block, packed);
        for (std::int64_t i0 = r0; i0 < end; i0 += kBlockRows) {
          const std::int64_t rows = std::min(kBlockRows, end - i0);
          const RowBlock<Isa, T> a(p, block, i0, rows, of_a);
          for (std::int64_t j = 0; j < block.columns; j += kColumns)
            for (std::int64_t i = 0; i < rows; i += Isa::kRows)
              tile_into_place<Isa>(p, a.tile(i / Isa::kRows), packed + j * block.steps, block, sums,
                                   i0 + i, j0 + j);
          if (rounds && k0 + block.steps == p.k) round_rows(p, block, sums, i0, rows);
        }
      }
    }
}

// What each of the instruction sets has of its own.
template <typename T>
struct Code {
  std::int64_t rows, columns;  // of a tile
  void (*multiply)(const HostProduct<T>&, const Part&);
};

template <typename T>
void multiply_any(const HostProduct<T>& p, const Part& part) {
  multiply_part<ProductAny>(p, part);
}
#if defined(__x86_64__)
template <typename T>
[[gnu::target("arch=x86-64-v3")]] void multiply_avx2(const HostProduct<T>& p, const Part& part) {
  multiply_part<ProductAvx2>(p, part);
}
template <typename T>
[[gnu::target("arch=x86-64-v4,prefer-vector-width=512")]] void multiply_avx512(
    const HostProduct<T>& p, const Part& part) {
  multiply_part<ProductAvx512>(p, part);
}
#endif

template <typename T>
Code<T> code_for([[maybe_unused]] InstructionSet set) {
#if defined(__x86_64__)
  if (set == InstructionSet::kAvx512)
    return {ProductAvx512::kRows, Tile<ProductAvx512>::kColumns, multiply_avx512<T>};
  if (set == InstructionSet::kAvx2)
    return {ProductAvx2::kRows, Tile<ProductAvx2>::kColumns, multiply_avx2<T>};
#endif
  return {ProductAny::kRows, Tile<ProductAny>::kColumns, multiply_any<T>};
}

}  // namespace

template <typename T>
void multiply_blocks(const HostProduct<T>& p, InstructionSet set) {
  const Code<T> code = code_for<T>(set);
  const bool packs_rows = !std::is_same_v<T, float> || p.a.column_stride != 1;
  const Parts parts(p.m, p.n, {code.rows, code.columns}, packs_rows,
                    threads_for(p.m * p.n * p.k, omp_get_max_threads()));
  if (parts.count() == 1) return code.multiply(p, parts.part(0));
  // All threads, also where some find no part: libgomp ends those that a team leaves out, and the
  // next full one starts them again.
#pragma omp parallel for schedule(static)
  for (int index = 0; index < parts.count(); ++index) code.multiply(p, parts.part(index));
}

template void multiply_blocks(const HostProduct<float>&, InstructionSet);
template void multiply_blocks(const HostProduct<Bfloat16>&, InstructionSet);

}  // namespace cuboid::detail
