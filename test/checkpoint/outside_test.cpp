// ranks: 1
// What other programs see of a checkpoint: the HDF5 tools, and h5py with a digest of its own.
#include <gtest/gtest.h>

#include <cstdio>

#include "cuboid/checkpoint/save.hpp"
#include "fixture.hpp"

namespace cuboid::testing_checkpoint {
namespace {

struct Answer {
  std::string text;
  int status = -1;
};

Answer run(const std::string& command) {
  Answer answer;
  std::FILE* pipe = ::popen((command + " 2>&1").c_str(), "r");
  std::array<char, 4096> part{};
  while (pipe != nullptr && std::fgets(part.data(), part.size(), pipe) != nullptr)
    answer.text += part.data();
  if (pipe != nullptr) answer.status = ::pclose(pipe);
  return answer;
}

class Outside : public CheckpointTest {
 protected:
  void SetUp() override {
    CheckpointTest::SetUp();
    file_ = path("c.h5");
    slices_ = slices_of(small_model(), Slicing::kRows, true);
    save_checkpoint(file_, MPI_COMM_WORLD, slices_.list, some_metadata());
  }
  std::string file_;
  Slices slices_;
};

TEST_F(Outside, TheHdf5ToolsShowIt) {
  if (run("h5dump --version").status != 0) GTEST_SKIP() << "no h5dump";
  const Answer header = run("h5dump -H " + file_);
  EXPECT_EQ(header.status, 0) << header.text;
  for (const char* text :
       {"DATASET \"embedding.token.weight\"", "GROUP \"exp_avg\"", "H5T_IEEE_F32LE", "( 67, 24 )",
        "ATTRIBUTE \"digest\"", "ATTRIBUTE \"consumed_samples\"", "DATASET \"learning_rate\""})
    EXPECT_NE(header.text.find(text), std::string::npos) << text << " in\n" << header.text;
  const Answer step = run("h5dump -a /step " + file_);
  EXPECT_NE(step.text.find("(0): 120"), std::string::npos) << step.text;
}

TEST_F(Outside, H5pyReadsTheSameValuesAndDigests) {
  if (run("python3 -c 'import h5py, numpy'").status != 0) GTEST_SKIP() << "no h5py";
  for (const OwnedSlice& tensor : slices_.owned) {
    std::string name = tensor.slice.name;
    std::replace(name.begin(), name.end(), '/', '_');
    write_bytes(path(name), {tensor.bytes.begin(), tensor.bytes.end()});
  }
  const Answer answer = run("python3 test/checkpoint/witness.py " + file_ + " " + folder_);
  EXPECT_EQ(answer.status, 0) << answer.text;
  EXPECT_NE(answer.text.find("10 tensors agree"), std::string::npos) << answer.text;
}

}  // namespace
}  // namespace cuboid::testing_checkpoint
