#include "cuboid/data/token_file.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <filesystem>
#include <string_view>
#include <utility>

#include "cuboid/base/error.hpp"
#include "cuboid/base/text.hpp"
#include "cuboid/data/digest.hpp"

namespace cuboid {
namespace {

static_assert(std::endian::native == std::endian::little, "token files are read in place");

constexpr std::int64_t kLlmCHeaderBytes = 1024;
constexpr std::size_t kLlmCHeaderWords = 256;
constexpr std::int32_t kLlmC16Magic = 20240520;
constexpr std::int32_t kLlmC32Magic = 20240801;
constexpr const char* kLegal =
    "; legal are nanoGPT's raw uint16 ids and llm.c's files (magic 20240520 version 1: uint16; "
    "magic 20240801 version 7: uint32)";

// Files of other kinds that are called *.bin, or given by mistake.
struct Foreign {
  std::string_view magic;
  std::string_view name;
};
using namespace std::string_view_literals;
constexpr std::array kForeign{
    Foreign{"\x89HDF\r\n\x1a\n"sv, "an HDF5 file"},
    Foreign{"\x93NUMPY"sv, "a NumPy array"},
    Foreign{"PK\x03\x04"sv, "a zip archive or a PyTorch checkpoint"},
    Foreign{"\x1f\x8b\x08\x00"sv, "a gzip file"},
    Foreign{"\x1f\x8b\x08\x08"sv, "a gzip file"},
    Foreign{"\x28\xb5\x2f\xfd"sv, "a zstd file"},
    Foreign{"\x7f\x45LF"sv, "a program"},
    Foreign{"MMIDIDX\0\0"sv, "a Megatron-LM index"},
    // llm.c's other files (int32, little-endian).
    Foreign{"\x8a\xd8\x34\x01"sv, "an llm.c evaluation file"},
    Foreign{"\xc6\xd7\x34\x01"sv, "an llm.c model"},
    Foreign{"\xc7\xd7\x34\x01"sv, "an llm.c debug state"},
    Foreign{"\xc8\xd7\x34\x01"sv, "an llm.c tokenizer"},
    Foreign{"\x8f\xd8\x34\x01"sv, "an llm.c optimizer state"},
};

template <typename T>
T load(std::span<const std::byte> bytes, std::size_t index) {
  T value{};
  std::memcpy(&value, bytes.data() + index * sizeof(T), sizeof(T));
  return value;
}

bool begins_with(std::span<const std::byte> bytes, std::string_view magic) {
  return bytes.size() >= magic.size() && std::memcmp(bytes.data(), magic.data(), magic.size()) == 0;
}

// A header of llm.c's shape whose magic was not recognised: three words, then only zeros. (As
// tokens that would be 506 times id 0 in a row after six tokens that are not.)
bool looks_like_llm_c(std::span<const std::byte> bytes) {
  if (bytes.size() < static_cast<std::size_t>(kLlmCHeaderBytes)) return false;
  const auto is_zero = [](std::byte b) { return b == std::byte{0}; };
  const auto header = bytes.first(static_cast<std::size_t>(kLlmCHeaderBytes));
  return !std::all_of(header.begin(), header.begin() + 12, is_zero) &&
         std::all_of(header.begin() + 12, header.end(), is_zero);
}

// Raw uint32 ids below 65,536 read as uint16 have a zero at every second place.
bool looks_like_uint32(std::span<const std::byte> bytes) {
  const std::size_t count = std::min<std::size_t>(bytes.size() / 2, 2048);
  if (count < 64) return false;
  bool any_even = false;
  for (std::size_t i = 0; i < count; ++i) {
    if (load<std::uint16_t>(bytes, i) == 0) continue;
    if (i % 2 == 1) return false;
    any_even = true;
  }
  return any_even;
}

// Calls f with the payload as ids of their type.
template <typename F>
auto with_ids(const TokenFile& file, F&& f) {
  const std::byte* data = file.payload().data();
  const auto count = static_cast<std::size_t>(file.num_tokens());
  switch (width_of(file.format())) {
    case 1: return f(std::span(reinterpret_cast<const std::uint8_t*>(data), count));
    case 2: return f(std::span(reinterpret_cast<const std::uint16_t*>(data), count));
    default: return f(std::span(reinterpret_cast<const std::uint32_t*>(data), count));
  }
}

template <typename Id>
std::int64_t largest(std::span<const Id> ids) {
  Id most = 0;
  for (const Id id : ids) most = std::max(most, id);
  return most;
}

template <typename Id>
std::optional<std::int64_t> find_bad(std::span<const Id> ids, std::int64_t vocab_size) {
  // A block's maximum vectorises, a search does not; the search runs in one block at most.
  constexpr std::size_t kBlock = 4096;
  for (std::size_t begin = 0; begin < ids.size(); begin += kBlock) {
    const auto block = ids.subspan(begin, std::min(kBlock, ids.size() - begin));
    if (largest(block) < vocab_size) continue;
    for (std::size_t i = 0; i < block.size(); ++i)
      if (block[i] >= vocab_size) return static_cast<std::int64_t>(begin + i);
  }
  return std::nullopt;
}

}  // namespace

bool has_token_magic(std::span<const std::byte> first_bytes) {
  if (first_bytes.size() >= 8 && load<std::uint64_t>(first_bytes, 0) == PackedHeader::kMagic)
    return true;
  if (first_bytes.size() < 4) return false;
  const auto magic = load<std::int32_t>(first_bytes, 0);
  return magic == kLlmC16Magic || magic == kLlmC32Magic;
}

TokenFile::TokenFile(std::string path) : file_(std::move(path)) {
  const auto bytes = file_.bytes();
  if (!has_token_magic(bytes)) {
    accept_raw();
  } else if (load<std::int32_t>(bytes, 0) == kLlmC16Magic ||
             load<std::int32_t>(bytes, 0) == kLlmC32Magic) {
    read_llm_c_header();
  } else {
    read_packed_header();
  }
}

void TokenFile::read_llm_c_header() {
  const auto bytes = file_.bytes();
  if (num_bytes() < kLlmCHeaderBytes)
    throw UsageError(path() + ": is cut off: " + grouped(num_bytes()) +
                     " bytes, an llm.c header alone has 1,024");
  const auto magic = load<std::int32_t>(bytes, 0);
  const auto version = load<std::int32_t>(bytes, 1);
  const std::int64_t count = load<std::int32_t>(bytes, 2);
  format_ = magic == kLlmC16Magic ? TokenFormat::kLlmC16 : TokenFormat::kLlmC32;
  const int expected_version = magic == kLlmC16Magic ? 1 : 7;
  if (version != expected_version)
    throw UsageError(path() + ": has version " + std::to_string(version) + "; with magic " +
                     std::to_string(magic) + " only version " + std::to_string(expected_version) +
                     " is legal");
  const std::int64_t expected = kLlmCHeaderBytes + count * width_of(format_);
  if (count < 0 || num_bytes() != expected)
    throw UsageError(path() + ": has " + grouped(num_bytes()) + " bytes, but its header's " +
                     grouped(count) + " tokens of " + std::to_string(width_of(format_)) +
                     " bytes need " + grouped(expected));
  if (count == 0) throw UsageError(path() + ": is empty (its header says 0 tokens)");
  header_bytes_ = kLlmCHeaderBytes;
  num_tokens_ = count;
}

void TokenFile::read_packed_header() {
  format_ = TokenFormat::kPackedText;
  header_bytes_ = sizeof(PackedHeader);
  if (num_bytes() <= header_bytes_) throw UsageError(path() + ": packed text that is cut off");
  const PackedHeader header = packed_header();
  const auto fields = file_.bytes().first(offsetof(PackedHeader, header));
  if (header.version != PackedHeader::kVersion || header.header != xxh3(fields) ||
      header.tokens != static_cast<std::uint64_t>(num_bytes() - header_bytes_))
    throw UsageError(path() + ": packed text whose header is damaged, or of another version");
  num_tokens_ = num_bytes() - header_bytes_;
}

void TokenFile::accept_raw() {
  const auto bytes = file_.bytes();
  for (const Foreign& foreign : kForeign)
    if (begins_with(bytes, foreign.magic))
      throw UsageError(path() + ": wrong magic, it is " + std::string(foreign.name) +
                       ", not a file of token ids" + kLegal);
  if (looks_like_llm_c(bytes))
    throw UsageError(path() + ": wrong magic " + std::to_string(load<std::int32_t>(bytes, 0)) +
                     " in a header like llm.c's" + kLegal);
  const auto index = std::filesystem::path(path()).replace_extension(".idx");
  if (std::error_code error; std::filesystem::exists(index, error))
    throw UsageError(path() + ": belongs to a Megatron-LM data set (" + index.string() +
                     " lies beside it)" + kLegal);
  if (num_bytes() % 2 != 0)
    throw UsageError(path() + ": has an odd size, " + grouped(num_bytes()) +
                     " bytes, but ids without a header are uint16, two bytes each" + kLegal);
  if (looks_like_uint32(bytes))
    throw UsageError(path() + ": holds 32-bit ids without a header (every second uint16 is 0)" +
                     kLegal);
  format_ = TokenFormat::kNanoGpt;
  num_tokens_ = num_bytes() / 2;
}

PackedHeader TokenFile::packed_header() const {
  require(format_ == TokenFormat::kPackedText, "packed_header() is for packed text");
  return load<PackedHeader>(file_.bytes(), 0);
}

void TokenFile::read(std::int64_t begin, std::span<std::int64_t> out,
                     std::int64_t vocab_size) const {
  const auto count = static_cast<std::int64_t>(out.size());
  require(begin >= 0 && count <= num_tokens_ && begin <= num_tokens_ - count,
          "tokens are read within their file");
  file_.check_unchanged();
  const bool all_good = with_ids(*this, [&](auto ids) {
    const auto part = ids.subspan(static_cast<std::size_t>(begin), out.size());
    std::copy(part.begin(), part.end(), out.begin());
    return part.empty() || largest(part) < vocab_size;
  });
  if (all_good) return;
  throw UsageError(
      describe_bad_id(find_bad_id(begin, count, vocab_size).value_or(begin), vocab_size));
}

std::optional<std::int64_t> TokenFile::find_bad_id(std::int64_t begin, std::int64_t count,
                                                   std::int64_t vocab_size) const {
  require(begin >= 0 && count >= 0 && count <= num_tokens_ && begin <= num_tokens_ - count,
          "tokens are searched within their file");
  const auto found = with_ids(*this, [&](auto ids) {
    return find_bad(ids.subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(count)),
                    vocab_size);
  });
  return found ? std::optional(begin + *found) : std::nullopt;
}

std::string TokenFile::describe_bad_id(std::int64_t position, std::int64_t vocab_size) const {
  const std::int64_t id = with_ids(*this, [&](auto ids) {
    return static_cast<std::int64_t>(ids[static_cast<std::size_t>(position)]);
  });
  return path() + ": token id " + std::to_string(id) + " at position " + std::to_string(position) +
         " (byte " + std::to_string(header_bytes_ + position * width_of(format_)) +
         ") is beyond the vocabulary; ids must be below --vocab-size " + std::to_string(vocab_size);
}

}  // namespace cuboid
