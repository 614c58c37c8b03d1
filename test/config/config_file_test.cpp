// ranks: 1
#include "cuboid/config/config_file.hpp"

#include <gtest/gtest.h>

namespace cuboid {
namespace {

TEST(ConfigFile, ReadsKeysValuesAndComments) {
  const auto lines = parse_config_text(
      "\xef\xbb\xbf# first\r\n"
      "  a = 1 # one\r\n"
      "\n"
      "b=2#2\n"
      "c = \"x # y\"  # quoted\n"
      "d = \" \\\" \\\\ \\n\"\n"
      "e =\n"
      "f = a=b");
  ASSERT_EQ(lines.size(), 6U);
  EXPECT_EQ(lines[0].number, 2);
  EXPECT_EQ(lines[0].key, "a");
  EXPECT_EQ(lines[0].value, "1");
  EXPECT_EQ(lines[1].number, 4);
  EXPECT_EQ(lines[1].value, "2#2");
  EXPECT_EQ(lines[2].value, "x # y");
  EXPECT_EQ(lines[3].value, " \" \\ \\n");
  EXPECT_EQ(lines[4].value, "");
  EXPECT_EQ(lines[5].value, "a=b");
  EXPECT_EQ(lines[5].number, 8);
}

TEST(ConfigFile, TellsWhichLinesAreWrong) {
  for (const char* text : {"alone", "= 3", "[model]", "a = \"open", "a = \"b\" c", "a = \"b\\\""}) {
    const auto lines = parse_config_text(text);
    ASSERT_EQ(lines.size(), 1U) << text;
    EXPECT_FALSE(lines[0].problem.empty()) << text;
    EXPECT_TRUE(lines[0].key.empty()) << text;
  }
}

TEST(ConfigFile, WrittenLinesReadBack) {
  for (const std::string value :
       {"1", "a b", " a", "b ", "#", "a#b", "a #b", "\"", "\\", "a\\\"b", "", "=", "\ttab"}) {
    const auto lines = parse_config_text(config_line("key", value));
    ASSERT_EQ(lines.size(), 1U) << value;
    EXPECT_EQ(lines[0].problem, "") << value;
    EXPECT_EQ(lines[0].key, "key");
    EXPECT_EQ(lines[0].value, value);
  }
}

}  // namespace
}  // namespace cuboid
