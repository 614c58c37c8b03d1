#include "cuboid/kernels/attention.hpp"

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/record_function.h>

#include "attention_heads.hpp"
#include "host.hpp"

namespace cuboid {
namespace {

void check(const at::Tensor& qkv, const AttentionShape& shape) {
  require(qkv.dim() == 2 && qkv.size(0) == shape.sequences * shape.seq &&
              qkv.size(1) == shape.width() && shape.heads % shape.kv_heads == 0,
          "query, key and value of whole sequences");
}

// What profilers are told: multiplications of q k^T without the mask.
double scores_of(const AttentionShape& shape) {
  return static_cast<double>(shape.sequences * shape.heads * shape.head_dim) *
         static_cast<double>(shape.seq * shape.seq);
}

// Pieces of a head, for as many threads: one, where whole heads are as many for each of them.
std::int64_t pieces_for(const AttentionShape& shape, int threads) {
  constexpr std::int64_t kOfAThread = 8;  // so that a piece more or less is no matter
  constexpr std::int64_t kRows = 64;      // of a piece at least, on average
  const std::int64_t heads = shape.sequences * shape.heads;
  if (heads % threads == 0) return 1;
  return std::clamp<std::int64_t>((kOfAThread * threads + heads - 1) / heads, 1,
                                  std::max<std::int64_t>(1, shape.seq / kRows));
}

// Runs body(begin, end) over pieces of the heads of all sequences, `pieces` of each.
template <typename Body>
void for_heads(const AttentionShape& shape, std::int64_t pieces, const Body& body) {
  const std::int64_t each = shape.seq * shape.seq * shape.head_dim / 8 / pieces;
  at::parallel_for(0, shape.sequences * shape.heads * pieces, detail::grain_rows(each), body);
}

// Sequences whose parts of shared gradients are held at a time: heads enough for many threads, and
// few for their memory. Only the shape decides.
std::int64_t sequences_together(const AttentionShape& shape) {
  constexpr std::int64_t kHeads = 32;
  if (shape.heads == shape.kv_heads) return shape.sequences;
  return std::min(shape.sequences, (kHeads + shape.heads - 1) / shape.heads);
}

}  // namespace

AttentionResult causal_attention(const at::Tensor& qkv, const AttentionShape& shape) {
  RECORD_FUNCTION("cuboid::causal_attention", std::vector<c10::IValue>({qkv, scores_of(shape)}));
  check(qkv, shape);
  const auto set = detail::best_instruction_set();
  return detail::for_type(qkv, [&]<typename T>() -> AttentionResult {
    using W = detail::Wide<T>;
    AttentionResult result{at::empty({qkv.size(0), shape.heads * shape.head_dim}, qkv.options()),
                           at::empty({shape.sequences, shape.heads, shape.seq},
                                     qkv.options().dtype(detail::kScalarType<W>))};
    const detail::AttentionForward<T> work{
        .shape = shape,
        .qkv = detail::data<T>(qkv),
        .output = detail::mutable_data<T>(result.output),
        .log_sum_exp = detail::mutable_data<W>(result.log_sum_exp),
        .pieces = pieces_for(shape, at::get_num_threads())};
    for_heads(shape, work.pieces,
              [&](std::int64_t begin, std::int64_t end) { detail::attend(work, begin, end, set); });
    return result;
  });
}

at::Tensor causal_attention_backward(const at::Tensor& d_output, const at::Tensor& qkv,
                                     const AttentionResult& forward, const AttentionShape& shape) {
  RECORD_FUNCTION("cuboid::causal_attention_backward",
                  std::vector<c10::IValue>({qkv, scores_of(shape)}));
  check(qkv, shape);
  const auto set = detail::best_instruction_set();
  at::Tensor d_qkv = at::empty_like(qkv);
  const std::int64_t together = sequences_together(shape);
  detail::for_type(qkv, [&]<typename T>() {
    using W = detail::Wide<T>;
    at::Tensor d_shared;
    if (shape.heads > shape.kv_heads)
      d_shared = at::empty({together, shape.heads, 2, shape.seq, shape.head_dim},
                           qkv.options().dtype(detail::kScalarType<W>));
    for (std::int64_t sequence = 0; sequence < shape.sequences; sequence += together) {
      AttentionShape part = shape;
      part.sequences = std::min(together, shape.sequences - sequence);
      const std::int64_t token = sequence * shape.seq;
      const std::int64_t out = token * shape.heads * shape.head_dim;
      const detail::AttentionBackward<T> work{
          .shape = part,
          .qkv = detail::data<T>(qkv) + token * shape.width(),
          .output = detail::data<T>(forward.output) + out,
          .log_sum_exp = detail::data<W>(forward.log_sum_exp) + token * shape.heads,
          .d_output = detail::data<T>(d_output) + out,
          .d_qkv = detail::mutable_data<T>(d_qkv) + token * shape.width(),
          .d_shared = detail::mutable_data<W>(d_shared)};
      for_heads(part, /*pieces=*/1, [&](std::int64_t begin, std::int64_t end) {
        detail::attend_backward(work, begin, end, set);
      });
      if (work.d_shared == nullptr) continue;
      at::parallel_for(
          0, part.sequences * shape.seq, detail::grain_rows(2 * shape.heads * shape.head_dim),
          [&](std::int64_t begin, std::int64_t end) { detail::add_shared(work, begin, end); });
    }
  });
  return d_qkv;
}

}  // namespace cuboid
