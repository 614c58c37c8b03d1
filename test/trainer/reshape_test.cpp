// ranks: 8
// timeout: 300
// What one grid saved, every other loads and goes on with: the same weights and moments bit for
// bit, the same samples, and the losses of the run that was never interrupted.
#include <c10/core/InferenceMode.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <functional>
#include <map>

#include "cuboid/checkpoint/reader.hpp"
#include "trainer/resumable_run.hpp"

namespace cuboid {
namespace {

using test::ResumableRun;
using test::RunOptions;
using test::Trained;

constexpr std::array<GridShape, 12> kGrids = {{{1, 1, 1},
                                               {2, 1, 1},
                                               {1, 2, 1},
                                               {1, 1, 2},
                                               {4, 1, 1},
                                               {1, 4, 1},
                                               {1, 1, 4},
                                               {2, 2, 1},
                                               {2, 1, 2},
                                               {1, 2, 2},
                                               {2, 2, 2},
                                               {8, 1, 1}}};
constexpr std::int64_t kStepsBefore = 3;
constexpr std::int64_t kStepsAfter = 5;

// Of a loss. fp32: sums are grouped differently on every grid, a few units in the last place (6e-8)
// a layer and step; grid_equivalence_test.cpp allows 1e-5 for twenty steps. bf16 beside fp32:
// products have 8 bits, whose rounding (2e-3) is random and mostly averages out over the batch's
// 128 tokens.
constexpr double kFp32Tolerance = 1e-5;
constexpr double kBf16Tolerance = 1e-3;

const std::vector<std::string> kNone;

// A run that was not interrupted: where it was saved, how it went on, and how it ended.
struct Straight {
  std::string file;
  std::vector<TensorInfo> saved, ended;
  Trained after;  // on rank 0, which takes part in all runs
};

// Two micro-batches a replica where there are samples for them: more would take longer and show no
// more.
RunOptions options_of(const ModelConfig& model, const GridShape& shape) {
  return {.model = model, .shape = shape, .micro_batch_size = std::max(1, 4 / shape.dp)};
}

class Reshape : public testing::Test {
 protected:
  void SetUp() override {
    std::array<char, 256> name{};
    MPI_Comm_rank(MPI_COMM_WORLD, &rank_);
    if (rank_ == 0) {
      std::strcpy(name.data(), (std::filesystem::temp_directory_path() / "cuboid-XXXXXX").c_str());
      ASSERT_NE(::mkdtemp(name.data()), nullptr);
      test::write_tokens(std::string(name.data()) + "/tokens.bin", test::tiny_gpt2());
    }
    MPI_Bcast(name.data(), static_cast<int>(name.size()), MPI_CHAR, 0, MPI_COMM_WORLD);
    folder_ = name.data();
  }
  void TearDown() override {
    if (rank_ == 0) std::filesystem::remove_all(folder_);
  }

  // Calls `work` with a run on the first ranks; the others wait, and leave the cores alone.
  void on(const RunOptions& options, const std::function<void(ResumableRun&)>& work) {
    const bool takes_part = rank_ < options.shape.size();
    MpiComm some;
    check_mpi(MPI_Comm_split(MPI_COMM_WORLD, takes_part ? 0 : 1, rank_, some.out()));
    if (takes_part) {
      ResumableRun run(some.get(), options, folder_ + "/tokens.bin");
      work(run);
    }
    MPI_Request request = MPI_REQUEST_NULL;
    check_mpi(MPI_Ibarrier(MPI_COMM_WORLD, &request));
    for (int done = 0; done == 0;) {
      check_mpi(MPI_Test(&request, &done, MPI_STATUS_IGNORE));
      if (done == 0) ::usleep(1000);
    }
  }

  Straight go_straight(const RunOptions& options) {
    const std::string end = folder_ + "/end.h5";
    Straight straight;
    straight.file = folder_ + "/" + std::to_string(num_files_++) + ".h5";
    on(options, [&](ResumableRun& run) {
      run.train(kStepsBefore);
      run.save(straight.file);
      straight.after = run.train(kStepsAfter);
      run.save(end, /*from_a_copy=*/true);
    });
    straight.saved = CheckpointReader(straight.file).tensors();
    straight.ended = CheckpointReader(end).tensors();
    MPI_Barrier(MPI_COMM_WORLD);  // before another run replaces the end
    return straight;
  }

  // Loads what `straight` saved and goes on; any state that `run` has is gone.
  static Trained resume(ResumableRun& run, const Straight& straight) {
    run.scramble();
    run.load(straight.file);
    EXPECT_EQ(run.differences_from(straight.saved), kNone);
    return run.train(kStepsAfter);
  }

  void expect_near(const Trained& trained, const Straight& straight, double tolerance) const {
    if (rank_ != 0) return;
    EXPECT_EQ(trained.sample_digests, straight.after.sample_digests);
    for (std::size_t i = 0; i < trained.losses.size(); ++i)
      EXPECT_NEAR(trained.losses[i], straight.after.losses[i], tolerance * trained.losses[i]) << i;
  }

  void expect_pair(const RunOptions& from, const RunOptions& to, double tolerance) {
    SCOPED_TRACE(to_string(from.shape) + " to " + to_string(to.shape));
    const Straight straight = go_straight(from);
    on(to, [&](ResumableRun& run) { expect_near(resume(run, straight), straight, tolerance); });
  }

  c10::InferenceMode no_autograd_;
  std::string folder_;
  int rank_ = 0;
  int num_files_ = 0;
};

TEST_F(Reshape, EveryGridGoesOnFromEveryOther) {
  std::vector<Straight> straight;
  for (const GridShape& shape : kGrids)
    straight.push_back(go_straight(options_of(test::tiny_gpt2(), shape)));
  for (std::size_t to = 0; to < kGrids.size(); ++to) {
    on(options_of(test::tiny_gpt2(), kGrids[to]), [&](ResumableRun& run) {
      for (std::size_t from = 0; from < kGrids.size(); ++from) {
        SCOPED_TRACE(to_string(kGrids[from]) + " to " + to_string(kGrids[to]));
        const Trained trained = resume(run, straight[from]);
        expect_near(trained, straight[from], kFp32Tolerance);
        if (from != to) continue;
        expect_near(trained, straight[from], 0.0);  // bit for bit
        EXPECT_EQ(run.differences_from(straight[from].ended), kNone);
      }
    });
  }
}

TEST_F(Reshape, LlamaWithSharedKeysGoesRound) {
  constexpr std::array<GridShape, 7> kRound = {
      {{1, 1, 1}, {2, 2, 2}, {1, 4, 1}, {1, 1, 4}, {2, 1, 2}, {8, 1, 1}, {1, 4, 2}}};
  for (std::size_t i = 0; i < kRound.size(); ++i)
    expect_pair(options_of(test::tiny_llama(), kRound[i]),
                options_of(test::tiny_llama(), kRound[(i + 1) % kRound.size()]), kFp32Tolerance);
}

TEST_F(Reshape, OtherMicroBatchesAndSchedule) {
  RunOptions from{.model = test::tiny_gpt2(), .shape = {1, 2, 2}, .micro_batch_size = 2};
  RunOptions to = from;
  to.schedule = PipelineSchedule::kGpipe;
  expect_pair(from, to, kFp32Tolerance);
  to.micro_batch_size = 1;
  expect_pair(from, to, kFp32Tolerance);
  to.shape = {2, 1, 2};
  to.micro_batch_size = 4;
  expect_pair(from, to, kFp32Tolerance);
}

// Master weights and moments are fp32 either way: the file is the same, the losses are near.
TEST_F(Reshape, BetweenFp32AndBf16) {
  RunOptions fp32 = options_of(test::tiny_gpt2(), {2, 2, 1});
  RunOptions bf16 = fp32;
  bf16.dtype = at::kBFloat16;
  expect_pair(fp32, bf16, kBf16Tolerance);
  expect_pair(bf16, fp32, kBf16Tolerance);
  bf16.shape = {1, 1, 4};
  expect_pair(fp32, bf16, kBf16Tolerance);
  expect_pair(bf16, fp32, kBf16Tolerance);
}

// Replicas share the writing of tensors from a megabyte on, which the tiny models do not have.
TEST_F(Reshape, LargeTensorsOfReplicas) {
  RunOptions options{.model = test::tiny_gpt2()};
  options.model.num_layers = 2;
  options.model.hidden_size = 128;
  options.model.vocab_size = 4301;
  options.model.seq_length = 2050;  // positions are whole on each rank
  for (const GridShape& shape : {GridShape{2, 2, 2}, GridShape{4, 2, 1}, GridShape{8, 1, 1}}) {
    SCOPED_TRACE(to_string(shape));
    for (const bool from_a_copy : {false, true}) {
      const std::string file = folder_ + "/large.h5";
      options.shape = shape;
      on(options, [&](ResumableRun& run) {
        run.make_up_moments();
        run.save(file, from_a_copy);
        EXPECT_EQ(run.differences_from(CheckpointReader(file).tensors()), kNone);
      });
      options.shape = {1, 2, 2};
      on(options, [&](ResumableRun& run) {
        run.load(file);
        EXPECT_EQ(run.differences_from(CheckpointReader(file).tensors()), kNone);
      });
    }
  }
}

}  // namespace
}  // namespace cuboid
