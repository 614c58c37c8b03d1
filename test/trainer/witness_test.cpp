// ranks: 1
// timeout: 300
// The same weights and data through PyTorch (test/witness, float64): logits, gradients, ten steps'
// losses, final weights. PyTorch sees only a file; nothing of Cuboid runs in it.
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <c10/core/InferenceMode.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>

#include "cuboid/checkpoint/hdf5.hpp"
#include "cuboid/model/initialize.hpp"
#include "cuboid/model/tensor_buffer.hpp"
#include "cuboid/optimizer/lr_schedule.hpp"
#include "trainer/harness.hpp"

namespace cuboid {
namespace {

// The file that test/witness/compare.py reads.
class WitnessFile {
 public:
  explicit WitnessFile(const std::string& path)
      : file_(check_hdf5(H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT), path)) {}

  Hdf5Group group(const std::string& name) {
    return Hdf5Group(check_hdf5(
        H5Gcreate2(file_.get(), name.c_str(), H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT), name));
  }

  // Names hold dots but no slashes: each is one dataset.
  void write(const std::string& group, const std::string& name, const at::Tensor& tensor) {
    const at::Tensor host = tensor.contiguous();
    const Hdf5Space space =
        make_space(std::vector<std::int64_t>(host.sizes().begin(), host.sizes().end()));
    const std::string full = group + "/" + name;
    const hid_t type = hdf5_type_of(dtype_of(host.scalar_type()));
    const Hdf5Dataset dataset(check_hdf5(H5Dcreate2(file_.get(), full.c_str(), type, space.get(),
                                                    H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT),
                                         full));
    check_hdf5(H5Dwrite(dataset.get(), type, H5S_ALL, H5S_ALL, H5P_DEFAULT, host.data_ptr()), full);
  }

  void write_all(const std::string& name, const std::map<std::string, at::Tensor>& tensors) {
    const Hdf5Group made = group(name);
    for (const auto& [tensor, value] : tensors) write(name, tensor, value);
  }

 private:
  Hdf5File file_;
};

void write_number(const Hdf5Group& group, const char* name, double value) {
  const Hdf5Space space(check_hdf5(H5Screate(H5S_SCALAR), name));
  const Hdf5Attribute attribute(check_hdf5(
      H5Acreate2(group.get(), name, H5T_NATIVE_DOUBLE, space.get(), H5P_DEFAULT, H5P_DEFAULT),
      name));
  check_hdf5(H5Awrite(attribute.get(), H5T_NATIVE_DOUBLE, &value), name);
}

void write_model(WitnessFile& file, const ModelConfig& m) {
  const Hdf5Group group = file.group("config");
  for (const auto& [name, value] : std::initializer_list<std::pair<const char*, std::int64_t>>{
           {"hidden_size", m.hidden_size},
           {"num_layers", m.num_layers},
           {"num_attention_heads", m.num_attention_heads},
           {"num_key_value_heads", m.num_key_value_heads},
           {"ffn_hidden_size", m.ffn_hidden_size},
           {"seq_length", m.seq_length},
           {"vocab_size", m.vocab_size},
           {"tie_embeddings", m.tie_embeddings ? 1 : 0},
           {"linear_bias", m.has_bias() ? 1 : 0}}) {
    write_attribute(group.get(), name, value);
  }
  write_number(group, "norm_epsilon", m.norm_epsilon);
  write_number(group, "rotary_base", m.rotary_base);
  const bool layer_norm = m.normalization == Normalization::kLayerNorm;
  write_attribute(group.get(), "normalization", std::string(layer_norm ? "layernorm" : "rmsnorm"));
  write_attribute(group.get(), "position_embedding",
                  std::string(m.has_learned_positions() ? "learned" : "rope"));
  write_attribute(group.get(), "activation",
                  std::string(m.activation == Activation::kGelu ? "gelu" : "swiglu"));
}

// Biases and norms start at zero and one, where a mistake in them would not show: move them.
void vary_vectors(WeightStore& store) {
  for (const auto& weight : store.weights()) {
    if (weight->decays || weight->gradient_only) continue;
    for (LogicalParameter part : weight->parts) {
      part.init = Init::kNormal;
      part.init_std = 0.1;
      const at::Tensor value = WeightStore::local_part(store.master(), *weight, part);
      const at::Tensor change = at::zeros(value.sizes());
      initialize(change, part, 23);
      value.add_(change);
    }
  }
  store.refresh_values();
}

// Trains for ten steps on one rank and writes down all of it.
void record(const ModelConfig& model, const std::string& path) {
  test::RunOptions options{.model = model, .shape = {1, 1, 1}, .micro_batch_size = 4, .steps = 10};
  const Config config = test::make_config(options);
  const Grid grid(MPI_COMM_SELF, options.shape);
  GridCommunicators communicators = make_grid_communicators(grid, Backend::kMpi);
  Stage stage(model, stage_place(model, 1, 0), *communicators.tp,
              {.seed = options.seed, .micro_batch_size = options.micro_batch_size});
  vary_vectors(stage.store());
  TrainStep step(config, grid, communicators, stage);
  WitnessFile file(path);
  write_model(file, model);

  const auto whole = [&](const at::Tensor& flat) {
    return test::gather(stage.store(), flat, grid, *communicators.model_parallel);
  };
  file.write_all("parameters", whole(stage.store().master()));
  std::vector<std::int64_t> tokens;
  std::vector<std::int64_t> targets;
  std::vector<double> losses;
  std::vector<double> norms;
  std::vector<double> rates;
  for (std::int64_t i = 0; i < options.steps; ++i) {
    const Batch batch = test::make_batch(config, options.shape, 0, i);
    tokens.insert(tokens.end(), batch.tokens.begin(), batch.tokens.end());
    targets.insert(targets.end(), batch.targets.begin(), batch.targets.end());
    if (i == 0) {
      const std::int64_t size = options.micro_batch_size * model.seq_length;
      std::vector<at::Tensor> logits;
      const at::Tensor all = at::tensor(batch.tokens);
      MicroBatch first;
      first.tokens = all.narrow(0, 0, size);
      MicroBatch second;
      second.tokens = all.narrow(0, size, size);
      stage.begin_step({first, second}, /*loss_scale=*/0);
      for (int m = 0; m < 2; ++m) logits.push_back(stage.logits(m, {}).clone());
      at::Tensor both = at::zeros({2 * size, model.vocab_size});
      for (int m = 0; m < 2; ++m)
        both.narrow(0, m * size, size).copy_(logits[static_cast<std::size_t>(m)]);
      file.write("/", "logits", both);
    }
    const StepResult result = step.run(batch, i);
    // As they were before clipping, which the optimizer does on its way through.
    if (i == 0) file.write_all("gradients", whole(stage.store().gradients()));
    losses.push_back(result.loss);
    norms.push_back(result.grad_norm);
    rates.push_back(learning_rate(config.optimizer, i, config.train.max_steps));
  }
  file.write_all("final", whole(stage.store().master()));
  const std::vector<std::int64_t> shape = {options.steps, options.global_batch_size,
                                           model.seq_length};
  file.write("/", "tokens", at::tensor(tokens).view(shape));
  file.write("/", "targets", at::tensor(targets).view(shape));
  file.write("/", "losses", at::tensor(losses));
  file.write("/", "grad_norms", at::tensor(norms));
  const Hdf5Group training = file.group("training");
  write_number(training, "adam_beta1", config.optimizer.adam_beta1);
  write_number(training, "adam_beta2", config.optimizer.adam_beta2);
  write_number(training, "adam_eps", config.optimizer.adam_eps);
  write_number(training, "weight_decay", config.optimizer.weight_decay);
  write_number(training, "clip_grad", config.optimizer.clip_grad);
  file.write("training", "learning_rate", at::tensor(rates));
}

void expect_witness_agrees(const ModelConfig& model, const std::string& name) {
  if (std::system("python3 -c 'import torch, h5py' 2>/dev/null") != 0) {
    GTEST_SKIP() << "python3 has no torch and h5py here";
  }
  const c10::InferenceMode no_autograd;
  const auto path = std::filesystem::temp_directory_path() / ("cuboid-witness-" + name + ".h5");
  record(model, path);
  EXPECT_EQ(std::system(("python3 test/witness/compare.py " + path.string()).c_str()), 0);
  std::filesystem::remove(path);
}

TEST(Witness, Gpt2) {
  expect_witness_agrees(test::tiny_gpt2(), "gpt2");
}
TEST(Witness, Llama) {
  expect_witness_agrees(test::tiny_llama(), "llama");
}

}  // namespace
}  // namespace cuboid
