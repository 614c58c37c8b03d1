// The seal: a few lines of text behind the HDF5 data, written last. It says that the file is
// complete and guards every byte that no tensor's digest guards, so that damage anywhere is found,
// and found before HDF5 parses what was damaged.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cuboid/grid/shape.hpp"

namespace cuboid {

// The layout's version, in the seal and as attribute `format_version`. A program reads files of
// its own and of earlier versions.
constexpr std::int64_t kFormatVersion = 1;

struct Seal {
  std::int64_t version = kFormatVersion;
  std::int64_t file_bytes = 0;      // of what the seal follows
  std::uint64_t digest = 0;         // XXH3-64 of those bytes that lie in no range of tensors
  std::vector<Range> tensor_bytes;  // ascending, apart
  bool operator==(const Seal&) const = default;
};

// Sorts byte ranges and joins those that touch; empty ones go.
std::vector<Range> joined(std::vector<Range> ranges);

// What of [0, size) lies in none of the ranges (ascending, apart).
std::vector<Range> gaps_between(const std::vector<Range>& ranges, std::int64_t size);

// The text of a seal, and back. parse_seal throws DamagedCheckpoint where it is not a seal's
// text, whole and undamaged, UsageError where it is a newer version's.
std::string to_text(const Seal& seal);
Seal parse_seal(const std::string& text);

// Seals the finished file: computes the digest over all bytes outside the ranges, appends the seal
// and syncs. Throws SystemError naming `what`.
void append_seal(const std::string& path, std::vector<Range> tensor_bytes, const std::string& what);

// Throws, naming the file, DamagedCheckpoint where it is damaged outside its tensors, cut short or
// was never completed; UsageError where it is missing, not HDF5, another program's or a newer
// Cuboid's. (A file cut to next to nothing is not known as a checkpoint any more.)
Seal check_seal(const std::string& path);

}  // namespace cuboid
