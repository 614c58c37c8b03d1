#include "mutate.hpp"

#include <fcntl.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <iterator>
#include <span>
#include <vector>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "cuboid/base/philox.hpp"
#include "cuboid/base/text.hpp"
#include "cuboid/checkpoint/file.hpp"

namespace cuboid::mutants {
namespace {

constexpr std::string_view kSealDigest = "seal_digest ";
constexpr std::size_t kLastLine = sizeof("seal_bytes 000000000000\n") - 1;

class Random {
 public:
  Random(std::uint64_t seed, std::uint64_t number) : seed_(seed), number_(number) {}
  // A number in [0, count).
  std::size_t below(std::size_t count) {
    const PhiloxBlock block = philox(seed_, number_, counter_++);
    return (std::uint64_t{block.word[0]} << 32 | block.word[1]) % count;
  }
  // A length in [1, most]: as often short as long.
  std::size_t length(std::size_t most) {
    return 1 + below(std::min(most, std::size_t{1} << below(20)));
  }
  char byte() {
    constexpr std::array<char, 4> kLikely = {0, '\xFF', '\x80', 1};
    return below(2) == 0 ? kLikely[below(kLikely.size())] : static_cast<char>(below(256));
  }

 private:
  std::uint64_t seed_, number_, counter_ = 0;
};

std::size_t seal_begin(const Original& original) {
  return static_cast<std::size_t>(original.seal.file_bytes);
}

// A place anywhere, or, as often, among the few bytes that are no tensor's.
std::size_t some_place(const Original& a, std::size_t size, Random& random) {
  if (random.below(2) == 0 || size != a.bytes.size()) return random.below(size);
  const auto gaps = gaps_between(a.seal.tensor_bytes, static_cast<std::int64_t>(size));
  const Range gap = gaps[random.below(gaps.size())];
  return static_cast<std::size_t>(gap.begin) + random.below(static_cast<std::size_t>(gap.size()));
}

using Change = std::string (*)(Mutant&, const Original& a, const Original& b, Random&);

std::string flip_bit(Mutant& m, const Original& a, const Original&, Random& random) {
  const std::size_t at = some_place(a, m.bytes.size(), random);
  const std::size_t bit = random.below(8);
  m.bytes[at] = static_cast<char>(m.bytes[at] ^ (1 << bit));
  return format("flip bit %zu of byte %zu", bit, at);
}

std::string set_bytes(Mutant& m, const Original& a, const Original&, Random& random) {
  const std::size_t at = some_place(a, m.bytes.size(), random);
  const std::size_t count = std::min(random.length(64), m.bytes.size() - at);
  const bool same = random.below(2) == 0;
  const char value = random.byte();
  for (std::size_t i = 0; i < count; ++i) m.bytes[at + i] = same ? value : random.byte();
  return format("set %zu bytes at %zu", count, at);
}

// As a file system leaves a page that was never written.
std::string zero_page(Mutant& m, const Original& a, const Original&, Random& random) {
  const std::size_t page = random.below(2) == 0 ? 512 : 4096;
  const std::size_t at = some_place(a, m.bytes.size(), random) / page * page;
  const std::size_t count = std::min(page, m.bytes.size() - at);
  std::fill_n(m.bytes.begin() + static_cast<std::ptrdiff_t>(at), count, '\0');
  return format("zero %zu bytes at %zu", count, at);
}

std::string truncate(Mutant& m, const Original& a, const Original&, Random& random) {
  const std::size_t size = random.below(4) == 0 ? m.bytes.size() - random.length(m.bytes.size())
                                                : some_place(a, m.bytes.size(), random);
  m.bytes.resize(size);
  return format("truncate to %zu bytes", size);
}

std::string extend(Mutant& m, const Original&, const Original&, Random& random) {
  const std::size_t count = random.length(m.bytes.size());
  switch (random.below(3)) {
    case 0: m.bytes.append(count, random.byte()); break;
    case 1: m.bytes += m.bytes.substr(m.bytes.size() - count); break;
    default:
      for (std::size_t i = 0; i < count; ++i) m.bytes += random.byte();
  }
  return format("extend by %zu bytes", count);
}

std::string swap_blocks(Mutant& m, const Original& a, const Original&, Random& random) {
  const std::size_t first = some_place(a, m.bytes.size(), random);
  const std::size_t second = some_place(a, m.bytes.size(), random);
  const auto [low, high] = std::minmax(first, second);
  const std::size_t room = std::min(high - low, m.bytes.size() - high);
  const std::size_t count = std::min(random.length(8192), room);
  std::swap_ranges(m.bytes.begin() + static_cast<std::ptrdiff_t>(low),
                   m.bytes.begin() + static_cast<std::ptrdiff_t>(low + count),
                   m.bytes.begin() + static_cast<std::ptrdiff_t>(high));
  return format("swap %zu bytes at %zu and %zu", count, low, high);
}

// Over what is there, or in between.
std::string copy_block(Mutant& m, const Original& a, const Original&, Random& random) {
  const std::size_t from = some_place(a, m.bytes.size(), random);
  const std::size_t to = some_place(a, m.bytes.size(), random);
  const std::string block = m.bytes.substr(from, random.length(8192));
  const bool over = random.below(2) == 0;
  m.bytes.replace(to, over ? block.size() : 0, block);
  return format("copy %zu bytes from %zu %s %zu", block.size(), from, over ? "over" : "before", to);
}

std::string remove_block(Mutant& m, const Original& a, const Original&, Random& random) {
  const std::size_t at = some_place(a, m.bytes.size(), random);
  const std::size_t count = random.length(8192);
  m.bytes.erase(at, count);
  return format("remove %zu bytes at %zu", count, at);
}

// The seal's last two lines made to fit what is before them.
void finish_seal(std::string& text) {
  text.resize(std::min(text.size(), text.rfind(kSealDigest)));
  text += kSealDigest;
  text += format("%016llx\nseal_bytes ", static_cast<unsigned long long>(XXH3_64bits(
                                             text.data(), text.size() - kSealDigest.size())));
  text += format("%012zu\n", text.size() + 13);
}

std::string some_number(const std::string& old, Random& random) {
  constexpr std::array<const char*, 14> kNumbers = {"0",
                                                    "-1",
                                                    "1",
                                                    "4294967296",
                                                    "9223372036854775807",
                                                    "-0",
                                                    "999999",
                                                    "8589934592",
                                                    "-9223372036854775808",
                                                    "18446744073709551615",
                                                    "0x10",
                                                    "",
                                                    "-00000000001",
                                                    "000999999999"};
  if (random.below(2) == 0) return kNumbers[random.below(kNumbers.size())];
  std::string changed = old;  // a near miss: one digit of it
  changed[random.below(changed.size())] = "0123456789-+ af"[random.below(15)];
  return changed;
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size() - 1) + 1;
    lines.push_back(text.substr(begin, end - begin));
    begin = end;
  }
  return lines;
}

// Another number in a line of the seal, or the line gone, twice or elsewhere; then, sometimes, the
// seal's own digest and length made to fit.
std::string edit_seal(Mutant& m, const Original& a, const Original&, Random& random) {
  if (m.bytes.size() != a.bytes.size()) return "leave the seal";
  auto lines = lines_of(m.bytes.substr(seal_begin(a)));
  const std::size_t at = random.below(lines.size());
  const std::string line = lines[at].substr(0, lines[at].size() - 1);
  std::string what = "'" + line + "'";
  switch (random.below(6)) {
    case 0: lines.erase(lines.begin() + static_cast<std::ptrdiff_t>(at)); break;
    case 1: lines.insert(lines.begin() + static_cast<std::ptrdiff_t>(at), lines[at]); break;
    case 2: std::swap(lines[at], lines[random.below(lines.size())]); break;
    default: {
      const std::size_t space = random.below(2) == 0 ? line.rfind(' ') : line.find(' ');
      if (space == std::string::npos) break;
      const std::size_t end = std::min(line.find(' ', space + 1), line.size());
      const std::string number = some_number(line.substr(space + 1, end - space - 1) + " ", random);
      lines[at] = line.substr(0, space + 1) + number + line.substr(end) + "\n";
      what += " to '" + lines[at].substr(0, lines[at].size() - 1) + "'";
    }
  }
  std::string text = join(lines, "");
  const bool finished = random.below(2) == 0 && text.find(kSealDigest) != std::string::npos;
  if (finished) finish_seal(text);
  m.bytes.replace(seal_begin(a), std::string::npos, text);
  return "edit the seal: " + what + (finished ? ", finished anew" : "");
}

Seal sealed_anew(const std::string& bytes, std::vector<Range> ranges) {
  Seal seal{.file_bytes = static_cast<std::int64_t>(bytes.size()),
            .tensor_bytes = std::move(ranges)};
  std::string outside;
  for (const Range& gap : gaps_between(seal.tensor_bytes, seal.file_bytes))
    outside.append(bytes, static_cast<std::size_t>(gap.begin),
                   static_cast<std::size_t>(gap.size()));
  seal.digest = XXH3_64bits(outside.data(), outside.size());
  return seal;
}

// A seal that is right in itself but leaves other bytes to the tensors; what HDF5 sees is whole.
std::string lie_about_tensors(Mutant& m, const Original& a, const Original&, Random& random) {
  m.bytes.resize(seal_begin(a));
  auto ranges = a.seal.tensor_bytes;
  const std::size_t at = random.below(ranges.size());
  switch (random.below(4)) {
    case 0: ranges.erase(ranges.begin() + static_cast<std::ptrdiff_t>(at)); break;
    case 1: ranges[at].begin += 8; break;
    case 2: ranges[at].end -= 8; break;
    default: ranges = {{0, a.seal.file_bytes}};
  }
  m.bytes += to_text(sealed_anew(m.bytes, std::move(ranges)));
  return format("seal other ranges (range %zu)", at);
}

// As two saves that wrote over one another would leave it.
std::string mix(Mutant& m, const Original& a, const Original& b, Random& random) {
  const std::size_t size = std::min(m.bytes.size(), b.bytes.size());
  const std::size_t at = size == 0 ? 0 : some_place(a, size, random);
  switch (random.below(6)) {
    case 0: m.bytes = m.bytes.substr(0, at) + b.bytes.substr(at); break;
    case 1: m.bytes = b.bytes.substr(0, at) + m.bytes.substr(at); break;
    case 2: m.bytes += b.bytes; break;
    case 3: m.bytes = b.bytes + m.bytes; break;
    case 4: {  // one tensor range of the other, structure and seal of this one
      const Range r = a.seal.tensor_bytes[random.below(a.seal.tensor_bytes.size())];
      const auto begin = static_cast<std::size_t>(r.begin);
      const auto count = static_cast<std::size_t>(r.size());
      if (begin + count <= size) m.bytes.replace(begin, count, b.bytes, begin, count);
      break;
    }
    default: m.bytes = a.bytes.substr(0, seal_begin(a)) + b.bytes.substr(seal_begin(b));
  }
  return format("mix with another checkpoint at %zu", at);
}

std::string make_giant(Mutant& m, const Original& a, const Original&, Random& random) {
  m.hole_bytes = std::int64_t{1} << (20 + random.below(21));
  const std::size_t kind = random.below(3);
  m.hole_at = kind == 0 ? some_place(a, m.bytes.size(), random)
                        : (kind == 1 ? seal_begin(a) : m.bytes.size() - kLastLine);
  // A seal that claims part of the hole.
  if (kind == 2)
    m.bytes.replace(m.hole_at, kLastLine,
                    format("seal_bytes %012lld\n",
                           std::min(static_cast<long long>(m.hole_bytes), 999'999'999'999LL) /
                               (1LL << random.below(12))));
  return format("a hole of %lld bytes before byte %zu", static_cast<long long>(m.hole_bytes),
                m.hole_at);
}

// The last two stand alone: more damage under a seal that fits would be a forgery.
constexpr std::array<Change, 12> kChanges = {flip_bit,  set_bytes,   zero_page,  truncate,
                                             extend,    swap_blocks, copy_block, remove_block,
                                             edit_seal, mix,         make_giant, lie_about_tensors};
constexpr std::size_t kNumMixed = kChanges.size() - 2;

}  // namespace

Original read_original(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {.bytes = {std::istreambuf_iterator<char>(file), {}}, .seal = check_seal(path)};
}

Mutant make_mutant(const Original& a, const Original& b, std::uint64_t seed, std::uint64_t number) {
  Random random(seed, number);
  Mutant m{.what = {}, .bytes = a.bytes};
  const std::size_t first = number % kChanges.size();
  m.what = kChanges[first](m, a, b, random);
  // Some have more than one kind of damage.
  const std::size_t more = first < kNumMixed && random.below(8) == 0 ? 1 + random.below(3) : 0;
  for (std::size_t i = 0; i < more && !m.bytes.empty(); ++i)
    m.what += ", " + kChanges[random.below(kNumMixed)](m, a, b, random);
  return m;
}

Mutant make_forgery(const Original& a, std::uint64_t seed, std::uint64_t number) {
  constexpr std::array<Change, 5> kSmall = {flip_bit, set_bytes, zero_page, swap_blocks,
                                            copy_block};
  Random random(seed, number);
  // In the structure alone: damage to a tensor is found by its digest, forged seal or not.
  Original open = a;
  open.bytes.resize(seal_begin(a));
  Mutant m{.what = {}, .bytes = open.bytes};
  const std::size_t changes = 1 + random.below(3);
  for (std::size_t i = 0; i < changes; ++i)
    m.what += kSmall[(number + i) % kSmall.size()](m, open, open, random) + ", ";
  m.what += "sealed again";
  m.bytes.resize(open.bytes.size());
  for (const Range& range : a.seal.tensor_bytes)
    m.bytes.replace(static_cast<std::size_t>(range.begin), static_cast<std::size_t>(range.size()),
                    a.bytes, static_cast<std::size_t>(range.begin),
                    static_cast<std::size_t>(range.size()));
  m.bytes += to_text(sealed_anew(m.bytes, a.seal.tensor_bytes));
  return m;
}

void write_mutant(const std::string& path, const Mutant& mutant) {
  const std::string what = "cannot write '" + path + "'";
  const Descriptor file = open_file(path, O_RDWR | O_CREAT | O_TRUNC, what);
  const auto bytes = std::as_bytes(std::span(mutant.bytes));
  const std::size_t at = mutant.hole_bytes > 0 ? mutant.hole_at : bytes.size();
  set_size_of_file(file, static_cast<std::int64_t>(bytes.size()) + mutant.hole_bytes, what);
  write_at(file, 0, bytes.first(at), what);
  write_at(file, static_cast<std::int64_t>(at) + mutant.hole_bytes, bytes.subspan(at), what);
}

}  // namespace cuboid::mutants
