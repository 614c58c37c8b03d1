// ranks: 1
// Who keeps whom waiting, from made-up states of ranks; and their way over the wire.
#include "cuboid/collective/blame.hpp"

#include <gtest/gtest.h>

#include <algorithm>

namespace cuboid {
namespace {

ChannelState channel(const std::string& name, std::vector<int> members, std::uint64_t collectives,
                     std::uint64_t messages = 0) {
  return {.name = name,
          .members = std::move(members),
          .num_collectives = collectives,
          .num_messages = messages,
          .wait = {},
          .error = {}};
}

// Waits in the last operation that it has begun.
ChannelState waiting(ChannelState channel, const std::string& verb, double seconds) {
  const bool is_message = verb == "send" || verb == "receive";
  channel.wait = {.verb = verb,
                  .bytes = 4 << 20,
                  .peer = -1,
                  .is_message = is_message,
                  .number = is_message ? channel.num_messages : channel.num_collectives,
                  .seconds = seconds};
  return channel;
}

RankState rank(int number, std::vector<ChannelState> channels) {
  return {.rank = number, .activity = 'S', .channels = std::move(channels)};
}

RankState silent(int number, char activity) {
  return {.rank = number, .answers = false, .activity = activity, .channels = {}};
}

std::string name_of(int rank) {
  return "rank " + std::to_string(rank) + " (dp " + std::to_string(rank) + ") on n" +
         std::to_string(rank / 4);
}

TEST(Blame, NamesTheRankThatHasNotCome) {
  const std::vector<RankState> states = {
      rank(1, {waiting(channel("dp", {1, 5}, 812), "all_reduce", 30.2)}),
      rank(5, {channel("dp", {1, 5}, 811)})};
  const auto culprits = find_culprits(states);
  ASSERT_EQ(culprits.size(), 1U);
  EXPECT_EQ(culprits[0].rank, 5);
  EXPECT_FALSE(culprits[0].has_begun);
  EXPECT_EQ(blame_report(states, name_of),
            "rank 5 (dp 5) on n1 has not come to all_reduce #812 of dp, 4.0 MiB; rank 1 waits "
            "since 30.2 s\n"
            "    it is in no communication: its main thread sleeps, or waits for something\n"
            "who waits in what:\n"
            "  rank 1 (dp 1) on n0 waits in all_reduce #812 of dp, 4.0 MiB since 30.2 s, for rank "
            "5\n");
}

// 0 waits for 1 over tp, 1 for 3 over pp: only 3 is to blame.
TEST(Blame, FollowsWaitsToTheirRoot) {
  const std::vector<RankState> states = {
      rank(0, {waiting(channel("tp", {0, 1}, 7), "all_reduce", 9)}),
      rank(1, {channel("tp", {0, 1}, 6),
               waiting(channel("pp activations", {1, 3}, 1, 34), "receive", 10)}),
      rank(2, {waiting(channel("tp", {2, 3}, 4), "all_gather", 8)}),
      rank(3, {channel("tp", {2, 3}, 3), channel("pp activations", {1, 3}, 1, 33)})};
  const auto culprits = find_culprits(states);
  ASSERT_EQ(culprits.size(), 2U);
  for (const Culprit& culprit : culprits) EXPECT_EQ(culprit.rank, 3);
  const std::string report = blame_report(states, name_of);
  EXPECT_NE(report.find("rank 3 (dp 3) on n0 has not come to send #34 of pp activations"),
            std::string::npos)
      << report;
  EXPECT_NE(report.find("for rank 1\n"), std::string::npos) << report;
}

TEST(Blame, ARankThatDoesNotAnswerIsToBlame) {
  const std::vector<RankState> states = {
      rank(0, {waiting(channel("dp", {0, 1, 2}, 5), "all_reduce", 3)}), silent(1, 'T'),
      rank(2, {waiting(channel("dp", {0, 1, 2}, 5), "all_reduce", 4)})};
  const auto culprits = find_culprits(states);
  ASSERT_EQ(culprits.size(), 1U);
  EXPECT_EQ(culprits[0].rank, 1);
  EXPECT_EQ(culprits[0].waiting, (std::vector<int>{2, 0}));
  EXPECT_NE(blame_report(states, name_of).find("its process is stopped"), std::string::npos);
}

// It has come, and left for something else: an operation in the background makes no progress.
TEST(Blame, ARankMayHaveBegunAndGoneElsewhere) {
  const std::vector<RankState> states = {
      rank(0, {waiting(channel("dp", {0, 1}, 5), "all_reduce", 3)}),
      rank(1, {channel("dp", {0, 1}, 5)})};
  ASSERT_EQ(find_culprits(states).size(), 1U);
  EXPECT_TRUE(find_culprits(states)[0].has_begun);
}

// The first communicator is the same by name alone: another group of the same axis.
TEST(Blame, OtherGroupsOfAnAxisAreNotMeant) {
  const std::vector<RankState> states = {
      rank(0, {waiting(channel("tp", {0, 1}, 9), "all_reduce", 3)}),
      rank(1, {channel("tp", {0, 1}, 8)}), rank(2, {channel("tp", {2, 3}, 1)}),
      rank(3, {channel("tp", {2, 3}, 1)})};
  ASSERT_EQ(find_culprits(states).size(), 1U);
  EXPECT_EQ(find_culprits(states)[0].rank, 1);
}

TEST(Blame, NobodyIsToBlameForACircle) {
  const std::vector<RankState> states = {
      rank(0, {waiting(channel("dp", {0, 1}, 2), "barrier", 3), channel("tp", {0, 1}, 4)}),
      rank(1, {channel("dp", {0, 1}, 1), waiting(channel("tp", {0, 1}, 5), "broadcast", 3)})};
  EXPECT_TRUE(find_culprits(states).empty());
  EXPECT_NE(blame_report(states, name_of).find("in a circle"), std::string::npos);
}

TEST(Blame, AllMayHaveComeAndNothingEnds) {
  const std::vector<RankState> states = {
      rank(0, {waiting(channel("dp", {0, 1}, 2), "all_reduce", 3)}),
      rank(1, {waiting(channel("dp", {0, 1}, 2), "all_reduce", 3)})};
  EXPECT_TRUE(find_culprits(states).empty());
  EXPECT_NE(blame_report(states, name_of).find("the communication itself does not end"),
            std::string::npos);
}

TEST(Blame, LargeWorldsHaveShortReports) {
  std::vector<int> everyone(1000);
  std::vector<RankState> states;
  for (int r = 0; r < 1000; ++r) everyone[static_cast<std::size_t>(r)] = r;
  states.push_back(rank(0, {channel("control", everyone, 1)}));
  for (int r = 1; r < 1000; ++r)
    states.push_back(rank(r, {waiting(channel("control", everyone, 2), "all_reduce", 3)}));
  const std::string report = blame_report(states, name_of);
  EXPECT_LT(std::ranges::count(report, '\n'), 25) << report;
  EXPECT_NE(report.find("998 more ranks with it"), std::string::npos) << report;
  EXPECT_NE(report.find("and 983 more waits"), std::string::npos) << report;
}

TEST(RankStateOnTheWire, ComesAsItWent) {
  RankState state = rank(3, {waiting(channel("pp activations", {1, 3}, 2, 34), "receive", 2.5),
                             channel("model_parallel", {1, 3, 9, 11}, 7)});
  state.is_alarmed = true;
  state.channels[1].error = "NCCL: \"remote\" process exited";
  const auto copy = decode_rank_state(encode(state));
  ASSERT_TRUE(copy);
  EXPECT_EQ(encode(*copy), encode(state));
  EXPECT_EQ(copy->channels[0].wait->seconds, 2.5);
  EXPECT_EQ(copy->channels[1].members, (std::vector<int>{1, 3, 9, 11}));
  EXPECT_EQ(copy->channels[1].error, state.channels[1].error);
}

TEST(RankStateOnTheWire, WhatIsCutIsNoState) {
  const std::string text =
      encode(rank(3, {waiting(channel("dp", {1, 3, 5}, 2), "all_reduce", 2.5)}));
  for (std::size_t size = 0; size + 4 < text.size(); ++size)
    EXPECT_FALSE(decode_rank_state(text.substr(0, size))) << size;
  EXPECT_FALSE(decode_rank_state("yes"));
  EXPECT_FALSE(decode_rank_state("0 0 S 99999999"));
}

}  // namespace
}  // namespace cuboid
