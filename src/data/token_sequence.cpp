#include "cuboid/data/token_sequence.hpp"

#include <algorithm>
#include <utility>

#include "cuboid/base/error.hpp"

namespace cuboid {

TokenSequence::TokenSequence(std::vector<TokenFile> files, std::int64_t vocab_size)
    : files_(std::move(files)), starts_{0}, vocab_size_(vocab_size) {
  for (const TokenFile& file : files_) starts_.push_back(starts_.back() + file.num_tokens());
}

void TokenSequence::read(std::int64_t begin, std::span<std::int64_t> out) const {
  require(begin >= 0 && begin <= size() - static_cast<std::int64_t>(out.size()),
          "tokens are read within their sequence");
  if (out.empty()) return;
  // The last file that starts at or before `begin`.
  auto at = static_cast<std::size_t>(std::upper_bound(starts_.begin(), starts_.end(), begin) -
                                     starts_.begin() - 1);
  while (!out.empty()) {
    const std::int64_t left = starts_[at + 1] - begin;
    const auto part = out.first(std::min(out.size(), static_cast<std::size_t>(left)));
    files_[at].read(begin - starts_[at], part, vocab_size_);
    begin += static_cast<std::int64_t>(part.size());
    out = out.subspan(part.size());
    ++at;
  }
}

}  // namespace cuboid
