// A training run that is saved, loaded and continued, for tests: what Trainer does about its state,
// without what it prints, on any communicator.
#pragma once

#include <mpi.h>

#include <string>
#include <vector>

#include "cuboid/data/batch_loader.hpp"
#include "cuboid/trainer/state.hpp"
#include "trainer/harness.hpp"

namespace cuboid::test {

struct Trained {
  std::vector<double> losses;
  std::vector<std::string> sample_digests;  // of each step's global batch
};

class ResumableRun {
 public:
  // Collective over `world`, of options.shape.size() ranks. Learns from the tokens of a file.
  ResumableRun(MPI_Comm world, const RunOptions& options, const std::string& token_file);

  // The next steps. Collective.
  Trained train(std::int64_t steps);
  // Saves or loads weights, moments and how far the run has come. Collective.
  void save(const std::string& path, bool from_a_copy = false);
  void load(const std::string& path);

  // Names of the tensors, as a file lists them, whose digests are not those of the memory of this
  // run's ranks, where the boxes of all ranks are added up; "replicas of ..." where data-parallel
  // ranks do not hold the same bits. Collective; the same on all ranks.
  [[nodiscard]] std::vector<std::string> differences_from(const std::vector<TensorInfo>& tensors);

  // Puts other values everywhere, so that what a load leaves out shows. CPUs only.
  void scramble();
  // Gives the moments values without training. CPUs only.
  void make_up_moments();

 private:
  [[nodiscard]] std::vector<std::string> replicas_that_differ();

  Config config_;
  Grid grid_;
  GridCommunicators communicators_;
  Stage stage_;
  TrainStep step_;
  BatchReader reader_;
  std::int64_t completed_ = 0;
  std::int64_t consumed_ = 0;
};

// The file that runs learn from: something to learn, in ids below the tiny models' vocabulary.
void write_tokens(const std::string& path, const ModelConfig& model);

}  // namespace cuboid::test
