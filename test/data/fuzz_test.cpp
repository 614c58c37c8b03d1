// ranks: 1
// Mutated and truncated files: each is either refused with UsageError or read within its bounds.
// Run it with MODE=sanitize to see what a plain run may miss.
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>

#include "cuboid/base/philox.hpp"
#include "cuboid/data/data_info.hpp"
#include "cuboid/data/text_cache.hpp"
#include "cuboid/data/token_sequence.hpp"
#include "files.hpp"

namespace cuboid {
namespace {

using testing::counting;
using testing::llm_c16;
using testing::llm_c32;
using testing::raw;
using testing::read_file;
using testing::TemporaryFolder;
using testing::write_file;

constexpr int kMutantsPerFormat = 250;
constexpr std::int64_t kVocabSize = 50257;

// Changes up to 8 bytes, most of them in the header; cuts or grows every third file.
std::string mutant_of(std::string bytes, std::uint64_t number) {
  std::uint64_t counter = 0;
  const auto draw = [&](std::uint64_t below) {
    return philox(1, number, counter++).word[0] % below;
  };
  const std::uint64_t changes = 1 + draw(8);
  for (std::uint64_t i = 0; i < changes; ++i) {
    const std::uint64_t at =
        draw(2) == 0 ? draw(std::min<std::uint64_t>(bytes.size(), 64)) : draw(bytes.size());
    bytes[at] = static_cast<char>(draw(3) == 0 ? 0xFF : draw(256));
  }
  switch (draw(6)) {
    case 0: bytes.resize(draw(bytes.size() + 1)); break;
    case 1: bytes.append(draw(2000), static_cast<char>(draw(256))); break;
    default: break;
  }
  return bytes;
}

struct Outcome {
  int refused = 0;
  int read = 0;
};

// Takes the file all the way: inspection, checks, mapping, reading every token.
void take(const std::string& path, Outcome& outcome) {
  try {
    const auto info = inspect_data(path, "");
    auto problems = check_data(info, {16, kVocabSize, true});
    if (!problems.empty()) throw UsageError(std::move(problems));
    if (info.kind != DataKind::kTokens) return;
    std::vector<TokenFile> files;
    for (const auto& file : info.train_files) files.emplace_back(file.path);
    const TokenSequence sequence(std::move(files), kVocabSize);
    std::vector<std::int64_t> tokens(static_cast<std::size_t>(sequence.size()));
    sequence.read(0, tokens);
    for (const auto id : tokens) ASSERT_TRUE(id >= 0 && id < kVocabSize) << path;
    ++outcome.read;
  } catch (const UsageError&) {
    ++outcome.refused;
  }
}

Outcome fuzz(const std::string& bytes, const std::string& name) {
  const TemporaryFolder folder;
  Outcome outcome;
  for (int i = 0; i < kMutantsPerFormat; ++i)
    take(write_file(folder / name, mutant_of(bytes, static_cast<std::uint64_t>(i))), outcome);
  for (std::size_t size = 0; size < bytes.size(); size += (size < 1100 ? 53 : 997))
    take(write_file(folder / name, bytes.substr(0, size)), outcome);
  return outcome;
}

TEST(FuzzTest, NanoGpt) {
  const auto outcome = fuzz(raw(counting<std::uint16_t>(3000)), "train.bin");
  EXPECT_GT(outcome.refused, 20);
  EXPECT_GT(outcome.read, 20);
}

TEST(FuzzTest, LlmC16) {
  const auto outcome = fuzz(llm_c16(counting<std::uint16_t>(3000)), "train.bin");
  EXPECT_GT(outcome.refused, 100);
  EXPECT_GT(outcome.read, 5);  // changes of ids, and of header words that nobody reads
}

TEST(FuzzTest, LlmC32) {
  const auto outcome = fuzz(llm_c32(counting<std::uint32_t>(3000)), "train.bin");
  EXPECT_GT(outcome.refused, 100);
  EXPECT_GT(outcome.read, 5);
}

// A damaged cache is never used: it is packed again, whatever was done to it.
TEST(FuzzTest, PackedText) {
  const TemporaryFolder folder;
  const auto text = list_text_file(write_file(folder / "x.txt", std::string(3000, 'x')));
  const auto path = prepare_text_cache(text, folder / "out").path;
  const auto whole = read_file(path);
  for (int i = 0; i < 50; ++i) {  // each one syncs a file
    const auto mutant = mutant_of(whole, static_cast<std::uint64_t>(i));
    write_file(path, mutant);
    ASSERT_EQ(prepare_text_cache(text, folder / "out").reused, mutant == whole);
    ASSERT_EQ(read_file(path), whole);
  }
  Outcome outcome;  // given by the user as a file of tokens
  for (int i = 0; i < kMutantsPerFormat; ++i)
    take(write_file(folder / "y.tokens", mutant_of(whole, static_cast<std::uint64_t>(i))), outcome);
  EXPECT_GT(outcome.refused, 20);
}

}  // namespace
}  // namespace cuboid
