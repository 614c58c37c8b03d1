// ranks: 1
#include "cuboid/data/batch_loader.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <latch>
#include <stdexcept>

#include "cuboid/base/error.hpp"
#include "files.hpp"

namespace cuboid {
namespace {

using testing::contains;
using testing::counting;
using testing::raw;
using testing::TemporaryFolder;
using testing::usage_error_of;
using testing::write_file;

constexpr std::int64_t kTokens = 2000;
constexpr std::int64_t kLength = 16;

class BatchLoaderTest : public ::testing::Test {
 protected:
  // Token at position p is p + 1.
  BatchLoaderTest() {
    write_file(folder_ / "a.bin", raw(counting<std::uint16_t>(1234)));
    write_file(folder_ / "b.bin", raw(counting<std::uint16_t>(766, 1234)));
  }
  TokenSplit split(std::int64_t vocab_size = 50257) {
    std::vector<TokenFile> files;
    files.emplace_back(folder_ / "a.bin");
    files.emplace_back(folder_ / "b.bin");
    return {std::make_shared<const TokenSequence>(std::move(files), vocab_size), {0, kTokens}};
  }
  BatchReader reader(const BatchShape& shape,
                     BatchContent content = BatchContent::kTokensAndTargets) {
    return {split(), order_of(TrainSampler(kTokens, kLength, 7)), shape, content};
  }
  TemporaryFolder folder_;
};

bool same(const Batch& a, const Batch& b) {
  return a.consumed == b.consumed && a.first_sample == b.first_sample && a.tokens == b.tokens &&
         a.targets == b.targets && a.sample_ids == b.sample_ids && a.digest == b.digest;
}

TEST_F(BatchLoaderTest, TargetsAreTheTokensThatFollow) {
  BatchLoader loader(reader({kLength, 3, 2, 1, 0}));
  const Batch& batch = loader.next();
  ASSERT_EQ(batch.tokens.size(), 2U * 3 * 16);
  ASSERT_EQ(batch.targets.size(), batch.tokens.size());
  for (std::size_t i = 0; i < batch.tokens.size(); ++i) {
    EXPECT_EQ(batch.tokens[i], batch.sample_ids[i / 16] + static_cast<std::int64_t>(i % 16) + 1);
    EXPECT_EQ(batch.targets[i], batch.tokens[i] + 1);
  }
}

TEST_F(BatchLoaderTest, ASplitBeginsAtItsOwnOffset) {
  TokenSplit part = split();
  part.range = {1800, 2000};
  Batch batch;
  BatchReader(part, order_of(ValidationSampler(200, kLength, 2, 2)), {kLength, 2, 1, 1, 0})
      .read(0, batch);
  EXPECT_EQ(batch.sample_ids[0], 0);
  EXPECT_EQ(batch.tokens[0], 1801);
}

// The samples of 5 steps of 12 sequences, in order, over all replicas.
struct Samples {
  std::vector<std::int64_t> tokens, targets, ids;
  std::vector<std::string> digests;
  bool operator==(const Samples&) const = default;
};

TEST_F(BatchLoaderTest, OrderIsTheSameForEveryDivision) {
  const auto run = [&](std::int64_t dp, std::int64_t micro_batch, std::int64_t num_microbatches) {
    std::vector<std::unique_ptr<BatchLoader>> loaders;
    for (std::int64_t r = 0; r < dp; ++r)
      loaders.push_back(
          std::make_unique<BatchLoader>(reader({kLength, micro_batch, num_microbatches, dp, r})));
    Samples all;
    for (std::int64_t step = 0; step < 5; ++step) {
      for (std::int64_t r = 0; r < dp; ++r) {
        const Batch& batch = loaders[static_cast<std::size_t>(r)]->next();
        EXPECT_EQ(batch.consumed, 12 * step);
        EXPECT_EQ(batch.first_sample, 12 * step + r * 12 / dp);
        all.tokens.insert(all.tokens.end(), batch.tokens.begin(), batch.tokens.end());
        all.targets.insert(all.targets.end(), batch.targets.begin(), batch.targets.end());
        all.ids.insert(all.ids.end(), batch.sample_ids.begin(), batch.sample_ids.end());
        if (r == 0) all.digests.push_back(batch.digest);
        EXPECT_EQ(batch.digest, all.digests.back());
      }
    }
    return all;
  };
  const Samples one = run(1, 12, 1);
  EXPECT_EQ(one.ids.size(), 60U);
  EXPECT_EQ(run(1, 1, 12), one);
  EXPECT_EQ(run(1, 4, 3), one);
  EXPECT_EQ(run(2, 3, 2), one);
  EXPECT_EQ(run(3, 2, 2), one);
  EXPECT_EQ(run(4, 1, 3), one);
  EXPECT_EQ(run(12, 1, 1), one);
}

TEST_F(BatchLoaderTest, SeekResumesAnywhere) {
  const BatchShape shape{kLength, 2, 2, 2, 1};
  std::vector<Batch> straight;
  BatchLoader loader(reader(shape));
  for (int step = 0; step < 40; ++step) straight.push_back(loader.next());  // over an epoch
  for (const std::size_t step :
       {std::size_t{39}, std::size_t{0}, std::size_t{17}, std::size_t{17}}) {
    loader.seek(static_cast<std::int64_t>(step) * 8);
    EXPECT_TRUE(same(loader.next(), straight[step])) << step;
    if (step + 1 < straight.size()) {
      EXPECT_TRUE(same(loader.next(), straight[step + 1])) << step;
    }
  }
  BatchLoader fresh(reader(shape), 17 * 8);
  EXPECT_TRUE(same(fresh.next(), straight[17]));
  // Many seeks while reads are under way: only the last counts.
  for (std::int64_t step = 0; step < 200; ++step) loader.seek(step % 40 * 8);
  EXPECT_TRUE(same(loader.next(), straight[39]));
}

TEST_F(BatchLoaderTest, ABatchStaysUntilTheNextCall) {
  BatchLoader loader(reader({kLength, 2, 1, 1, 0}));
  const Batch& batch = loader.next();
  const Batch copy = batch;
  std::this_thread::sleep_for(std::chrono::milliseconds(30));  // the next one is read meanwhile
  EXPECT_TRUE(same(batch, copy));
}

TEST_F(BatchLoaderTest, MiddleStagesReadNoTokens) {
  Batch whole, ids;
  reader({kLength, 2, 2, 2, 1}).read(8, whole);
  reader({kLength, 2, 2, 2, 1}, BatchContent::kIdsOnly).read(8, ids);
  EXPECT_TRUE(ids.tokens.empty());
  EXPECT_TRUE(ids.targets.empty());
  EXPECT_EQ(ids.digest, whole.digest);
  EXPECT_EQ(ids.sample_ids, whole.sample_ids);
}

TEST_F(BatchLoaderTest, ReadsAheadOfTheCaller) {
  std::atomic<std::int64_t> furthest{-1};
  const SampleOrder order = [&](std::int64_t sample) {
    furthest = std::max(furthest.load(), sample);
    return sample;
  };
  const auto wait_for = [&](std::int64_t sample) {
    for (int i = 0; i < 5000 && furthest < sample; ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    return furthest.load();
  };
  BatchLoader loader(BatchReader(split(), order, {kLength, 4, 1, 1, 0}));
  EXPECT_EQ(wait_for(3), 3);  // before anyone asks
  loader.next();
  EXPECT_EQ(wait_for(7), 7);  // one step ahead, no further
}

// A read that was under way when seek() came is not handed out.
TEST_F(BatchLoaderTest, SeekDropsTheReadUnderWay) {
  std::latch reading(1), released(1);
  std::atomic<bool> first{true};
  const SampleOrder order = [&](std::int64_t sample) {
    if (first.exchange(false)) {
      reading.count_down();
      released.wait();
    }
    return sample;
  };
  BatchLoader loader(BatchReader(split(), order, {kLength, 2, 1, 1, 0}));
  reading.wait();
  loader.seek(100);
  released.count_down();
  const Batch& batch = loader.next();
  EXPECT_EQ(batch.consumed, 100);
  EXPECT_EQ(batch.sample_ids, (std::vector<std::int64_t>{100, 101}));
}

TEST_F(BatchLoaderTest, ErrorsOfTheThreadReachTheCaller) {
  BatchLoader bad_ids(
      BatchReader(split(100), order_of(TrainSampler(kTokens, kLength, 7)), {kLength, 8, 4, 1, 0}));
  for (int i = 0; i < 2; ++i) {
    const auto error = usage_error_of([&] { bad_ids.next(); });
    EXPECT_TRUE(contains(error, "is beyond the vocabulary")) << error;
  }

  bool failing = true;
  BatchLoader loader(BatchReader(split(),
                                 [&](std::int64_t sample) {
                                   if (failing) throw SystemError("the disk is gone");
                                   return sample;
                                 },
                                 {kLength, 2, 1, 1, 0}));
  EXPECT_THROW(loader.next(), SystemError);
  failing = false;
  loader.seek(0);
  EXPECT_EQ(loader.next().sample_ids, (std::vector<std::int64_t>{0, 1}));
}

TEST_F(BatchLoaderTest, EndsAtAnyTime) {
  for (int i = 0; i < 100; ++i) {
    BatchLoader loader(reader({kLength, 8, 4, 1, 0}));
    if (i % 3 == 1) loader.next();
    if (i % 3 == 2) loader.seek(i);
  }
}

TEST_F(BatchLoaderTest, RefusesAShapeThatIsNone) {
  EXPECT_THROW(reader({kLength, 2, 2, 2, 2}), std::logic_error);
  EXPECT_THROW(reader({0, 2, 2, 1, 0}), std::logic_error);
}

}  // namespace
}  // namespace cuboid
