// ranks: 1 2 4 8
// timeout: 180
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>

#include "cuboid/checkpoint/digest.hpp"
#include "cuboid/checkpoint/folder.hpp"
#include "cuboid/checkpoint/load.hpp"
#include "cuboid/checkpoint/reader.hpp"
#include "cuboid/checkpoint/save.hpp"
#include "fixture.hpp"

namespace cuboid::testing_checkpoint {
namespace {

class SaveLoad : public CheckpointTest {};

TEST_F(SaveLoad, EverySlicingLoadsWhatEveryOtherSaved) {
  const auto model = small_model();
  std::map<std::string, std::set<std::uint64_t>> digests;
  // Few bytes at a time, so that boxes of columns are traded in many batches.
  const SaveOptions options{.exchange_bytes = 4000};
  for (const Slicing saved : kSlicings) {
    const std::string file = checkpoint_path(folder_, static_cast<int>(saved));
    save_checkpoint(file, MPI_COMM_WORLD, slices_of(model, saved, true).list, some_metadata(),
                    options);
    for (const Slicing loaded : kSlicings) {
      const Slices slices = slices_of(model, loaded, false);
      load_checkpoint(file, MPI_COMM_WORLD, slices.list, {.exchange_bytes = 4000});
      expect_filled(slices, std::to_string(static_cast<int>(saved)) + " -> " +
                                std::to_string(static_cast<int>(loaded)));
    }
    const CheckpointReader reader(file);
    for (const TensorInfo& tensor : reader.tensors()) digests[tensor.name].insert(tensor.digest);
    MPI_Barrier(MPI_COMM_WORLD);
  }
  EXPECT_EQ(digests.size(), model.size());
  for (const auto& [name, values] : digests) EXPECT_EQ(values.size(), 1U) << name;
}

TEST_F(SaveLoad, AnyBoxCanBeLoaded) {
  const auto model = small_model();
  const std::string file = path("c.h5");
  save_checkpoint(file, MPI_COMM_WORLD, slices_of(model, Slicing::kRows, true).list,
                  some_metadata());
  // Boxes that overlap and leave gaps: the tensors are verified all the same.
  Slices slices;
  slices.owned.reserve(model.size());
  for (const Tensor& tensor : model) {
    Box box = whole(tensor.shape);
    for (std::size_t d = 0; d < tensor.shape.size(); ++d) {
      box.offset[d] = std::min<std::int64_t>(tensor.shape[d], world_rank() % 3);
      box.extent[d] = (tensor.shape[d] - box.offset[d] + 1) / 2;
    }
    slices.owned.push_back(make_slice(tensor.name, tensor.dtype, tensor.shape, box, false));
    slices.list.push_back(slices.owned.back().slice);
  }
  load_checkpoint(file, MPI_COMM_WORLD, slices.list);
  expect_filled(slices);
}

// As of a pipeline: each tensor is known to one rank only, and a group may be left alone.
TEST_F(SaveLoad, RanksMayHoldDifferentTensors) {
  const auto model = small_model();
  const auto mine = [&](bool filled) {
    std::vector<Tensor> some;
    for (std::size_t t = 0; t < model.size(); ++t)
      if (static_cast<int>(t) % world_size() == world_rank()) some.push_back(model[t]);
    Slices slices;
    slices.owned.reserve(some.size());
    for (const Tensor& tensor : some) {
      slices.owned.push_back(
          make_slice(tensor.name, tensor.dtype, tensor.shape, whole(tensor.shape), filled));
      slices.list.push_back(slices.owned.back().slice);
    }
    return slices;
  };
  const std::string file = path("c.h5");
  save_checkpoint(file, MPI_COMM_WORLD, mine(true).list, some_metadata());
  const Slices slices = mine(false);
  load_checkpoint(file, MPI_COMM_WORLD, slices.list);
  expect_filled(slices);

  std::vector<Tensor> parameters = model;
  std::erase_if(parameters, [](const Tensor& t) { return !t.name.starts_with("parameters/"); });
  const Slices only = slices_of(parameters, Slicing::kColumns, false);
  load_checkpoint(file, MPI_COMM_WORLD, only.list);
  expect_filled(only);
}

TEST_F(SaveLoad, MetadataComesBack) {
  const std::string file = path("c.h5");
  const Metadata saved = some_metadata();
  save_checkpoint(file, MPI_COMM_WORLD, slices_of(small_model(), Slicing::kRows, true).list, saved);
  const Slices slices = slices_of(small_model(), Slicing::kRows, false);
  const Metadata loaded = load_checkpoint(file, MPI_COMM_WORLD, slices.list);
  const Metadata read = read_metadata(file);
  for (const Metadata* m : {&loaded, &read}) {
    EXPECT_EQ(m->step, saved.step);
    EXPECT_EQ(m->consumed_samples, saved.consumed_samples);
    EXPECT_EQ(m->tokens, saved.tokens);
    EXPECT_EQ(m->seed, saved.seed);
    EXPECT_EQ(m->sample_digest, saved.sample_digest);
    EXPECT_EQ(m->grid, saved.grid);
    EXPECT_EQ(m->options, saved.options);
    EXPECT_EQ(m->state, saved.state);
    ASSERT_EQ(m->versions.size(), 3U);
    EXPECT_EQ(m->versions[0], saved.versions[0]);
    EXPECT_EQ(m->versions[1].first, "hdf5");
    EXPECT_EQ(m->versions[2].first, "mpi");
    EXPECT_EQ(m->time.size(), 20U);
    EXPECT_FALSE(m->hostname.empty());
    ASSERT_EQ(m->ranks.size(), static_cast<std::size_t>(world_size()));
    EXPECT_EQ(m->ranks[0], "dp 0, tp 0, pp 0 on " + m->hostname);
  }
  const std::vector<const Metadata*> with_history =
      world_rank() == 0 ? std::vector{&loaded, &read} : std::vector{&read};
  for (const Metadata* m : with_history) {
    EXPECT_EQ(m->history.step, saved.history.step);
    EXPECT_EQ(m->history.loss, saved.history.loss);
    EXPECT_EQ(m->history.grad_norm, saved.history.grad_norm);
    EXPECT_EQ(m->history.learning_rate, saved.history.learning_rate);
    EXPECT_EQ(m->history.consumed_samples, saved.history.consumed_samples);
  }
}

TEST_F(SaveLoad, ASecondSaveReplacesTheFirst) {
  const std::string file = path("c.h5");
  Metadata metadata = some_metadata();
  save_checkpoint(file, MPI_COMM_WORLD, slices_of(small_model(), Slicing::kRows, true).list,
                  metadata);
  metadata.step = 121;
  metadata.history = {};
  if (world_rank() == 0) write_bytes(partial_path(file), {'l', 'e', 'f', 't'});
  MPI_Barrier(MPI_COMM_WORLD);
  save_checkpoint(file, MPI_COMM_WORLD, slices_of(small_model(), Slicing::kColumns, true).list,
                  metadata, {.reserve_space = false});
  EXPECT_EQ(read_metadata(file).step, 121);
  EXPECT_TRUE(read_metadata(file).history.step.empty());
  EXPECT_EQ(files(), std::vector<std::string>{"c.h5"});
}

TEST_F(SaveLoad, ALinkAtThePartialNameIsNotFollowed) {
  const std::string file = path("c.h5");
  if (world_rank() == 0) {
    write_bytes(path("precious"), {'p'});
    std::filesystem::create_symlink(path("precious"), partial_path(file));
  }
  MPI_Barrier(MPI_COMM_WORLD);
  save_checkpoint(file, MPI_COMM_WORLD, slices_of(small_model(), Slicing::kRows, true).list,
                  some_metadata());
  EXPECT_EQ(file_bytes(path("precious")), std::vector<char>{'p'});
  EXPECT_FALSE(std::filesystem::is_symlink(file));
}

TEST_F(SaveLoad, SlicesThatContradictAreRefusedOnAllRanks) {
  const auto save = [&](const std::vector<TensorSlice>& slices, Metadata metadata) {
    return error_of<std::logic_error>(
        [&] { save_checkpoint(path("c.h5"), MPI_COMM_WORLD, slices, metadata); });
  };
  const Tensor tensor{"parameters/x", DType::kFloat32, {8, 4}};
  const bool is_last = world_rank() == world_size() - 1;
  Slices gap = slices_of({tensor}, Slicing::kRows, true);
  if (is_last) gap.list[0].writes = false;
  EXPECT_NE(save(gap.list, some_metadata()).find("'parameters/x' cover it exactly once"),
            std::string::npos);

  Slices shape = slices_of({tensor}, Slicing::kRows, true);
  Slices other = slices_of({{"parameters/x", DType::kFloat32, {8, 5}}}, Slicing::kRows, true);
  if (is_last) shape = std::move(other);
  if (world_size() > 1) {
    EXPECT_NE(save(shape.list, some_metadata()).find("with one dtype and shape"),
              std::string::npos);
  }

  Slices invalid = slices_of({tensor}, Slicing::kRows, true);
  if (is_last) invalid.list[0].data.count -= 1;
  EXPECT_NE(save(invalid.list, some_metadata()).find("as many elements as its box"),
            std::string::npos);

  Metadata wrong_grid = some_metadata();
  wrong_grid.grid.tp = 3;
  EXPECT_NE(save(slices_of({tensor}, Slicing::kRows, true).list, wrong_grid).find("as many ranks"),
            std::string::npos);
  EXPECT_TRUE(files().empty());
}

TEST_F(SaveLoad, AllMismatchesAreListedOnAllRanks) {
  const std::string file = path("c.h5");
  save_checkpoint(file, MPI_COMM_WORLD, slices_of(small_model(), Slicing::kRows, true).list,
                  some_metadata());
  auto model = small_model();
  model[0].shape = {68, 24};
  model[3].dtype = DType::kFloat32;
  model[7].name = "optimizer/small";
  const Slices slices = slices_of(model, Slicing::kRows, false);
  const std::string text =
      error_of<UsageError>([&] { load_checkpoint(file, MPI_COMM_WORLD, slices.list); });
  const std::string start = "checkpoint '" + file + "': tensor '";
  EXPECT_EQ(text, start +
                      "parameters/embedding.token.weight' is fp32 [67, 24] in the file; fp32 "
                      "[68, 24] is wanted\n" +
                      start +
                      "parameters/layers.0.norm.weight' is bf16 [5, 3, 7] in the file; "
                      "fp32 [5, 3, 7] is wanted\n" +
                      start + "optimizer/small' is not in the file; fp32 [300, 1000] is wanted");

  auto fewer = small_model();
  fewer.erase(fewer.begin() + 1);
  const Slices some = slices_of(fewer, Slicing::kRows, false);
  EXPECT_EQ(error_of<UsageError>([&] { load_checkpoint(file, MPI_COMM_WORLD, some.list); }),
            start +
                "parameters/layers.0.mlp.up.weight' is fp32 [96, 24] in the file; no such "
                "tensor is wanted");
}

TEST(CheckpointPath, NameAndStep) {
  EXPECT_EQ(checkpoint_path("out", 100), "out/checkpoint-100.h5");
  EXPECT_EQ(step_of_checkpoint("checkpoint-100.h5"), 100);
  EXPECT_EQ(step_of_checkpoint("checkpoint-0.h5"), 0);
  for (const char* name :
       {"checkpoint-.h5", "checkpoint-1.h5.partial", "checkpoint-01.h5", "checkpoint--1.h5",
        "checkpoint-1x.h5", "checkpoint-1", "x-1.h5", "checkpoint-99999999999999999999.h5"})
    EXPECT_FALSE(step_of_checkpoint(name).has_value()) << name;
}

}  // namespace
}  // namespace cuboid::testing_checkpoint
