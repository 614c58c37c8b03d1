// ranks: 1
#include "cuboid/data/token_file.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <numeric>

#include "cuboid/data/token_sequence.hpp"
#include "files.hpp"

namespace cuboid {
namespace {

using testing::contains;
using testing::counting;
using testing::llm_c16;
using testing::llm_c32;
using testing::llm_c_header;
using testing::raw;
using testing::TemporaryFolder;
using testing::usage_error_of;
using testing::write_file;

class TokenFileTest : public ::testing::Test {
 protected:
  // The error of opening a file of these bytes.
  std::string error_of(const std::string& bytes, const std::string& name = "train.bin") {
    const auto path = write_file(folder_ / name, bytes);
    const auto error = usage_error_of([&] { TokenFile{path}; });
    EXPECT_TRUE(error == "(no error)" || contains(error, path)) << error;
    return error;
  }
  TemporaryFolder folder_;
};

TEST_F(TokenFileTest, ReadsEveryFormat) {
  const std::vector<std::int64_t> expected{5, 6, 7};
  const auto check = [&](const std::string& bytes, TokenFormat format) {
    const TokenFile file(write_file(folder_ / "x.bin", bytes));
    EXPECT_EQ(file.format(), format);
    ASSERT_EQ(file.num_tokens(), 300);
    std::vector<std::int64_t> out(3);
    file.read(4, out, 50257);
    EXPECT_EQ(out, expected);
    file.read(297, out, 50257);
    EXPECT_EQ(out.back(), 300);
  };
  check(raw(counting<std::uint16_t>(300)), TokenFormat::kNanoGpt);
  check(llm_c16(counting<std::uint16_t>(300)), TokenFormat::kLlmC16);
  check(llm_c32(counting<std::uint32_t>(300)), TokenFormat::kLlmC32);
}

TEST_F(TokenFileTest, RefusesMissingEmptyOddAndCutOff) {
  EXPECT_TRUE(contains(usage_error_of([&] { TokenFile{folder_ / "none.bin"}; }), "No such file"));
  EXPECT_TRUE(contains(error_of(""), "is empty"));
  EXPECT_TRUE(contains(error_of("abc"), "odd size, 3 bytes"));
  EXPECT_TRUE(contains(error_of(llm_c16({}).substr(0, 500)), "cut off"));
  EXPECT_TRUE(contains(error_of(llm_c16({})), "0 tokens"));
}

TEST_F(TokenFileTest, RefusesWrongHeaders) {
  const auto ids = raw(counting<std::uint16_t>(100));
  EXPECT_TRUE(contains(error_of(llm_c_header(20240521, 1, 100) + ids), "wrong magic 20240521"));
  EXPECT_TRUE(contains(error_of(llm_c_header(12345, 1, 100) + ids), "wrong magic 12345"));
  EXPECT_TRUE(contains(error_of(llm_c_header(20240520, 2, 100) + ids), "version 2"));
  EXPECT_TRUE(contains(error_of(llm_c_header(20240801, 1, 50) + ids), "only version 7"));
  EXPECT_TRUE(contains(error_of(llm_c_header(20240520, 1, 99) + ids), "99 tokens"));
  EXPECT_TRUE(contains(error_of(llm_c_header(20240520, 1, 101) + ids), "need 1,226"));
  EXPECT_TRUE(contains(error_of(llm_c_header(20240520, 1, -100) + ids), "-100 tokens"));
  EXPECT_TRUE(contains(error_of(llm_c_header(20240520, 1, 100) + ids + "x"), "1,225 bytes"));
}

TEST_F(TokenFileTest, RefusesOtherKindsOfFiles) {
  const std::string rest(2000, '\7');
  EXPECT_TRUE(contains(error_of("\x89HDF\r\n\x1a\n" + rest), "an HDF5 file"));
  EXPECT_TRUE(contains(error_of("\x93NUMPY" + rest), "a NumPy array"));
  EXPECT_TRUE(contains(error_of("PK\x03\x04" + rest), "zip archive"));
  EXPECT_TRUE(contains(error_of(llm_c_header(20240326, 3, 1024)), "an llm.c model"));
  EXPECT_TRUE(contains(error_of(llm_c_header(20240522, 1, 10)), "an llm.c evaluation file"));
  EXPECT_TRUE(contains(error_of(raw(counting<std::uint32_t>(500))), "32-bit ids"));
  write_file(folder_ / "text_document.idx", "MMIDIDX");
  EXPECT_TRUE(contains(error_of(raw(counting<std::uint16_t>(500)), "text_document.bin"),
                       "Megatron-LM data set"));
}

// Ids that merely resemble one of those must be read.
TEST_F(TokenFileTest, AcceptsUnusualIds) {
  EXPECT_EQ(error_of(raw(std::vector<std::uint16_t>(1000, 0))), "(no error)");
  EXPECT_EQ(error_of(raw(std::vector<std::uint16_t>(1000, 50256))), "(no error)");
  EXPECT_EQ(error_of(raw(std::vector<std::uint16_t>{7, 0, 7, 0})), "(no error)");
  EXPECT_EQ(error_of(raw(std::vector<std::uint16_t>{1})), "(no error)");
}

TEST_F(TokenFileTest, RefusesWhatIsNoRegularFile) {
  EXPECT_TRUE(contains(usage_error_of([&] { TokenFile{folder_.path()}; }), "not a regular file"));
  const std::string fifo = folder_ / "fifo.bin";
  ASSERT_EQ(::mkfifo(fifo.c_str(), 0600), 0);
  EXPECT_TRUE(contains(usage_error_of([&] { TokenFile{fifo}; }), "not a regular file"));
  EXPECT_TRUE(contains(usage_error_of([&] { TokenFile{"/dev/zero"}; }), "not a regular file"));
}

TEST_F(TokenFileTest, RefusesUnreadable) {
  const auto path = write_file(folder_ / "secret.bin", "abcd");
  ASSERT_EQ(::chmod(folder_.path().c_str(), 0755), 0);
  ASSERT_EQ(::chmod(path.c_str(), 0), 0);
  const testing::WithoutRoot user;
  EXPECT_TRUE(contains(usage_error_of([&] { TokenFile{path}; }), "Permission denied"));
}

TEST_F(TokenFileTest, FindsEveryBadId) {
  for (const std::size_t bad : {0, 1, 4095, 4096, 9999}) {
    auto ids = counting<std::uint16_t>(10000);
    ids[bad] = 50257;
    const TokenFile file(write_file(folder_ / "x.bin", llm_c16(ids)));
    EXPECT_EQ(file.find_bad_id(0, 10000, 50257), static_cast<std::int64_t>(bad));
    EXPECT_EQ(file.find_bad_id(0, 10000, 50258), std::nullopt);
    EXPECT_EQ(file.find_bad_id(0, static_cast<std::int64_t>(bad), 50257), std::nullopt);
    std::vector<std::int64_t> out(10000);
    const auto error = usage_error_of([&] { file.read(0, out, 50257); });
    EXPECT_TRUE(contains(error, "token id 50257 at position " + std::to_string(bad) + " (byte " +
                                    std::to_string(1024 + 2 * bad) + ")"))
        << error;
    EXPECT_NO_THROW(file.read(0, out, 50258));
  }
}

// uint32 ids above the range of int32 must not pass as negative numbers.
TEST_F(TokenFileTest, FindsHugeIds) {
  auto ids = counting<std::uint32_t>(100);
  ids[50] = 0xFFFFFFFFU;
  const TokenFile file(write_file(folder_ / "x.bin", llm_c32(ids)));
  EXPECT_EQ(file.find_bad_id(0, 100, 128256), 50);
}

TEST_F(TokenFileTest, NoticesThatTheFileShrank) {
  const auto path = write_file(folder_ / "x.bin", raw(counting<std::uint16_t>(5000)));
  const TokenFile file(path);
  std::vector<std::int64_t> out(10);
  file.read(4990, out, 50257);
  std::filesystem::resize_file(path, 100);
  EXPECT_THROW(file.read(4990, out, 50257), SystemError);
}

TEST_F(TokenFileTest, RefusesReadsOutsideTheFile) {
  const TokenFile file(write_file(folder_ / "x.bin", raw(counting<std::uint16_t>(10))));
  std::vector<std::int64_t> out(11);
  EXPECT_THROW(file.read(0, out, 50257), std::logic_error);
  out.resize(2);
  EXPECT_THROW(file.read(-1, out, 50257), std::logic_error);
  EXPECT_THROW(file.read(9, out, 50257), std::logic_error);
}

TEST_F(TokenFileTest, SequenceJoinsShardsOfAllSizes) {
  std::vector<TokenFile> files;
  std::size_t total = 0;
  for (const std::size_t size : {3, 1, 7, 1, 1, 20})
    files.emplace_back(write_file(folder_ / (std::to_string(files.size()) + ".bin"),
                                  llm_c16(counting<std::uint16_t>(size, total)))),
        total += size;
  const TokenSequence sequence(std::move(files), 50257);
  ASSERT_EQ(sequence.size(), static_cast<std::int64_t>(total));
  for (std::size_t begin = 0; begin <= total; ++begin) {
    for (std::size_t count = 0; begin + count <= total; ++count) {
      std::vector<std::int64_t> out(count), expected(count);
      std::iota(expected.begin(), expected.end(), static_cast<std::int64_t>(begin + 1));
      sequence.read(static_cast<std::int64_t>(begin), out);
      ASSERT_EQ(out, expected) << begin << " " << count;
    }
  }
  std::vector<std::int64_t> one(1);
  EXPECT_THROW(sequence.read(sequence.size(), one), std::logic_error);
}

}  // namespace
}  // namespace cuboid
