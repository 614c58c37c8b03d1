// One pipeline stage of the model: a run of blocks, with the embedding before the first and the
// head after the last. Forward and backward are written out layer by layer, without a recorded
// autograd graph: weight gradients go straight into the flat buffers, and each weight is announced
// when its gradient is final, so that its reduction overlaps with the rest of the backward pass.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>

#include "cuboid/model/block.hpp"
#include "cuboid/model/cross_entropy.hpp"
#include "cuboid/model/embedding.hpp"
#include "cuboid/model/stage_compute.hpp"

namespace cuboid {

// Which part of the model: blocks [layers.begin, layers.end) of the whole.
struct StagePlace {
  Range layers;
  bool is_first = true;
  bool is_last = true;
};

// Stage `index` of `num_stages`: as even as can be, the first stages take one layer more.
StagePlace stage_place(const ModelConfig& model, int num_stages, int index);

struct MicroBatch {
  at::Tensor tokens{};            // [sequences * seq] int64 on the stage's device
  at::Tensor targets{};           // the same shape: the next tokens
  std::int64_t first_sample = 0;  // number of its first sequence in the whole run
  // One int64 on the stage's device that is added to it; undefined: none. For steps that are
  // captured once and replayed with other samples.
  at::Tensor samples_before{};
};

class Stage final : public StageCompute {
 public:
  struct Options {
    at::ScalarType dtype = at::kFloat;  // kFloat, kBFloat16, kDouble (tests)
    at::Device device = at::kCPU;
    std::uint64_t seed = 0;
    std::int64_t micro_batch_size = 1;
    AttentionKernel attention = AttentionKernel::kAuto;  // see AttentionCore::forward
    // What sums up the gradients gives them their memory (see WeightStore::allocate).
    Communicator* dp = nullptr;
  };

  // Collective over tp. Allocates and initialises the weights.
  Stage(const ModelConfig& model, const StagePlace& place, Communicator& tp,
        const Options& options);

  // Starts a step over these micro-batches. `loss_scale`: gradients are of loss_scale * (sum of the
  // tokens' losses); 0 for evaluation, which keeps nothing and applies no dropout.
  void begin_step(std::vector<MicroBatch> micro_batches, double loss_scale);
  // Forgets a step whose passes were cut short, so that another can begin.
  void abandon_step() { saved_.clear(); }
  // Sum of the losses of this step's tokens so far, in nats. Waits for the device. 0 on all but the
  // last stage.
  [[nodiscard]] double loss_sum() const;
  // The same on the device: fp64 without dims, undefined where there is none. Waits for nothing.
  [[nodiscard]] const at::Tensor& loss_on_device() const { return loss_sum_; }
  // Called with each weight whose gradient is final (during the backward of the last micro-batch).
  void on_final_gradient(std::function<void(Weight&)> listener) { listener_ = std::move(listener); }

  [[nodiscard]] std::vector<std::int64_t> boundary_shape() const override;
  [[nodiscard]] at::TensorOptions boundary_options() const override;
  at::Tensor forward(int micro_batch, const at::Tensor& input) override;
  at::Tensor backward(int micro_batch, const at::Tensor& gradient, bool is_last) override;

  // The last stage's logits of one micro-batch, without padding: [tokens, this rank's vocabulary].
  // For tests and generation; single stage or last stage with `input` from the stage before.
  [[nodiscard]] at::Tensor logits(int micro_batch, const at::Tensor& input);

  [[nodiscard]] WeightStore& store() { return store_; }
  [[nodiscard]] const StagePlace& place() const { return place_; }
  // Of the whole model.
  [[nodiscard]] std::int64_t num_layers() const { return model_.num_layers; }
  // The weight shared by embedding and head on this stage, or null (untied, or a stage between).
  [[nodiscard]] Weight* tied_weight() const { return tied_weight_; }
  // Its second gradient, where one stage holds both ends; else null.
  [[nodiscard]] Weight* tied_gradient() const { return tied_gradient_; }

 private:
  struct Saved {
    std::vector<Block::Saved> blocks;
    Norm::Saved final_norm;
    at::Tensor head_input;
    at::Tensor d_logits;
  };

  void build(Communicator& tp);
  [[nodiscard]] Residual embed_and_run_blocks(int micro_batch, const at::Tensor& input,
                                              Saved& saved);
  // Of the last of the first `num_blocks` blocks; null where there is none.
  [[nodiscard]] Weight* pending_bias(std::size_t num_blocks) const;
  [[nodiscard]] DropoutKey dropout_key(int micro_batch) const;
  [[nodiscard]] double dropout() const { return loss_scale_ != 0.0 ? model_.dropout : 0.0; }
  // Announces weights [first, last) of the store, latest first.
  void announce(bool is_last, std::size_t first, std::size_t last);

  ModelConfig model_;
  StagePlace place_;
  Options options_;
  WeightStore store_;
  std::optional<Embedding> embedding_;
  std::vector<std::unique_ptr<Block>> blocks_;
  std::vector<std::size_t>
      block_begin_;  // index of each block's first weight, and one past the last
  std::optional<Norm> final_norm_;
  std::optional<LmHead> head_;
  Weight* tied_weight_ = nullptr;
  Weight* tied_gradient_ = nullptr;
  std::function<void(Weight&)> listener_;

  std::vector<MicroBatch> micro_batches_;
  double loss_scale_ = 0.0;
  at::Tensor loss_sum_;
  std::map<int, Saved> saved_;  // by micro-batch, between its forward and backward
};

}  // namespace cuboid
