#include "cuboid/checkpoint/seal.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <memory>
#include <optional>
#include <span>
#include <string_view>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "cuboid/base/error.hpp"
#include "cuboid/base/text.hpp"
#include "cuboid/checkpoint/damage.hpp"
#include "cuboid/checkpoint/file.hpp"

namespace cuboid {
namespace {

constexpr std::string_view kTitle = "\nCUBOID-SEAL ";
// The last line has a fixed length, so that it can be found from the end.
constexpr std::string_view kLast = "seal_bytes ";
constexpr std::string_view kDigestName = "seal_digest ";
constexpr std::size_t kDigestLine = kDigestName.size() + 16 + 1;
constexpr std::size_t kLastLine = kLast.size() + 12 + 1;
// A million ranges of tensors. What claims more is damaged, and would cost as much memory.
constexpr std::int64_t kMaxSeal = std::int64_t{1} << 26;
// Where the seal is missing, the file's head is searched for the name of an attribute that no other
// program's files have.
constexpr std::int64_t kHeadBytes = std::int64_t{128} << 10;
constexpr std::string_view kCuboidsOwn = "sample_digest";
constexpr std::string_view kHdf5Magic = "\x89HDF\r\n\x1A\n";

std::string hex(std::uint64_t value) {
  return format("%016llx", static_cast<unsigned long long>(value));
}

std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text));
}

// Takes texts and numbers off the front of a seal's text.
class Scanner {
 public:
  explicit Scanner(std::string_view text) : rest_(text) {}
  void expect(std::string_view text) {
    if (!rest_.starts_with(text)) throw DamagedCheckpoint("the seal is damaged");
    rest_.remove_prefix(text.size());
  }
  template <typename Number>
  Number number(int base = 10) {
    Number value{};
    const auto [end, error] =
        std::from_chars(rest_.data(), rest_.data() + rest_.size(), value, base);
    if (error != std::errc{}) throw DamagedCheckpoint("the seal is damaged");
    rest_.remove_prefix(static_cast<std::size_t>(end - rest_.data()));
    return value;
  }
  [[nodiscard]] bool starts_with(std::string_view text) const { return rest_.starts_with(text); }
  [[nodiscard]] bool empty() const { return rest_.empty(); }

 private:
  std::string_view rest_;
};

struct HashStateFree {
  void operator()(XXH3_state_t* state) const { XXH3_freeState(state); }
};

// XXH3-64 of bytes [0, size) without those in `skipped`.
std::uint64_t digest_outside(const Descriptor& file, std::int64_t size,
                             const std::vector<Range>& skipped, const std::string& what) {
  const std::unique_ptr<XXH3_state_t, HashStateFree> state(XXH3_createState());
  XXH3_64bits_reset(state.get());
  std::vector<std::byte> buffer(std::size_t{1} << 20);
  for (auto [begin, end] : gaps_between(skipped, size)) {
    while (begin < end) {
      const auto count = std::min(buffer.size(), static_cast<std::size_t>(end - begin));
      read_at(file, begin, std::span(buffer).first(count), what);
      XXH3_64bits_update(state.get(), buffer.data(), count);
      begin += static_cast<std::int64_t>(count);
    }
  }
  return XXH3_64bits_digest(state.get());
}

// The last line but one of a seal, of any version, is the digest of what comes before the number.
bool has_own_digest(std::string_view text) {
  if (text.size() < kDigestLine + kLastLine) return false;
  const std::size_t begin = text.size() - kLastLine - kDigestLine;
  const std::string_view digested = text.substr(0, begin + kDigestName.size());
  return text.substr(digested.size(), 16) == hex(XXH3_64bits(digested.data(), digested.size()));
}

void check_ranges(const Seal& seal) {
  std::int64_t at = 0;
  for (const Range& range : seal.tensor_bytes) {
    if (range.begin < at || range.end <= range.begin)
      throw DamagedCheckpoint("the seal is damaged");
    at = range.end;
  }
  if (at > seal.file_bytes) throw DamagedCheckpoint("the seal is damaged");
}

// What is wrong with a file without a seal, as far as its beginning tells.
[[noreturn]] void throw_without_seal(const Descriptor& file, std::int64_t size,
                                     const std::string& what) {
  std::string head(static_cast<std::size_t>(std::min(size, kHeadBytes)), '\0');
  read_at(file, 0, std::as_writable_bytes(std::span(head)), what);
  if (!head.starts_with(kHdf5Magic)) throw UsageError("it is not an HDF5 file");
  const std::string problem =
      "it has no seal: it is not a Cuboid checkpoint, was cut short, or was never completed";
  if (head.find(kCuboidsOwn) != std::string::npos) throw DamagedCheckpoint(problem);
  throw UsageError(problem);
}

// The text at the end of the file that should be its seal; none where nothing is like one.
std::optional<std::string> read_seal_text(const Descriptor& file, std::int64_t size,
                                          const std::string& what) {
  std::string last(kLastLine, '\0');
  if (size < static_cast<std::int64_t>(kLastLine)) return std::nullopt;
  read_at(file, size - static_cast<std::int64_t>(kLastLine),
          std::as_writable_bytes(std::span(last)), what);
  std::int64_t length = 0;
  const char* begin = last.data() + kLast.size();
  const auto [end, error] = std::from_chars(begin, begin + 12, length);
  if (!last.starts_with(kLast) || error != std::errc{} || end != begin + 12) return std::nullopt;
  if (last.back() != '\n' || length < 0 || length > std::min(size, kMaxSeal)) return std::nullopt;
  std::string text(static_cast<std::size_t>(length), '\0');
  read_at(file, size - length, std::as_writable_bytes(std::span(text)), what);
  return text;
}

// What is wrong with the path itself; anything else is a failure of the system, which may pass.
bool is_mistake(int code) {
  return code == ENOENT || code == ENOTDIR || code == EACCES || code == EPERM || code == ELOOP ||
         code == ENAMETOOLONG;
}

Descriptor open_checkpoint(const std::string& path, const std::string& what) {
  const auto check = [&](bool ok) {
    if (!ok && is_mistake(errno)) throw UsageError(std::strerror(errno));
    check_errno(ok, what);
  };
  struct stat status{};
  check(::stat(path.c_str(), &status) == 0);
  if (!S_ISREG(status.st_mode)) throw UsageError("it is not a regular file");
  int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  while (file < 0 && errno == EINTR) file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  check(file >= 0);
  return Descriptor(file);
}

Seal check_seal_of(const std::string& path) {
  const std::string what = "cannot read checkpoint '" + path + "'";
  const Descriptor file = open_checkpoint(path, what);
  const std::int64_t size = size_of_file(file, what);
  const std::optional<std::string> text = read_seal_text(file, size, what);
  if (!text) throw_without_seal(file, size, what);
  Seal seal = parse_seal(*text);
  if (seal.file_bytes != size - static_cast<std::int64_t>(text->size()))
    throw DamagedCheckpoint(
        format("it has %lld bytes before its seal, which says %lld",
               static_cast<long long>(size) - static_cast<long long>(text->size()),
               static_cast<long long>(seal.file_bytes)));
  if (digest_outside(file, seal.file_bytes, seal.tensor_bytes, what) != seal.digest)
    throw DamagedCheckpoint(
        "it is damaged, or was changed after it was saved: its structure and "
        "metadata do not have the digest that its seal says");
  return seal;
}

}  // namespace

std::vector<Range> joined(std::vector<Range> ranges) {
  std::erase_if(ranges, [](const Range& range) { return range.size() <= 0; });
  std::ranges::sort(ranges, {}, &Range::begin);
  std::vector<Range> result;
  for (const Range& range : ranges) {
    if (!result.empty() && result.back().end == range.begin) {
      result.back().end = range.end;
    } else {
      result.push_back(range);
    }
  }
  return result;
}

std::vector<Range> gaps_between(const std::vector<Range>& ranges, std::int64_t size) {
  std::vector<Range> gaps;
  std::int64_t at = 0;
  for (const Range& range : ranges) {
    gaps.push_back({at, range.begin});
    at = range.end;
  }
  gaps.push_back({at, size});
  return joined(std::move(gaps));
}

std::string to_text(const Seal& seal) {
  std::string text(kTitle);
  text += std::to_string(seal.version) + "\nfile_bytes " + std::to_string(seal.file_bytes) +
          "\ndigest " + hex(seal.digest) + "\n";
  for (const Range& range : seal.tensor_bytes)
    text += "tensor_bytes " + std::to_string(range.begin) + " " + std::to_string(range.end) + "\n";
  text += kDigestName;
  text += hex(XXH3_64bits(text.data(), text.size())) + "\n";
  text += kLast;
  const std::size_t length = text.size() + 12 + 1;
  return text + format("%012zu\n", length);
}

Seal parse_seal(const std::string& text) {
  // First of all, so that damage is not taken for a newer version.
  if (!has_own_digest(text)) throw DamagedCheckpoint("the seal is damaged");
  Scanner scanner(text);
  Seal seal;
  scanner.expect(kTitle);
  seal.version = scanner.number<std::int64_t>();
  if (seal.version > kFormatVersion)
    throw UsageError(
        format("it was written by a newer Cuboid: format version %lld, this program "
               "reads versions up to %lld",
               static_cast<long long>(seal.version), static_cast<long long>(kFormatVersion)));
  scanner.expect("\nfile_bytes ");
  seal.file_bytes = scanner.number<std::int64_t>();
  scanner.expect("\ndigest ");
  seal.digest = scanner.number<std::uint64_t>(16);
  while (!scanner.starts_with("\nseal_digest ")) {
    scanner.expect("\ntensor_bytes ");
    const auto begin = scanner.number<std::int64_t>();
    scanner.expect(" ");
    seal.tensor_bytes.push_back({begin, scanner.number<std::int64_t>()});
  }
  check_ranges(seal);
  // One text for one seal: whatever else the text holds, it is not this.
  if (to_text(seal) != text) throw DamagedCheckpoint("the seal is damaged");
  return seal;
}

void append_seal(const std::string& path, std::vector<Range> tensor_bytes,
                 const std::string& what) {
  Descriptor file = open_file(path, O_RDWR, what);
  Seal seal;
  seal.file_bytes = size_of_file(file, what);
  seal.tensor_bytes = joined(std::move(tensor_bytes));
  seal.digest = digest_outside(file, seal.file_bytes, seal.tensor_bytes, what);
  const std::string text = to_text(seal);
  write_at(file, seal.file_bytes, bytes_of(text), what);
  sync_to_disk(file, what);
  close_file(file, what);
}

Seal check_seal(const std::string& path) {
  try {
    return check_seal_of(path);
  } catch (const DamagedCheckpoint& error) {
    throw DamagedCheckpoint("checkpoint '" + path + "': " + error.what());
  } catch (const UsageError& error) {
    throw UsageError("checkpoint '" + path + "': " + error.what());
  }
}

}  // namespace cuboid
