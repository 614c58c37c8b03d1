#include "attention_heads.hpp"

#include <limits>
#include <memory>
#include <new>

#include "attention_tiles.hpp"
#include "cuboid/kernels/clones.hpp"

namespace cuboid::detail {
namespace {

// Rows of scores that are held at a time: enough for the products over them, few enough for the
// second cache.
constexpr std::int64_t kBlock = 64;

// One allocation, cut up into matrices that begin on 64 bytes.
template <typename W>
class Scratch {
 public:
  explicit Scratch(std::int64_t count)
      : memory_(
            static_cast<W*>(::operator new(static_cast<std::size_t>(count) * sizeof(W), kAlign))),
        next_(memory_.get()) {}
  W* take(std::int64_t count) {
    W* start = next_;
    next_ += count;
    return start;
  }

 private:
  static constexpr std::align_val_t kAlign{64};
  struct Free {
    void operator()(W* memory) const { ::operator delete(memory, kAlign); }
  };
  std::unique_ptr<W, Free> memory_;
  W* next_;
};

// scores [kRows of them] = exp(score - maximum) up to the diagonal, 0 beyond; row i0 is the first.
template <typename Isa, typename W>
[[gnu::always_inline]] inline void soften(W* scores, std::int64_t stride, std::int64_t i0,
                                          std::int64_t count, W* inverse_sums, W* log_sum_exps) {
  for (std::int64_t r = 0; r < Isa::kRows; ++r) {
    W* row = scores + r * stride;
    mask_from<Isa>(row, i0 + r + 1, count);
    W maximum = -std::numeric_limits<W>::infinity();
#pragma omp simd reduction(max : maximum)
    for (std::int64_t j = 0; j < count; ++j) maximum = row[j] > maximum ? row[j] : maximum;
    W sum = 0;
#pragma omp simd reduction(+ : sum)
    for (std::int64_t j = 0; j < count; ++j) {
      const W e = exp_of_negative(row[j] - maximum);
      row[j] = e;
      sum += e;
    }
    inverse_sums[r] = W(1) / sum;
    log_sum_exps[r] = maximum + std::log(sum);
  }
}

template <typename T>
[[gnu::always_inline]] inline Head<T> head_of(const T* qkv, const AttentionShape& shape,
                                              std::int64_t sequence, std::int64_t head) {
  return {qkv + sequence * shape.seq * shape.width() + head * shape.head_dim, shape.width(),
          shape.seq, shape.head_dim};
}

// The first row of a piece of a head's queries, of which row i has i + 1 scores. Whole tiles, so
// that a row is computed the same in any piece.
std::int64_t first_row(std::int64_t seq, std::int64_t piece, std::int64_t pieces) {
  if (piece == pieces) return seq;
  const double share = static_cast<double>(piece) / static_cast<double>(pieces);
  return static_cast<std::int64_t>(std::sqrt(share) * static_cast<double>(seq)) / kSide * kSide;
}

template <typename Isa, typename T>
[[gnu::always_inline]] inline void attend_heads(const AttentionForward<T>& work, std::int64_t begin,
                                                std::int64_t end) {
  using W = Wide<T>;
  const AttentionShape& shape = work.shape;
  const std::int64_t seq = padded(shape.seq);
  const std::int64_t dim = padded(shape.head_dim);
  const std::int64_t group = shape.heads / shape.kv_heads;
  const auto scale = static_cast<W>(1.0 / std::sqrt(static_cast<double>(shape.head_dim)));
  constexpr std::int64_t kRows = Isa::kRows;
  constexpr std::int64_t kLanes = Vectors<Isa, W>::kLanes;
  Scratch<W> scratch(3 * seq * dim + kRows * (seq + dim));
  W* keys_t = scratch.take(seq * dim);
  W* values = scratch.take(seq * dim);
  W* queries = scratch.take(seq * dim);
  W* scores = scratch.take(kRows * seq);
  W* outputs = scratch.take(kRows * dim);
  W inverse_sums[kRows];
  W log_sum_exps[kRows];
  std::int64_t packed = -1;  // the key/value head of all sequences that lies in keys_t and values
  for (std::int64_t item = begin; item < end; ++item) {
    const std::int64_t piece = item % work.pieces;
    const std::int64_t sequence = item / work.pieces / shape.heads;
    const std::int64_t head = item / work.pieces % shape.heads;
    const std::int64_t kv = head / group;
    if (const std::int64_t wanted = sequence * shape.kv_heads + kv; wanted != packed) {
      pack(head_of(work.qkv, shape, sequence, shape.heads + kv), W(1), values);
      transpose(values, seq, dim, keys_t);
      pack(head_of(work.qkv, shape, sequence, shape.heads + shape.kv_heads + kv), W(1), values);
      packed = wanted;
    }
    const std::int64_t first = first_row(shape.seq, piece, work.pieces);
    const std::int64_t end_row = first_row(shape.seq, piece + 1, work.pieces);
    Head<T> query = head_of(work.qkv, shape, sequence, head);
    query.data += first * query.stride;
    query.count = end_row - first;
    pack(query, scale, queries);
    for (std::int64_t i0 = first; i0 < end_row; i0 += kRows) {
      const std::int64_t last = i0 + kRows;  // keys beyond are behind the mask for all rows
      const std::int64_t count = (last + kLanes - 1) / kLanes * kLanes;
      multiply_rows<Isa, false>(Factor<W>{queries + (i0 - first) * dim, dim, 1}, keys_t, seq, dim,
                                scores, seq, count);
      soften<Isa>(scores, seq, i0, count, inverse_sums, log_sum_exps);
      multiply_rows<Isa, false>(Factor<W>{scores, seq, 1}, values, dim, last, outputs, dim, dim);
      const std::int64_t rows = std::min(kRows, end_row - i0);
      for (std::int64_t r = 0; r < rows; ++r) {
        const std::int64_t token = sequence * shape.seq + i0 + r;
        T* to = work.output + (token * shape.heads + head) * shape.head_dim;
        const W* from = outputs + r * dim;
        const W factor = inverse_sums[r];
#pragma omp simd
        for (std::int64_t d = 0; d < shape.head_dim; ++d) to[d] = narrow<T>(from[d] * factor);
        work.log_sum_exp[(sequence * shape.heads + head) * shape.seq + i0 + r] = log_sum_exps[r];
      }
    }
  }
}

// Writes a packed [seq, dim] gradient into its head's place.
template <typename T>
[[gnu::always_inline]] inline void unpack(const Wide<T>* from, Wide<T> scale, const Head<T>& head) {
  T* to = const_cast<T*>(head.data);
  for (std::int64_t t = 0; t < head.count; ++t, to += head.stride, from += padded(head.dim)) {
    prefetch<1>(to + kAhead * head.stride, head.dim);
#pragma omp simd
    for (std::int64_t d = 0; d < head.dim; ++d) to[d] = narrow<T>(from[d] * scale);
  }
}

template <typename Isa, typename T>
[[gnu::always_inline]] inline void attend_heads_backward(const AttentionBackward<T>& work,
                                                         std::int64_t begin, std::int64_t end) {
  using W = Wide<T>;
  const AttentionShape& shape = work.shape;
  const std::int64_t seq = padded(shape.seq);
  const std::int64_t dim = padded(shape.head_dim);
  const std::int64_t group = shape.heads / shape.kv_heads;
  const auto scale = static_cast<W>(1.0 / std::sqrt(static_cast<double>(shape.head_dim)));
  constexpr std::int64_t kRows = Isa::kRows;
  constexpr std::int64_t kLanes = Vectors<Isa, W>::kLanes;
  Scratch<W> scratch(8 * seq * dim + 2 * kBlock * seq);
  W* keys = scratch.take(seq * dim);
  W* keys_t = scratch.take(seq * dim);
  W* values_t = scratch.take(seq * dim);
  W* queries = scratch.take(seq * dim);
  W* d_outputs = scratch.take(seq * dim);
  W* d_queries = scratch.take(seq * dim);
  W* d_keys = scratch.take(seq * dim);
  W* d_values = scratch.take(seq * dim);
  W* weights = scratch.take(kBlock * seq);   // of the block's rows: softmax
  W* d_scores = scratch.take(kBlock * seq);  // and its gradient
  std::int64_t packed = -1;  // the key/value head of all sequences that lies in keys and the others
  for (std::int64_t item = begin; item < end; ++item) {
    const std::int64_t sequence = item / shape.heads;
    const std::int64_t head = item % shape.heads;
    const std::int64_t kv = head / group;
    const std::int64_t key = shape.heads + kv;
    const std::int64_t value = key + shape.kv_heads;
    if (const std::int64_t wanted = sequence * shape.kv_heads + kv; wanted != packed) {
      pack(head_of(work.qkv, shape, sequence, value), W(1), keys);
      transpose(keys, seq, dim, values_t);
      pack(head_of(work.qkv, shape, sequence, key), W(1), keys);
      transpose(keys, seq, dim, keys_t);
      packed = wanted;
    }
    std::fill(d_keys, d_keys + seq * dim, W(0));
    std::fill(d_values, d_values + seq * dim, W(0));
    pack(head_of(work.qkv, shape, sequence, head), scale, queries);
    const std::int64_t out_stride = shape.heads * shape.head_dim;
    const std::int64_t out_begin = sequence * shape.seq * out_stride + head * shape.head_dim;
    pack(Head<T>{work.d_output + out_begin, out_stride, shape.seq, shape.head_dim}, W(1),
         d_outputs);
    const W* lse = work.log_sum_exp + (sequence * shape.heads + head) * shape.seq;
    for (std::int64_t block = 0; block < seq; block += kBlock) {
      const std::int64_t block_end = std::min(seq, block + kBlock);
      for (std::int64_t i0 = block; i0 < block_end; i0 += kRows) {
        const std::int64_t last = i0 + kRows;
        const std::int64_t count = (last + kLanes - 1) / kLanes * kLanes;
        W* of_weights = weights + (i0 - block) * seq;
        W* of_scores = d_scores + (i0 - block) * seq;
        multiply_rows<Isa, false>(Factor<W>{queries + i0 * dim, dim, 1}, keys_t, seq, dim,
                                  of_weights, seq, count);
        multiply_rows<Isa, false>(Factor<W>{d_outputs + i0 * dim, dim, 1}, values_t, seq, dim,
                                  of_scores, seq, count);
        for (std::int64_t r = 0; r < kRows; ++r) {
          const std::int64_t i = i0 + r;
          W* p = of_weights + r * seq;
          W* ds = of_scores + r * seq;
          mask_from<Isa>(p, i < shape.seq ? i + 1 : 0, count);
          W delta = 0;
          if (i < shape.seq) {
            const T* o = work.output + out_begin + i * out_stride;
            const W* d_o = d_outputs + i * dim;
#pragma omp simd reduction(+ : delta)
            for (std::int64_t d = 0; d < shape.head_dim; ++d) delta += widen(o[d]) * d_o[d];
          }
          const W top = i < shape.seq ? lse[i] : W(0);
#pragma omp simd
          for (std::int64_t j = 0; j < count; ++j) {
            const W weight = exp_of_negative(p[j] - top);
            p[j] = weight;
            ds[j] = weight * (ds[j] - delta);
          }
        }
        multiply_rows<Isa, false>(Factor<W>{of_scores, seq, 1}, keys, dim, last,
                                  d_queries + i0 * dim, dim, dim);
      }
      // What the block's rows give to keys and values, up to the diagonal.
      for (std::int64_t j0 = 0; j0 < block_end; j0 += kRows) {
        const std::int64_t first = std::max(block, j0);
        const std::int64_t rows = block_end - first;
        const std::int64_t from = (first - block) * seq + j0;
        multiply_rows<Isa, true>(Factor<W>{d_scores + from, 1, seq}, queries + first * dim, dim,
                                 rows, d_keys + j0 * dim, dim, dim);
        multiply_rows<Isa, true>(Factor<W>{weights + from, 1, seq}, d_outputs + first * dim, dim,
                                 rows, d_values + j0 * dim, dim, dim);
      }
    }
    unpack(d_queries, scale, head_of<T>(work.d_qkv, shape, sequence, head));
    if (work.d_shared == nullptr) {
      unpack(d_keys, W(1), head_of<T>(work.d_qkv, shape, sequence, key));
      unpack(d_values, W(1), head_of<T>(work.d_qkv, shape, sequence, value));
    } else {
      const std::int64_t count = shape.seq * shape.head_dim;
      W* to = work.d_shared + item * 2 * count;
      unpack(d_keys, W(1), Head<W>{to, shape.head_dim, shape.seq, shape.head_dim});
      unpack(d_values, W(1), Head<W>{to + count, shape.head_dim, shape.seq, shape.head_dim});
    }
  }
}

template <typename T>
CUBOID_CLONES void add_shared_heads(const AttentionBackward<T>& work, std::int64_t begin,
                                    std::int64_t end) {
  using W = Wide<T>;
  const AttentionShape& shape = work.shape;
  const std::int64_t dim = shape.head_dim;
  const std::int64_t group = shape.heads / shape.kv_heads;
  const std::int64_t of_head = 2 * shape.seq * dim;
  for (std::int64_t token = begin; token < end; ++token)
    for (std::int64_t of_kv = 0; of_kv < 2 * shape.kv_heads; ++of_kv) {
      const bool is_value = of_kv >= shape.kv_heads;
      const std::int64_t first = token / shape.seq * shape.heads + of_kv % shape.kv_heads * group;
      W* sum =
          work.d_shared + first * of_head + ((is_value ? shape.seq : 0) + token % shape.seq) * dim;
      for (std::int64_t other = 1; other < group; ++other) {
        const W* part = sum + other * of_head;
#pragma omp simd
        for (std::int64_t d = 0; d < dim; ++d) sum[d] += part[d];
      }
      T* to = work.d_qkv + token * shape.width() + (shape.heads + of_kv) * dim;
#pragma omp simd
      for (std::int64_t d = 0; d < dim; ++d) to[d] = narrow<T>(sum[d]);
    }
}

// The registers differ in number and width, so the tiles do, and target_clones would give all the
// same ones.
#if defined(__x86_64__)
template <typename T>
[[gnu::target("arch=x86-64-v4")]] void attend_avx512(const AttentionForward<T>& work,
                                                     std::int64_t begin, std::int64_t end) {
  attend_heads<Avx512>(work, begin, end);
}
template <typename T>
[[gnu::target("arch=x86-64-v3")]] void attend_avx2(const AttentionForward<T>& work,
                                                   std::int64_t begin, std::int64_t end) {
  attend_heads<Avx2>(work, begin, end);
}
template <typename T>
[[gnu::target("arch=x86-64-v4")]] void attend_backward_avx512(const AttentionBackward<T>& work,
                                                              std::int64_t begin,
                                                              std::int64_t end) {
  attend_heads_backward<Avx512>(work, begin, end);
}
template <typename T>
[[gnu::target("arch=x86-64-v3")]] void attend_backward_avx2(const AttentionBackward<T>& work,
                                                            std::int64_t begin, std::int64_t end) {
  attend_heads_backward<Avx2>(work, begin, end);
}
#endif

}  // namespace

template <typename T>
void attend(const AttentionForward<T>& work, std::int64_t begin, std::int64_t end,
            [[maybe_unused]] InstructionSet set) {
#if defined(__x86_64__)
  if (set == InstructionSet::kAvx512) return attend_avx512(work, begin, end);
  if (set == InstructionSet::kAvx2) return attend_avx2(work, begin, end);
#endif
  attend_heads<AnyProcessor>(work, begin, end);
}

template <typename T>
void attend_backward(const AttentionBackward<T>& work, std::int64_t begin, std::int64_t end,
                     [[maybe_unused]] InstructionSet set) {
#if defined(__x86_64__)
  if (set == InstructionSet::kAvx512) return attend_backward_avx512(work, begin, end);
  if (set == InstructionSet::kAvx2) return attend_backward_avx2(work, begin, end);
#endif
  attend_heads_backward<AnyProcessor>(work, begin, end);
}

template <typename T>
void add_shared(const AttentionBackward<T>& work, std::int64_t begin, std::int64_t end) {
  add_shared_heads(work, begin, end);
}

#define CUBOID_INSTANTIATE(T)                                                                   \
  template void attend(const AttentionForward<T>&, std::int64_t, std::int64_t, InstructionSet); \
  template void attend_backward(const AttentionBackward<T>&, std::int64_t, std::int64_t,        \
                                InstructionSet);                                                \
  template void add_shared(const AttentionBackward<T>&, std::int64_t, std::int64_t);
CUBOID_INSTANTIATE(float)
CUBOID_INSTANTIATE(Bfloat16)
CUBOID_INSTANTIATE(double)
#undef CUBOID_INSTANTIATE

}  // namespace cuboid::detail
