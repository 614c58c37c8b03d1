// ranks: 1 2
// timeout: 180
// Whatever happens to a file after it was saved: nothing of it is loaded in silence.
#include <gtest/gtest.h>
#include <hdf5.h>

#include <cstdlib>
#include <random>
#include <string>

#include "cuboid/checkpoint/load.hpp"
#include "cuboid/checkpoint/reader.hpp"
#include "cuboid/checkpoint/save.hpp"
#include "cuboid/checkpoint/seal.hpp"
#include "fixture.hpp"

namespace cuboid::testing_checkpoint {
namespace {

// CUBOID_TRIALS, or a share: every rank more costs a dozen collective calls a load, and the
// decision is rank 0's.
int num_trials() {
  const char* wanted = std::getenv("CUBOID_TRIALS");
  return wanted != nullptr ? std::stoi(wanted) : (world_size() == 1 ? 250 : 25);
}

class Damage : public CheckpointTest {
 protected:
  void SetUp() override {
    CheckpointTest::SetUp();
    file_ = path("c.h5");
    save_checkpoint(file_, MPI_COMM_WORLD, slices_of(small_model(), Slicing::kRows, true).list,
                    some_metadata());
    good_ = file_bytes(file_);
    seal_ = check_seal(file_);
    MPI_Barrier(MPI_COMM_WORLD);
  }
  // Rank 0 puts these bytes in the file's place; all ranks load it and get this error.
  std::string load_error(const std::vector<char>& bytes) {
    if (world_rank() == 0) write_bytes(file_, bytes);
    MPI_Barrier(MPI_COMM_WORLD);
    const Slices slices = slices_of(small_model(), Slicing::kColumns, false);
    std::string text =
        error_of<UsageError>([&] { load_checkpoint(file_, MPI_COMM_WORLD, slices.list); });
    MPI_Barrier(MPI_COMM_WORLD);
    return text;
  }
  [[nodiscard]] bool in_tensor(std::size_t byte) const {
    for (const Range& range : seal_.tensor_bytes)
      if (static_cast<std::int64_t>(byte) >= range.begin &&
          static_cast<std::int64_t>(byte) < range.end)
        return true;
    return false;
  }
  std::string file_;
  std::vector<char> good_;
  Seal seal_;
  int num_trials_ = num_trials();
};

// HDF5's own view of where a tensor lies.
Range bytes_of_tensor(const std::string& file, const std::string& name) {
  const hid_t f = H5Fopen(file.c_str(), H5F_ACC_RDONLY, H5P_DEFAULT);
  const hid_t d = H5Dopen2(f, name.c_str(), H5P_DEFAULT);
  const auto begin = static_cast<std::int64_t>(H5Dget_offset(d));
  const Range range{begin, begin + static_cast<std::int64_t>(H5Dget_storage_size(d))};
  H5Dclose(d);
  H5Fclose(f);
  return range;
}

TEST_F(Damage, AFlippedBitInATensorIsFoundAndTheTensorNamed) {
  for (const Tensor& tensor : small_model()) {
    if (volume(tensor.shape) == 0) continue;
    std::string error;
    Range bytes{};
    if (world_rank() == 0) {
      write_bytes(file_, good_);
      bytes = bytes_of_tensor(file_, tensor.name);
    }
    MPI_Bcast(&bytes, sizeof bytes, MPI_BYTE, 0, MPI_COMM_WORLD);
    for (const std::int64_t at : {bytes.begin, (bytes.begin + bytes.end) / 2, bytes.end - 1}) {
      auto bad = good_;
      bad[static_cast<std::size_t>(at)] ^= 16;
      error = load_error(bad);
      EXPECT_EQ(error.find("checkpoint '" + file_ + "': tensor '" + tensor.name +
                           "' is damaged: its digest is "),
                0U)
          << error;
      EXPECT_EQ(error.find('\n'), std::string::npos) << "one tensor only: " << error;
    }
  }
  EXPECT_EQ(load_error(good_), "");
}

TEST_F(Damage, TheBoxesOfOneRankAloneAreVerifiedToo) {
  const Tensor tensor{"optimizer/large", DType::kFloat32, {300, 1000}};
  auto bad = good_;
  if (world_rank() == 0) {
    bad[static_cast<std::size_t>(bytes_of_tensor(file_, tensor.name).end) - 1] ^= 1;
    write_bytes(file_, bad);
  }
  MPI_Barrier(MPI_COMM_WORLD);
  // The damage is in the last element, and only the first is read.
  const OwnedSlice first =
      make_slice(tensor.name, tensor.dtype, tensor.shape, {{0, 0}, {1, 1}}, false);
  const std::string error = error_of<UsageError>(
      [&] { load_checkpoint(file_, MPI_COMM_WORLD, std::vector{first.slice}); });
  EXPECT_NE(error.find("tensor 'optimizer/large' is damaged"), std::string::npos) << error;
}

TEST_F(Damage, NoFlippedBitAnywhereIsLoaded) {
  std::mt19937 random(11);  // NOLINT(bugprone-random-generator-seed): the same on all ranks
  std::vector<std::size_t> outside;
  for (std::size_t i = 0; i < good_.size(); ++i)
    if (!in_tensor(i)) outside.push_back(i);
  int in_structure = 0;
  for (int trial = 0; trial < num_trials_ * 2; ++trial) {
    // Half of them in structure, metadata and seal, which are small.
    const std::size_t at =
        trial % 2 == 0 ? outside[random() % outside.size()] : random() % good_.size();
    auto bad = good_;
    bad[at] = static_cast<char>(bad[at] ^ (1 << random() % 8));
    const std::string error = load_error(bad);
    EXPECT_NE(error, "") << "byte " << at;
    in_structure += in_tensor(at) ? 0 : 1;
  }
  EXPECT_GE(in_structure, num_trials_);
}

TEST_F(Damage, NoTruncatedFileIsLoaded) {
  std::mt19937 random(12);  // NOLINT(bugprone-random-generator-seed): the same on all ranks
  std::vector<std::size_t> lengths{0, 1, 7, 8, 9, 511, 4096, good_.size() - 1, good_.size() - 2};
  lengths.push_back(static_cast<std::size_t>(seal_.file_bytes));
  while (static_cast<int>(lengths.size()) < num_trials_) lengths.push_back(random() % good_.size());
  for (const std::size_t length : lengths) {
    const std::vector<char> bad(good_.begin(), good_.begin() + static_cast<std::ptrdiff_t>(length));
    const std::string error = load_error(bad);
    EXPECT_EQ(error, "checkpoint '" + file_ + "': " +
                         (length < 8 ? "it is not an HDF5 file"
                                     : "it has no seal: it is not a Cuboid checkpoint, was cut "
                                       "short, or was never completed"));
  }
  // Bytes lost or added inside, the seal in place.
  auto shorter = good_;
  shorter.erase(shorter.begin() + 5000, shorter.begin() + 5100);
  EXPECT_NE(load_error(shorter).find("before its seal, which says"), std::string::npos);
  auto longer = good_;
  longer.insert(longer.end() - 300, 100, 'x');
  EXPECT_NE(load_error(longer), "");
}

TEST_F(Damage, OtherFilesAreNamedForWhatTheyAre) {
  const Slices slices = slices_of(small_model(), Slicing::kRows, false);
  const auto error = [&](const std::string& file) {
    return error_of<UsageError>([&] { load_checkpoint(file, MPI_COMM_WORLD, slices.list); });
  };
  if (world_rank() == 0) {
    write_bytes(path("text"), std::vector<char>(10000, 'a'));
    const hid_t other =
        H5Fcreate(path("other.h5").c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    H5Fclose(other);
    const hid_t sealed =
        H5Fcreate(path("sealed.h5").c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    H5Fclose(sealed);
    append_seal(path("sealed.h5"), {}, "test");
    Seal newer = seal_;
    newer.version = 2;
    auto bytes = good_;
    bytes.resize(static_cast<std::size_t>(seal_.file_bytes));
    const std::string text = to_text(newer);
    bytes.insert(bytes.end(), text.begin(), text.end());
    write_bytes(path("newer.h5"), bytes);
  }
  MPI_Barrier(MPI_COMM_WORLD);
  const auto start = [&](const std::string& name) { return "checkpoint '" + path(name) + "': "; };
  EXPECT_EQ(error(path("none.h5")), start("none.h5") + "No such file or directory");
  EXPECT_EQ(error(folder_), "checkpoint '" + folder_ + "': it is not a regular file");
  EXPECT_EQ(error(path("text")), start("text") + "it is not an HDF5 file");
  EXPECT_EQ(error(path("other.h5")), start("other.h5") +
                                         "it has no seal: it is not a Cuboid checkpoint, was cut "
                                         "short, or was never completed");
  EXPECT_EQ(error(path("sealed.h5")), start("sealed.h5") + "it is not a Cuboid checkpoint");
  EXPECT_EQ(error(path("newer.h5")),
            start("newer.h5") +
                "it was written by a newer Cuboid: format version 2, this program "
                "reads versions up to 1");
  EXPECT_EQ(error_of<UsageError>([&] { read_metadata(path("none.h5")); }),
            start("none.h5") + "No such file or directory");
}

// Another program changed it, in a way that HDF5 finds quite right.
TEST_F(Damage, AFileThatWasEditedIsRefused) {
  if (world_rank() == 0) {
    const hid_t file = H5Fopen(file_.c_str(), H5F_ACC_RDWR, H5P_DEFAULT);
    const hid_t attribute = H5Aopen(file, "step", H5P_DEFAULT);
    const std::int64_t step = 7;
    H5Awrite(attribute, H5T_STD_I64LE, &step);
    H5Aclose(attribute);
    H5Fclose(file);
  }
  MPI_Barrier(MPI_COMM_WORLD);
  EXPECT_NE(load_error(file_bytes(file_)), "");
}

}  // namespace
}  // namespace cuboid::testing_checkpoint
