// Weights are logical: every parameter has a global name, a global shape and a slice that this rank
// owns. A Weight is the physical tensor that a layer multiplies with; it holds the local slices of
// one or more logical parameters stacked along dim 0 (query, key and value, say).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "cuboid/collective/communicator.hpp"
#include "cuboid/grid/shape.hpp"
#include "cuboid/kernels/gradient_target.hpp"

namespace cuboid {

enum class Init : unsigned char { kNormal, kZeros, kOnes };

struct LogicalParameter {
  std::string name;                 // "layers.3.attention.query.weight"
  std::vector<std::int64_t> shape;  // of the whole tensor, without padding
  int shard_dim = -1;               // the dim that TP splits; -1: every TP rank holds the whole
  Range shard{};                    // this rank's part of shard_dim (unused when replicated)
  Init init = Init::kZeros;
  double init_std = 0.0;       // of kNormal
  bool is_copy = false;        // another stage owns it (the tied embedding on the last stage)
  std::int64_t row_begin = 0;  // where its rows begin in the Weight; set by WeightStore

  // Rows (dim 0) and elements of this rank's slice.
  [[nodiscard]] std::int64_t local_rows() const { return shard_dim == 0 ? shard.size() : shape[0]; }
  [[nodiscard]] std::vector<std::int64_t> local_shape() const;
  [[nodiscard]] std::vector<std::int64_t> local_offset() const;
};

struct Weight {
  std::vector<LogicalParameter> parts;
  std::vector<std::int64_t> shape;  // local and physical: rows of all parts, and of padding, if any
  bool decays = false;              // weight decay: matrices only
  bool gradient_only = false;  // a second gradient of a tied weight; it has no value of its own

  at::Tensor value;         // [shape], compute dtype
  at::Tensor gradient;      // [shape], fp32 (fp64 for a fp64 model): a view of the flat gradients
  std::int64_t offset = 0;  // of the first element in the flat buffers
  // True until the step's first contribution, which overwrites instead of adding: no zeroing pass.
  bool fresh = true;

  [[nodiscard]] std::int64_t count() const;
  // gradient += dy^T x, for dy [tokens, rows] and x [tokens, columns].
  void accumulate_product(const at::Tensor& dy, const at::Tensor& x);
  // gradient += g, for g of this shape and any floating dtype.
  void accumulate(const at::Tensor& g);
  // Where a kernel adds the next contribution itself; it counts as made.
  [[nodiscard]] GradientTarget contribution();
};

// The same, nowhere without a weight.
inline GradientTarget contribution_to(Weight* weight) {
  return weight != nullptr ? weight->contribution() : GradientTarget{};
}

// Owns the flat buffers of one rank: values in compute dtype, master weights (the same memory
// unless the model is bf16) and gradients in fp32. Order: matrices that decay, then the other
// values, then gradient-only weights, each in the order of their addition.
class WeightStore {
 public:
  // Adds a weight with these parts stacked along dim 0; `padding_rows` more rows hold zeros.
  // The reference stays valid. Only before allocate().
  Weight& add(std::vector<LogicalParameter> parts, std::int64_t padding_rows = 0);
  // A gradient of the same shape as `like` that is added to it at the end of a step.
  Weight& add_gradient_only(const Weight& like);

  // Allocates and initialises: element i of parameter `name` is a pure function of (seed, name, i)
  // over the whole tensor, the same on every grid. compute: kFloat, kBFloat16 or kDouble (tests).
  // Gradients lie in memory of `reduces_gradients` where that is given and the device is the CPU:
  // then it must outlive the store, and this is collective over it.
  void allocate(at::ScalarType compute, at::Device device, std::uint64_t seed,
                Communicator* reduces_gradients = nullptr);

  [[nodiscard]] const std::vector<std::unique_ptr<Weight>>& weights() const { return weights_; }
  // [num_values]; elements [0, num_decaying) belong to matrices that decay.
  [[nodiscard]] const at::Tensor& master() const { return master_; }
  [[nodiscard]] const at::Tensor& values() const { return values_; }
  // [num_values + gradient-only elements]
  [[nodiscard]] const at::Tensor& gradients() const { return gradients_; }
  [[nodiscard]] std::int64_t num_values() const { return num_values_; }
  [[nodiscard]] std::int64_t num_decaying() const { return num_decaying_; }

  // Marks every gradient fresh (start of a step).
  void reset_gradients();
  // Copies master weights into the compute dtype (end of a step; nothing to do in fp32).
  void refresh_values();
  // A view of `part` (without padding) in `flat`, which is laid out like master(): [local_shape].
  [[nodiscard]] static at::Tensor local_part(const at::Tensor& flat, const Weight& weight,
                                             const LogicalParameter& part);

 private:
  std::vector<std::unique_ptr<Weight>> weights_;
  at::Tensor master_, values_, gradients_;
  std::int64_t num_values_ = 0;
  std::int64_t num_decaying_ = 0;
};

}  // namespace cuboid
