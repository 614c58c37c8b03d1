// ranks: 1 2 4
#include "cuboid/launch/device.hpp"

#include <gtest/gtest.h>

namespace cuboid {
namespace {

DeviceId id_of(int number) {
  DeviceId id{};
  id.back() = static_cast<char>(number);
  return id;
}

TEST(DeviceTest, RanksWithDevicesOfTheirOwnShareNone) {
  int rank = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  EXPECT_FALSE(is_device_shared(MPI_COMM_WORLD, id_of(rank)));
}

// All ranks have to come to the same answer, those with a device of their own as well: it decides
// what all of them communicate over.
TEST(DeviceTest, TwoRanksOnOneDeviceAreSeenByAll) {
  int rank = 0;
  int size = 1;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  EXPECT_EQ(is_device_shared(MPI_COMM_WORLD, id_of(rank == size - 1 ? 0 : rank)), size > 1);
}

}  // namespace
}  // namespace cuboid
