// Several token files as one sequence of tokens, and the part of it that a split holds.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "cuboid/data/token_file.hpp"
#include "cuboid/grid/shape.hpp"

namespace cuboid {

class TokenSequence {
 public:
  // The files in their order. Ids that are not below vocab_size are refused by read().
  TokenSequence(std::vector<TokenFile> files, std::int64_t vocab_size);

  [[nodiscard]] std::int64_t size() const { return starts_.back(); }
  // Copies tokens [begin, begin + out.size()), over file boundaries. Safe to call from several
  // threads. Throws what TokenFile::read throws.
  void read(std::int64_t begin, std::span<std::int64_t> out) const;

 private:
  std::vector<TokenFile> files_;
  std::vector<std::int64_t> starts_;  // first token of each file, then the end
  std::int64_t vocab_size_;
};

// A range of a sequence; offsets count from its beginning.
struct TokenSplit {
  std::shared_ptr<const TokenSequence> sequence;
  Range range;

  [[nodiscard]] std::int64_t size() const { return range.size(); }
  void read(std::int64_t begin, std::span<std::int64_t> out) const {
    sequence->read(range.begin + begin, out);
  }
};

}  // namespace cuboid
