// ranks: 1 2 4
#include "cuboid/launch/device.hpp"

#include <gtest/gtest.h>

#include <algorithm>

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
  int size = 1;
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  EXPECT_FALSE(is_device_shared(MPI_COMM_WORLD, id_of(rank)));
  EXPECT_EQ(num_devices(MPI_COMM_WORLD, id_of(rank)), size);
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

// MFU is measured against what the devices can do, however many ranks use one.
TEST(DeviceTest, DevicesAreCountedOnce) {
  int rank = 0;
  int size = 1;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  EXPECT_EQ(num_devices(MPI_COMM_WORLD, id_of(0)), 1);
  EXPECT_EQ(num_devices(MPI_COMM_WORLD, id_of(rank % 2)), std::min(size, 2));
}

}  // namespace
}  // namespace cuboid
