// ranks: 1 2 4
#include "cuboid/launch/session.hpp"

#include <gtest/gtest.h>

#include "cuboid/launch/device.hpp"

namespace cuboid {
namespace {

TEST(NodeMap, RanksOfOneMachineShareItsNode) {
  int rank = 0;
  int size = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  const NodeMap map = map_nodes(MPI_COMM_WORLD);
  EXPECT_EQ(map.hosts.size(), 1U);
  EXPECT_EQ(map.local_size, size);
  EXPECT_EQ(map.local_rank, rank);
  EXPECT_EQ(map.node_of, std::vector<int>(static_cast<std::size_t>(size), 0));
  EXPECT_GE(map.cores, 1);
  EXPECT_GE(map.ranks_on_these_cores, 1);
  EXPECT_LE(map.ranks_on_these_cores, size);
}

TEST(NodeMap, ThreadsUseEachCoreOnce) {
  NodeMap map;
  map.cores = 16;
  map.ranks_on_these_cores = 4;
  EXPECT_EQ(map.threads_per_rank(), 4);
  EXPECT_FALSE(map.oversubscribed());
  map.cores = 2;
  map.ranks_on_these_cores = 8;
  EXPECT_EQ(map.threads_per_rank(), 1);
  EXPECT_TRUE(map.oversubscribed());
}

TEST(Device, PeaksAreFoundByName) {
  EXPECT_EQ(known_peak_flops("NVIDIA H100 80GB HBM3", false), 989e12);
  EXPECT_EQ(known_peak_flops("NVIDIA H100 PCIe", false), 756e12);
  EXPECT_EQ(known_peak_flops("NVIDIA A100-SXM4-80GB", true), 19.5e12);
  EXPECT_EQ(known_peak_flops("some other device", false), 0.0);
}

TEST(Device, ANameWithinAnotherIsAnotherDevice) {
  EXPECT_EQ(known_peak_flops("NVIDIA L4", false), 121e12);
  EXPECT_EQ(known_peak_flops("NVIDIA L40", false), 181e12);
  EXPECT_EQ(known_peak_flops("NVIDIA L40S", false), 362e12);
  EXPECT_EQ(known_peak_flops("NVIDIA L400", false), 0.0);
  EXPECT_EQ(known_peak_flops("NVIDIA GH200 480GB", false), 989e12);
  EXPECT_EQ(known_peak_flops("NVIDIA XB200", false), 0.0);
}

}  // namespace
}  // namespace cuboid
