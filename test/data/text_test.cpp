// ranks: 1
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cstdlib>

#include "cuboid/data/progress_bar.hpp"
#include "cuboid/data/text_cache.hpp"
#include "cuboid/data/text_folder.hpp"
#include "cuboid/data/token_file.hpp"
#include "files.hpp"

namespace cuboid {
namespace {

namespace fs = std::filesystem;
using testing::contains;
using testing::read_file;
using testing::TemporaryFolder;
using testing::usage_error_of;
using testing::write_file;

std::string packed(const TextCache& cache) {
  const TokenFile file(cache.path);
  const auto bytes = file.payload();
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

class TextTest : public ::testing::Test {
 protected:
  TextListing list() { return list_text_folder(folder_ / "text", folder_ / "out"); }
  void write(const std::string& name, const std::string& bytes) {
    write_file(folder_ / ("text/" + name), bytes);
  }
  std::string out() { return folder_ / "out"; }
  TemporaryFolder folder_;
};

TEST_F(TextTest, JoinsFilesInTheOrderOfTheirPaths) {
  write("b.txt", "bee\n");
  write("a/z.txt", "zed");  // no newline: one is put in
  write("a/deep/er/y", "why\n");
  write("c", "last");  // nothing after the last file
  const auto listing = list();
  EXPECT_EQ(listing.num_tokens(), 4 + 4 + 4 + 4);
  EXPECT_EQ(packed(prepare_text_cache(listing, out())), "why\nzed\nbee\nlast");
}

TEST_F(TextTest, LeavesOutWhatIsNoText) {
  write("good.txt", "gr\xC3\xBC\xC3\x9F\tdich\r\n");
  write("latin1.txt", "gr\xFC\xDF dich\n");
  write("nul.dat", std::string("a\0b", 3));
  write("control.dat", "\1\2\3\4\5\6\7");
  write("empty.txt", "");
  write(".hidden", "no");
  write(".git/config", "no");
  write_file(folder_ / "elsewhere.txt", "no");
  fs::create_symlink(folder_ / "elsewhere.txt", folder_ / "text/link.txt");
  fs::create_directory_symlink(folder_.path(), folder_ / "text/loop");
  ASSERT_EQ(::mkfifo((folder_ / "text/fifo").c_str(), 0600), 0);
  const auto listing = list();
  EXPECT_EQ(listing.skipped_binary, 2);
  ASSERT_EQ(listing.files.size(), 2U);
  EXPECT_EQ(listing.files[0].relative, "good.txt");
  EXPECT_EQ(listing.files[1].relative, "latin1.txt");
}

TEST_F(TextTest, LeavesOutTheOutputFolder) {
  write("a.txt", "text\n");
  write("out/metrics.jsonl", "{}\n");
  EXPECT_EQ(list_text_folder(folder_ / "text", folder_ / "text/out").files.size(), 1U);
  EXPECT_EQ(list_text_folder(folder_ / "text", folder_ / "text/./out/").files.size(), 1U);
  EXPECT_EQ(list_text_folder(folder_ / "text", "").files.size(), 2U);
  EXPECT_TRUE(
      contains(usage_error_of([&] { list_text_folder(folder_ / "text", folder_ / "text"); }),
               "output folder too"));
}

TEST_F(TextTest, RefusesFoldersWithoutText) {
  fs::create_directories(folder_ / "text/sub");
  EXPECT_TRUE(contains(usage_error_of([&] { list(); }), "holds no text and no token files"));
  write("sub/x.dat", std::string(10, '\0'));
  EXPECT_TRUE(contains(usage_error_of([&] { list(); }), "1 binary files skipped"));
}

TEST_F(TextTest, NamesEveryUnreadableFileAndFolder) {
  write("a.txt", "text\n");
  write("b.txt", "text\n");
  write("c/d.txt", "text\n");
  ASSERT_EQ(::chmod(folder_.path().c_str(), 0755), 0);
  ASSERT_EQ(::chmod((folder_ / "text/b.txt").c_str(), 0), 0);
  ASSERT_EQ(::chmod((folder_ / "text/c").c_str(), 0), 0);
  std::string error;
  {
    const testing::WithoutRoot user;
    error = usage_error_of([&] { list(); });
  }
  ASSERT_EQ(::chmod((folder_ / "text/c").c_str(), 0755), 0);
  EXPECT_TRUE(contains(error, "b.txt: cannot be read: Permission denied")) << error;
  EXPECT_TRUE(contains(error, "text/c: cannot be read: Permission denied")) << error;
  EXPECT_FALSE(contains(error, "a.txt")) << error;
}

TEST_F(TextTest, SingleFileIsExactlyItsBytes) {
  const auto path = write_file(folder_ / "x.txt", "no newline at the end");
  EXPECT_EQ(packed(prepare_text_cache(list_text_file(path), out())), "no newline at the end");
  EXPECT_TRUE(contains(
      usage_error_of([&] { list_text_file(write_file(folder_ / "y", std::string("\0\0", 2))); }),
      "is not text"));
}

TEST_F(TextTest, BinaryByTheFirstEightKibibytes) {
  std::string text(8192, 'x');
  text += '\0';
  write("late.txt", text);
  EXPECT_EQ(list().files.size(), 1U);
  text[8191] = '\0';
  write("late.txt", text);
  EXPECT_TRUE(contains(usage_error_of([&] { list(); }), "holds no text"));
}

TEST_F(TextTest, CacheIsReusedUntilASourceChanges) {
  write("a.txt", "one\n");
  const auto first = prepare_text_cache(list(), out());
  EXPECT_FALSE(first.reused);
  const auto second = prepare_text_cache(list(), out());
  EXPECT_TRUE(second.reused);
  EXPECT_EQ(first.path, second.path);

  write("b.txt", "two\n");
  const auto third = prepare_text_cache(list(), out());
  EXPECT_FALSE(third.reused);
  EXPECT_NE(third.path, first.path);
  EXPECT_EQ(packed(third), "one\ntwo\n");

  fs::last_write_time(folder_ / "text/a.txt",
                      fs::file_time_type::clock::now() - std::chrono::hours(1));
  EXPECT_FALSE(prepare_text_cache(list(), out()).reused);
}

TEST_F(TextTest, DamagedCacheIsPackedAgain) {
  write("a.txt", std::string(5000, 'a') + "\n");
  const auto path = prepare_text_cache(list(), out()).path;
  const std::string whole = read_file(path);
  const auto expect_repacked = [&](const std::string& damaged, const char* what) {
    write_file(path, damaged);
    EXPECT_FALSE(prepare_text_cache(list(), out()).reused) << what;
    EXPECT_EQ(read_file(path), whole) << what;
  };
  // One bit anywhere: in every byte of the header, and in the payload.
  for (std::size_t at = 0; at < whole.size(); at += (at < 64 ? 1 : 997)) {
    std::string damaged = whole;
    damaged[at] = static_cast<char>(damaged[at] ^ 4);
    expect_repacked(damaged, ("bit flip at " + std::to_string(at)).c_str());
  }
  for (const std::size_t size : {std::size_t{0}, std::size_t{7}, std::size_t{64}, whole.size() - 1})
    expect_repacked(whole.substr(0, size), ("cut to " + std::to_string(size)).c_str());
  expect_repacked(whole + "x", "a byte more");
  expect_repacked(std::string(100, 'x'), "another file");
}

// As a token file that the user names, packed text must be whole in its header and size.
TEST_F(TextTest, PackedTextThatIsCutIsRefused) {
  write("a.txt", std::string(100, 'a'));
  const std::string whole = read_file(prepare_text_cache(list(), out()).path);
  EXPECT_EQ(TokenFile(write_file(folder_ / "x.bin", whole)).num_tokens(), 100);
  for (const auto& damaged : {whole.substr(0, whole.size() - 1), whole + "x"}) {
    const auto path = write_file(folder_ / "x.bin", damaged);
    EXPECT_TRUE(contains(usage_error_of([&] { TokenFile{path}; }), "header is damaged"));
  }
}

TEST_F(TextTest, CacheLeavesNothingElseBehind) {
  write("a.txt", "text\n");
  prepare_text_cache(list(), out());
  const auto listing = list();
  write("a.txt", "longer text\n");
  write("b.txt", "text\n");
  auto stale = list();
  write("b.txt", "changed since then\n");
  EXPECT_TRUE(contains(usage_error_of([&] { prepare_text_cache(stale, out()); }),
                       "changed while it was packed"));
  EXPECT_EQ(std::distance(fs::directory_iterator(out() + "/data-cache"), {}), 1);
}

TEST_F(TextTest, UnwritableOutputIsAUsersError) {
  write("a.txt", "text\n");
  write_file(out(), "a file where the folder should be");
  EXPECT_TRUE(contains(usage_error_of([&] { prepare_text_cache(list(), out()); }),
                       "--output-dir, which must be writable"));
  fs::remove(out());
  fs::create_directories(out() + "/data-cache");
  ASSERT_EQ(::chmod(folder_.path().c_str(), 0755), 0);
  ASSERT_EQ(::chmod((out() + "/data-cache").c_str(), 0555), 0);
  const testing::WithoutRoot user;
  EXPECT_TRUE(contains(usage_error_of([&] { prepare_text_cache(list(), out()); }),
                       "--output-dir, which must be writable"));
}

// What a bar writes to a terminal, or to a pipe.
std::string shown(int reader, int writer, double delay_seconds) {
  {
    ProgressBar bar("Packing", 1000, writer, delay_seconds);
    bar.add(500);
  }
  const ssize_t marked = ::write(writer, "!", 1);
  EXPECT_EQ(marked, 1);
  std::string text;
  std::array<char, 256> buffer{};
  while (text.empty() || text.back() != '!') {
    const ssize_t got = ::read(reader, buffer.data(), buffer.size());
    if (got <= 0) break;
    text.append(buffer.data(), static_cast<std::size_t>(got));
  }
  return text;
}

TEST(ProgressBarTest, OnlyOnATerminalAndOnlyWhenItTakesLong) {
  const FileDescriptor master(::posix_openpt(O_RDWR | O_NOCTTY));
  ASSERT_TRUE(master && ::grantpt(master.get()) == 0 && ::unlockpt(master.get()) == 0);
  const FileDescriptor terminal(::open(::ptsname(master.get()), O_RDWR | O_NOCTTY));
  ASSERT_TRUE(terminal);
  EXPECT_TRUE(contains(shown(master.get(), terminal.get(), 0), "Packing [############ "));
  EXPECT_TRUE(contains(shown(master.get(), terminal.get(), 0), "50 %"));
  EXPECT_EQ(shown(master.get(), terminal.get(), 1), "!");
  std::array<int, 2> ends{};
  ASSERT_EQ(::pipe(ends.data()), 0);
  const FileDescriptor reader(ends[0]), writer(ends[1]);
  EXPECT_EQ(shown(reader.get(), writer.get(), 0), "!");
}

}  // namespace
}  // namespace cuboid
