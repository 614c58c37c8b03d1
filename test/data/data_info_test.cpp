// ranks: 1
#include "cuboid/data/data_info.hpp"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include "cuboid/base/timer.hpp"
#include "files.hpp"

namespace cuboid {
namespace {

namespace fs = std::filesystem;
using testing::contains;
using testing::counting;
using testing::llm_c16;
using testing::llm_c32;
using testing::raw;
using testing::TemporaryFolder;
using testing::usage_error_of;
using testing::write_file;

class DataInfoTest : public ::testing::Test {
 protected:
  DataInfo inspect(const std::string& name = "data") {
    return inspect_data(folder_ / name, folder_ / "out");
  }
  std::string error_of(const std::string& name = "data") {
    return usage_error_of([&] { inspect(name); });
  }
  void write(const std::string& name, const std::string& bytes) {
    write_file(folder_ / name, bytes);
  }
  TemporaryFolder folder_;
};

TEST_F(DataInfoTest, SplitsAsNanoGptDoes) {
  // int(n * 0.9) in Python, in floating point.
  EXPECT_EQ(split_point(1115394), 1003854);
  EXPECT_EQ(split_point(10), 9);
  EXPECT_EQ(split_point(9), 8);
  EXPECT_EQ(split_point(1), 0);
  EXPECT_EQ(split_point(0), 0);
}

TEST_F(DataInfoTest, TextFileAndFolder) {
  write("data", std::string(1000, 'x'));
  auto info = inspect();
  EXPECT_EQ(info.kind, DataKind::kText);
  EXPECT_EQ(info.train_tokens, 900);
  EXPECT_EQ(info.validation_tokens, 100);
  EXPECT_EQ(info.vocab_size, 256);
  EXPECT_EQ(describe(info), "text, 1 file, 900 training and 100 validation tokens");

  write("folder/a.txt", std::string(499, 'x'));  // and the newline between
  write("folder/sub/b.txt", std::string(500, 'x'));
  info = inspect("folder");
  EXPECT_EQ(info.num_files, 2);
  EXPECT_EQ(info.train_tokens + info.validation_tokens, 1000);
}

TEST_F(DataInfoTest, NanoGptFolder) {
  write("data/train.bin", raw(counting<std::uint16_t>(700)));
  auto info = inspect();
  EXPECT_EQ(info.kind, DataKind::kTokens);
  EXPECT_EQ(info.train_tokens, 630);
  EXPECT_EQ(info.validation_tokens, 70);
  write("data/val.bin", raw(counting<std::uint16_t>(50)));
  write("data/meta.pkl", std::string("\x80\x04", 2));
  info = inspect();
  EXPECT_EQ(info.train_tokens, 700);
  EXPECT_EQ(info.validation_tokens, 50);
  EXPECT_EQ(info.vocab_size, 50257);
  EXPECT_EQ(describe(info),
            "nanoGPT tokens (uint16), 2 files, 700 training and 50 validation tokens");
}

TEST_F(DataInfoTest, LlmCShardsByFolderAndPattern) {
  write("data/fineweb_train_000002.bin", llm_c32(counting<std::uint32_t>(20)));
  write("data/fineweb_train_000001.bin", llm_c32(counting<std::uint32_t>(10)));
  write("data/fineweb_val_000000.bin", llm_c32(counting<std::uint32_t>(5)));
  auto info = inspect();
  ASSERT_EQ(info.train_files.size(), 2U);
  EXPECT_EQ(info.train_files[0].path, folder_ / "data/fineweb_train_000001.bin");
  EXPECT_EQ(info.train_tokens, 30);
  EXPECT_EQ(info.validation_tokens, 5);
  EXPECT_EQ(info.vocab_size, 128256);
  info = inspect("data/fineweb_*_00000[02].bin");
  EXPECT_EQ(info.train_tokens, 20);
  EXPECT_EQ(info.validation_tokens, 5);
  info = inspect("data/fineweb_train_*");
  EXPECT_EQ(info.train_tokens, 27);
  EXPECT_EQ(info.validation_tokens, 3);
}

TEST_F(DataInfoTest, FollowsLinksToTokenFiles) {
  write("elsewhere.bin", raw(counting<std::uint16_t>(100)));
  fs::create_directories(folder_ / "data");
  fs::create_symlink(folder_ / "elsewhere.bin", folder_ / "data/train.bin");
  EXPECT_EQ(inspect().train_tokens, 90);
}

TEST_F(DataInfoTest, RefusesBadPaths) {
  const auto missing = error_of("none");
  EXPECT_TRUE(contains(missing, "--data-dir " + (folder_ / "none") + ": No such file")) << missing;
  EXPECT_TRUE(contains(missing, "; legal are a text file")) << missing;
  EXPECT_TRUE(contains(error_of("none_*.bin"), "No such file"));
  EXPECT_TRUE(contains(usage_error_of([&] { inspect_data("", ""); }), "No such file"));
  ASSERT_EQ(::mkfifo((folder_ / "fifo").c_str(), 0600), 0);
  EXPECT_TRUE(contains(error_of("fifo"), "neither a regular file nor a folder"));
  fs::create_directories(folder_ / "data");
  EXPECT_TRUE(contains(error_of(), "holds no text and no token files"));
  write("empty", "");
  EXPECT_TRUE(contains(error_of("empty"), "is empty"));
  write("binary", std::string(20, '\0'));
  EXPECT_TRUE(contains(error_of("binary"), "is not text"));
}

TEST_F(DataInfoTest, ListsEveryProblemOfAFolder) {
  write("data/a.bin", raw(counting<std::uint16_t>(100)));
  write("data/b.bin", "odd");
  write("data/c.bin", llm_c16(counting<std::uint16_t>(100)));
  write("data/d.bin", "");
  const auto error = error_of();
  EXPECT_TRUE(contains(error, "b.bin: has an odd size")) << error;
  EXPECT_TRUE(contains(error, "c.bin: holds llm.c tokens (uint16), but")) << error;
  EXPECT_TRUE(contains(error, "d.bin: is empty")) << error;
  write("only/a_val.bin", raw(counting<std::uint16_t>(100)));
  write("only/b_val.bin", raw(counting<std::uint16_t>(100)));
  EXPECT_TRUE(contains(error_of("only"), "every token file has \"val\" in its name"));
}

TEST_F(DataInfoTest, TooShortForOneSample) {
  write("data", std::string(1000, 'x'));  // 900 + 100
  const auto info = inspect();
  const auto check = [&](std::int64_t length, bool validation) {
    return check_data(info, {length, 256, validation});
  };
  EXPECT_TRUE(check(99, true).empty());
  ASSERT_EQ(check(100, true).size(), 1U);
  EXPECT_TRUE(contains(check(100, true)[0],
                       "100 validation tokens (the last tenth), fewer than "
                       "--seq-length + 1 = 101"));
  EXPECT_TRUE(check(899, false).empty());
  ASSERT_EQ(check(900, false).size(), 1U);
  EXPECT_TRUE(contains(check(900, false)[0], "900 training tokens, fewer than"));
  EXPECT_EQ(check(900, true).size(), 2U);
}

TEST_F(DataInfoTest, VocabularyTooSmall) {
  write("text", std::string(1000, 'x'));
  const auto text = check_data(inspect("text"), {8, 255, true});
  ASSERT_EQ(text.size(), 1U);
  EXPECT_TRUE(contains(text[0], "--vocab-size 255: is too small for text")) << text[0];

  auto ids = counting<std::uint16_t>(500);
  write("data/train_0.bin", llm_c16(ids));
  ids[321] = 60000;
  write("data/train_1.bin", llm_c16(ids));
  write("data/val.bin", llm_c16(ids));
  const auto problems = check_data(inspect(), {8, 50257, true});
  ASSERT_EQ(problems.size(), 2U);
  EXPECT_EQ(problems[0], folder_ /
                             "data/train_1.bin: token id 60000 at position 321 (byte 1666) "
                             "is beyond the vocabulary; ids must be below --vocab-size "
                             "50257");
  EXPECT_TRUE(contains(problems[1], "val.bin"));
  EXPECT_TRUE(check_data(inspect(), {8, 60001, true}).empty());
}

// Bad input must be reported within two seconds, so looking at good input must be quick.
TEST_F(DataInfoTest, LooksAtThousandsOfFilesQuickly) {
  for (int i = 0; i < 3000; ++i)
    write("data/" + std::to_string(i % 50) + "/" + std::to_string(i), "some text\n");
  const Timer timer;
  EXPECT_EQ(inspect().num_files, 3000);
  EXPECT_LT(timer.seconds(), 1.0);
}

}  // namespace
}  // namespace cuboid
