// ranks: 1 2
// A damaged checkpoint (another may do instead) is told from a file that is none.
#include <gtest/gtest.h>

#include "cuboid/checkpoint/damage.hpp"
#include "cuboid/checkpoint/load.hpp"
#include "cuboid/checkpoint/save.hpp"
#include "cuboid/checkpoint/seal.hpp"
#include "fixture.hpp"

namespace cuboid::testing_checkpoint {
namespace {

class KindOfDamage : public CheckpointTest {
 protected:
  void SetUp() override {
    CheckpointTest::SetUp();
    save_checkpoint(path("c.h5"), MPI_COMM_WORLD,
                    slices_of(small_model(), Slicing::kRows, true).list, some_metadata());
    good_ = file_bytes(path("c.h5"));
    file_bytes_ = static_cast<std::size_t>(check_seal(path("c.h5")).file_bytes);
  }
  // All ranks load a file of these bytes.
  template <typename Error>
  std::string error_with(const std::vector<char>& bytes) {
    MPI_Barrier(MPI_COMM_WORLD);
    if (world_rank() == 0) write_bytes(path("bad.h5"), bytes);
    MPI_Barrier(MPI_COMM_WORLD);
    const Slices slices = slices_of(small_model(), Slicing::kRows, false);
    try {
      load_checkpoint(path("bad.h5"), MPI_COMM_WORLD, slices.list);
    } catch (const UsageError& error) {
      // Of exactly this kind.
      const bool is_damage = dynamic_cast<const DamagedCheckpoint*>(&error) != nullptr;
      return is_damage == std::is_same_v<Error, DamagedCheckpoint> ? error.what() : "";
    }
    return "";
  }
  std::vector<char> good_;
  std::size_t file_bytes_ = 0;
};

TEST_F(KindOfDamage, EveryDamageOfACheckpoint) {
  const std::string start = "checkpoint '" + path("bad.h5") + "'";
  // Its first byte, its structure, a tensor, the version in the seal, and the rest of the seal.
  const std::size_t version = file_bytes_ + std::string("\nCUBOID-SEAL ").size();
  std::vector<std::size_t> places{0, 100, 8000, file_bytes_ - 1, version};
  for (std::size_t at = file_bytes_; at < good_.size(); at += 7) places.push_back(at);
  for (const std::size_t at : places) {
    auto bad = good_;
    bad[at] = static_cast<char>(bad[at] ^ 2);
    EXPECT_EQ(error_with<DamagedCheckpoint>(bad).find(start), 0U) << at;
  }
  for (const std::size_t size : {good_.size() - 1, file_bytes_, file_bytes_ / 2}) {
    const std::vector<char> cut(good_.begin(), good_.begin() + static_cast<std::ptrdiff_t>(size));
    EXPECT_EQ(error_with<DamagedCheckpoint>(cut).find(start), 0U) << size;
  }
}

TEST_F(KindOfDamage, WhatIsNoCheckpointOrANewerOne) {
  EXPECT_NE(error_with<UsageError>({}).find("it is not an HDF5 file"), std::string::npos);
  EXPECT_NE(error_with<UsageError>(std::vector<char>(5000, 'x')).find("it is not an HDF5 file"),
            std::string::npos);
  std::vector<char> foreign(5000, 'x');
  std::copy_n(good_.begin(), 8, foreign.begin());
  EXPECT_NE(error_with<UsageError>(foreign).find("it has no seal"), std::string::npos);

  Seal seal = check_seal(path("c.h5"));
  seal.version = kFormatVersion + 1;
  const std::string text = to_text(seal);
  std::vector<char> newer(good_.begin(), good_.begin() + static_cast<std::ptrdiff_t>(file_bytes_));
  newer.insert(newer.end(), text.begin(), text.end());
  EXPECT_NE(error_with<UsageError>(newer).find("written by a newer Cuboid"), std::string::npos);
}

}  // namespace
}  // namespace cuboid::testing_checkpoint
