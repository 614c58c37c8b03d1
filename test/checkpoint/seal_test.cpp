// ranks: 1
#include "cuboid/checkpoint/seal.hpp"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "cuboid/base/error.hpp"

namespace cuboid {
namespace {

const Seal kSeal{.file_bytes = 9000, .digest = 0x12AB, .tensor_bytes = {{100, 200}, {300, 9000}}};

TEST(Seal, TextAndBack) {
  EXPECT_EQ(parse_seal(to_text(kSeal)), kSeal);
  const Seal bare{.file_bytes = 7, .digest = 1, .tensor_bytes = {}};
  EXPECT_EQ(parse_seal(to_text(bare)), bare);
}

TEST(Seal, EveryChangedByteIsRefused) {
  const std::string good = to_text(kSeal);
  for (std::size_t i = 0; i < good.size(); ++i) {
    for (const char change : {1, 2, 8, 64}) {
      std::string bad = good;
      bad[i] = static_cast<char>(bad[i] ^ change);
      EXPECT_THROW(parse_seal(bad), UsageError) << i << ": " << bad;
    }
    EXPECT_THROW(parse_seal(good.substr(0, i)), UsageError);
    EXPECT_THROW(parse_seal(good.substr(i + 1)), UsageError);
  }
  EXPECT_THROW(parse_seal(good + "\n"), UsageError);
}

TEST(Seal, ANewerVersionIsNamed) {
  Seal newer = kSeal;
  newer.version = kFormatVersion + 1;
  try {
    parse_seal(to_text(newer));
    FAIL() << "a newer seal was read";
  } catch (const UsageError& error) {
    EXPECT_NE(std::string(error.what()).find("newer Cuboid: format version 2"), std::string::npos);
  }
}

TEST(Seal, RangesThatMakeNoSenseAreRefused) {
  for (const std::vector<Range>& ranges :
       {std::vector<Range>{{200, 100}}, {{100, 300}, {200, 400}}, {{100, 9001}}, {{-5, 5}}}) {
    Seal seal = kSeal;
    seal.tensor_bytes = ranges;
    EXPECT_THROW(parse_seal(to_text(seal)), UsageError);
  }
}

// What the last line claims is not believed: not less than nothing, not the memory of the machine.
TEST(Seal, ALengthThatMakesNoSenseIsRefused) {
  const std::string path = std::filesystem::temp_directory_path() / "cuboid-seal-test.h5";
  for (const char* bytes : {"-00000000001", "000000000000", "000000000001", "000999999999"}) {
    std::ofstream(path, std::ios::binary) << "\x89HDF\r\n\x1A\n" << to_text(kSeal);
    // A hole, so that the file is as long as the line claims.
    std::filesystem::resize_file(path, std::uintmax_t{1} << 30);
    std::ofstream(path, std::ios::binary | std::ios::app) << "seal_bytes " << bytes << "\n";
    EXPECT_THROW(check_seal(path), UsageError) << bytes;
  }
  std::filesystem::remove(path);
}

TEST(Seal, TouchingRangesAreJoined) {
  EXPECT_EQ(joined({{30, 40}, {10, 20}, {20, 30}, {50, 50}, {60, 70}}),
            (std::vector<Range>{{10, 40}, {60, 70}}));
}

}  // namespace
}  // namespace cuboid
