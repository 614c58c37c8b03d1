// ranks: 1
#include "cuboid/checkpoint/folder.hpp"

#include <gtest/gtest.h>

#include "fixture.hpp"

namespace cuboid::testing_checkpoint {
namespace {

using Steps = std::vector<std::int64_t>;

class Folder : public CheckpointTest {
 protected:
  void make(const std::vector<std::string>& names) const {
    for (const auto& name : names) write_bytes(path(name), {'x'});
  }
};

TEST(CheckpointNames, GoThereAndBack) {
  EXPECT_EQ(checkpoint_path("out", 120), "out/checkpoint-120.h5");
  EXPECT_EQ(partial_path("out/checkpoint-120.h5"), "out/checkpoint-120.h5.partial");
  EXPECT_EQ(step_of_checkpoint("checkpoint-120.h5"), 120);
  EXPECT_EQ(step_of_checkpoint("checkpoint-0.h5"), 0);
  for (const char* name :
       {"checkpoint-.h5", "checkpoint-007.h5", "checkpoint--1.h5", "checkpoint-1.h5.partial",
        "checkpoint-1x.h5", "other-1.h5", "checkpoint-99999999999999999999.h5"})
    EXPECT_EQ(step_of_checkpoint(name), std::nullopt) << name;
}

TEST_F(Folder, StepsAreThoseOfTheNames) {
  make({"checkpoint-5.h5", "checkpoint-100.h5", "checkpoint-20.h5", "checkpoint-40.h5.partial",
        "metrics.jsonl", "checkpoint-x.h5"});
  EXPECT_EQ(steps_in(folder_), (Steps{100, 20, 5}));
  EXPECT_EQ(steps_in(path("none")), Steps{});
  EXPECT_NE(error_of<SystemError>([&] { steps_in(path("metrics.jsonl")); }).find("metrics.jsonl"),
            std::string::npos);
}

TEST_F(Folder, OnlyPartialCheckpointsAreCleanedUp) {
  const std::vector<std::string> left = {"checkpoint-6.h5.partial",
                                         "checkpoint-6.h5.partial.locktest.0"};
  const std::vector<std::string> others = {"checkpoint-5.h5", "checkpoint-x.h5.partial",
                                           "notes.partial"};
  make(left);
  make(others);
  EXPECT_EQ(remove_partial_files(folder_),
            (std::vector<std::string>{path(left[0]), path(left[1])}));
  EXPECT_EQ(files(), others);
}

TEST(Retention, KeepsTheNewestAndTheMultiples) {
  const Steps steps = {10, 20, 30, 40, 50, 60};
  EXPECT_EQ(steps_to_remove(steps, {.keep_last = 2, .keep_every = 0}), (Steps{10, 20, 30, 40}));
  EXPECT_EQ(steps_to_remove(steps, {.keep_last = 1, .keep_every = 20}), (Steps{10, 30, 50}));
  EXPECT_EQ(steps_to_remove(steps, {.keep_last = 0, .keep_every = 20}), Steps{});
  EXPECT_EQ(steps_to_remove(steps, {.keep_last = 9, .keep_every = 0}), Steps{});
  EXPECT_EQ(steps_to_remove({30, 10, 20}, {.keep_last = 1, .keep_every = 0}), (Steps{10, 20}));
  EXPECT_EQ(steps_to_remove({}, {.keep_last = 1, .keep_every = 0}), Steps{});
}

TEST_F(Folder, RemovesWhatItIsTold) {
  make({"checkpoint-5.h5", "checkpoint-10.h5", "checkpoint-15.h5"});
  remove_checkpoints(folder_, {5, 7, 15});
  EXPECT_EQ(files(), std::vector<std::string>{"checkpoint-10.h5"});
}

}  // namespace
}  // namespace cuboid::testing_checkpoint
