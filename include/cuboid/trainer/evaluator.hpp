// The loss of a model on validation data: forward passes alone.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "cuboid/collective/grid_communicators.hpp"
#include "cuboid/config/config.hpp"
#include "cuboid/data/token_sequence.hpp"
#include "cuboid/grid/grid.hpp"
#include "cuboid/model/stage.hpp"
#include "cuboid/pipeline/executor.hpp"

namespace cuboid {

// What the ranks know of a step's loss together.
struct LossTotal {
  double loss = 0.0;       // mean over the global batch's tokens, in nats
  bool attention = false;  // some rank wants all to talk
};

// Collective: adds up the last stages' losses of a step (each gives its stage's), and who wants
// attention.
LossTotal add_up_losses(const Config& config, const Grid& grid, GridCommunicators& communicators,
                        double loss_sum, bool attention);

class Evaluator {
 public:
  // `config` is resolved; the others must outlive this. `wants_attention`: asked on every rank
  // after each batch.
  Evaluator(
      const Config& config, const Grid& grid, GridCommunicators& communicators, Stage& stage,
      PipelineExecutor& executor, std::function<bool()> wants_attention = [] { return false; });

  // Mean loss over --eval-steps global batches, spread evenly over `validation`, without gradients
  // or dropout: the same on every grid. None where it was cut short because some rank wants
  // attention. Collective.
  std::optional<double> run(const TokenSplit& validation);

  // Batches of one evaluation: --eval-steps, or fewer where the data are short.
  [[nodiscard]] std::int64_t num_batches(const TokenSplit& validation) const;

 private:
  Config config_;
  const Grid& grid_;
  GridCommunicators& communicators_;
  Stage& stage_;
  PipelineExecutor& executor_;
  std::function<bool()> wants_attention_;
  std::vector<Action> schedule_;
};

}  // namespace cuboid
