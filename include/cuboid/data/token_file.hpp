// One memory-mapped file of token ids: nanoGPT's, llm.c's, or text that was packed by this program.
// All little-endian.
//
// nanoGPT: raw uint16, no header (its data/*/prepare.py).
//
// llm.c: a header of 256 int32 {magic, version, tokens, 0...}, then ids. Magic 20240520, version 1:
// uint16; magic 20240801, version 7: uint32 (its dev/data/data_common.py).
//
// Packed text: PackedHeader, then one byte a token.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "cuboid/data/mapped_file.hpp"

namespace cuboid {

enum class TokenFormat : unsigned char { kNanoGpt, kLlmC16, kLlmC32, kPackedText };

// Bytes of one token id.
constexpr std::int64_t width_of(TokenFormat format) {
  switch (format) {
    case TokenFormat::kNanoGpt:
    case TokenFormat::kLlmC16: return 2;
    case TokenFormat::kLlmC32: return 4;
    case TokenFormat::kPackedText: return 1;
  }
  return 0;
}

// The vocabulary that a format is used with: bytes, GPT-2 (50,257) and LLaMA 3 (128,256).
constexpr std::int64_t default_vocab_size(TokenFormat format) {
  switch (format) {
    case TokenFormat::kNanoGpt:
    case TokenFormat::kLlmC16: return 50257;
    case TokenFormat::kLlmC32: return 128256;
    case TokenFormat::kPackedText: return 256;
  }
  return 0;
}

// Start of a file of packed text.
struct PackedHeader {
  static constexpr std::uint64_t kMagic = 0x4B5444494F425543U;  // "CUBOIDTK" as bytes
  static constexpr std::uint64_t kVersion = 1;
  std::uint64_t magic = kMagic;
  std::uint64_t version = kVersion;
  std::uint64_t sources = 0;  // digest of the list of source files
  std::uint64_t tokens = 0;
  std::uint64_t payload = 0;  // XXH3 of the tokens
  std::uint64_t reserved[2] = {};
  std::uint64_t header = 0;  // XXH3 of the fields before
};
static_assert(sizeof(PackedHeader) == 64);

class TokenFile {
 public:
  // Finds the format by the file's first bytes. Throws UsageError when the file is missing, empty,
  // unreadable, not regular, of odd size, of another kind, or when its header is wrong.
  explicit TokenFile(std::string path);

  [[nodiscard]] const std::string& path() const { return file_.path(); }
  [[nodiscard]] TokenFormat format() const { return format_; }
  [[nodiscard]] std::int64_t num_tokens() const { return num_tokens_; }
  [[nodiscard]] std::int64_t num_bytes() const {
    return static_cast<std::int64_t>(file_.bytes().size());
  }
  // The ids as bytes, without the header.
  [[nodiscard]] std::span<const std::byte> payload() const {
    return file_.bytes().subspan(static_cast<std::size_t>(header_bytes_));
  }
  // Of packed text only.
  [[nodiscard]] PackedHeader packed_header() const;

  // Copies tokens [begin, begin + out.size()) into `out`. Throws UsageError naming file, position
  // and id when one is not below vocab_size, SystemError when the file changed its size.
  void read(std::int64_t begin, std::span<std::int64_t> out, std::int64_t vocab_size) const;

  // Position of the first id in [begin, begin + count) that is not below vocab_size.
  [[nodiscard]] std::optional<std::int64_t> find_bad_id(std::int64_t begin, std::int64_t count,
                                                        std::int64_t vocab_size) const;
  // "FILE: token id 60000 at position 12 (byte 1048) ...": for a result of find_bad_id.
  [[nodiscard]] std::string describe_bad_id(std::int64_t position, std::int64_t vocab_size) const;

 private:
  void read_llm_c_header();
  void read_packed_header();
  void accept_raw();

  MappedFile file_;
  TokenFormat format_ = TokenFormat::kNanoGpt;
  std::int64_t header_bytes_ = 0;
  std::int64_t num_tokens_ = 0;
};

// True when the file begins like llm.c tokens or packed text, whatever its name.
bool has_token_magic(std::span<const std::byte> first_bytes);

}  // namespace cuboid
