// How a vocabulary is divided over TP: equal blocks of rows, the last ones padded. The padding is
// never visible outside a rank: not in files, not in gradients, not in the loss.
#pragma once

#include <cstdint>

#include "cuboid/grid/shape.hpp"

namespace cuboid {

struct VocabularyShard {
  Range rows;             // this rank's token ids
  std::int64_t num_rows;  // rows that it stores: rows.size() and padding
  [[nodiscard]] std::int64_t padding() const { return num_rows - rows.size(); }
};

// Blocks of ceil(vocab / tp) rows; for large vocabularies rounded up to 128, which the matrix
// product of the logits runs faster with.
inline VocabularyShard vocabulary_shard(std::int64_t vocab_size, int tp_size, int tp_rank) {
  constexpr std::int64_t kLarge = 4096;
  constexpr std::int64_t kRound = 128;
  std::int64_t block = (vocab_size + tp_size - 1) / tp_size;
  if (block >= kLarge) block = (block + kRound - 1) / kRound * kRound;
  return {.rows = block_part(vocab_size, block, tp_rank), .num_rows = block};
}

}  // namespace cuboid
