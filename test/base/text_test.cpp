// ranks: 1
#include "cuboid/base/text.hpp"

#include <gtest/gtest.h>

#include <ctime>

#include <array>

namespace cuboid {
namespace {

TEST(Text, Numbers) {
  EXPECT_EQ(grouped(0), "0");
  EXPECT_EQ(grouped(999), "999");
  EXPECT_EQ(grouped(1000), "1,000");
  EXPECT_EQ(grouped(-1234567), "-1,234,567");
  EXPECT_EQ(short_count(999), "999");
  EXPECT_EQ(short_count(124439808), "124.4M");
  EXPECT_EQ(short_count(999960), "1.0M");
  EXPECT_EQ(short_bytes(1536), "1.5 KiB");
  EXPECT_EQ(short_bytes(0), "0 B");
  EXPECT_EQ(short_duration(4.23), "4.2 s");
  EXPECT_EQ(short_duration(65), "1 min 05 s");
  EXPECT_EQ(short_duration(3720), "1 h 02 min");
}

TEST(Text, NearestName) {
  const std::array<std::string, 3> names = {"hidden-size", "num-layers", "seq-length"};
  EXPECT_EQ(nearest_name("hiden-size", names), "hidden-size");
  EXPECT_EQ(nearest_name("sequence-length", names), "seq-length");
  EXPECT_EQ(nearest_name("zzz", names), "");
  EXPECT_EQ(nearest_name("x", {}), "");
}

TEST(Text, TableAlignsNumbersToTheRight) {
  EXPECT_EQ(table({{"a", "name", "1"}, {"bb", "n", "100"}}, "  "),
            "  a   name    1\n"
            "  bb  n     100\n");
  EXPECT_EQ(table({}), "");
}

TEST(Text, TheTimeIsThatOfTheClock) {
  std::tm parts{};
  const std::string text = utc_now();
  ASSERT_NE(::strptime(text.c_str(), "%Y-%m-%dT%H:%M:%SZ", &parts), nullptr) << text;
  EXPECT_NEAR(std::difftime(std::time(nullptr), ::timegm(&parts)), 0.0, 60.0);
}

TEST(Text, FormatTakesAnyLength) {
  EXPECT_EQ(format("%s", std::string(5000, 'x').c_str()), std::string(5000, 'x'));
}

}  // namespace
}  // namespace cuboid
