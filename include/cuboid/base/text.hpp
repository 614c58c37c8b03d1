// Small text helpers: number formats, aligned tables, nearest names for error messages.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace cuboid {

// printf into a std::string (g++ 12 has no std::format).
[[gnu::format(printf, 1, 2)]] std::string format(const char* pattern, ...);

// Now, in UTC: "2026-01-31T12:00:00Z".
std::string utc_now();

// 1234567 -> "1,234,567".
std::string grouped(std::int64_t value);
// 124439808 -> "124.4M": three to four significant digits with K, M, B, T.
std::string short_count(double value);
// Bytes with a binary unit: 1536 -> "1.5 KiB".
std::string short_bytes(double bytes);
// Seconds as "1 h 02 min", "3 min 05 s" or "4.2 s".
std::string short_duration(double seconds);
std::string join(std::span<const std::string> parts, std::string_view separator);

// The candidate with the smallest edit distance to `name`, or "" where none is near (distance over
// a third of its length).
std::string nearest_name(std::string_view name, std::span<const std::string> candidates);

// Rows of cells as left-aligned columns two spaces apart; cells that hold a number align right.
std::string table(const std::vector<std::vector<std::string>>& rows, std::string_view indent = "");

}  // namespace cuboid
