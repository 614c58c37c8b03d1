#include "cuboid/trainer/checkpointer.hpp"

#include <ATen/Parallel.h>
#include <c10/core/InferenceMode.h>
#include <omp.h>

#include <functional>
#include <utility>

#include "cuboid/base/error.hpp"
#include "cuboid/checkpoint/agreement.hpp"
#include "cuboid/checkpoint/folder.hpp"
#include "cuboid/checkpoint/retain.hpp"
#include "cuboid/checkpoint/save.hpp"
#include "cuboid/trainer/compute_stream.hpp"

namespace cuboid {
namespace {

// Does something when a block is left, however it is left.
class Finally {
 public:
  explicit Finally(std::function<void()> action) : action_(std::move(action)) {}
  Finally(const Finally&) = delete;
  Finally& operator=(const Finally&) = delete;
  ~Finally() { action_(); }

 private:
  std::function<void()> action_;
};

}  // namespace

Checkpointer::Checkpointer(const CheckpointConfig& config, const Grid& grid,
                           const WeightStore& store, const AdamW& optimizer)
    : config_(config),
      grid_(grid),
      store_(store),
      optimizer_(optimizer),
      background_(grid.world()) {
  // The memory is there before the first save, which then only copies.
  if (config_.save_async) copy_of_shares(store_, optimizer_, grid_, copy_);
}

void Checkpointer::save(const Metadata& metadata, bool in_background) {
  finish();
  require(!has_report_, "what a save has come to is taken before the next one");
  const Timer stall;
  clock_ = stall;
  report_ = {.path = checkpoint_path(config_.output_dir, metadata.step),
             .in_background = in_background,
             .removed = {}};
  has_report_ = true;
  if (!in_background) {
    write(grid_.world(), shares_to_save(store_, optimizer_, grid_), metadata);
    report_.stall_seconds = report_.seconds;
    return;
  }
  // The thread copies on a stream of its own, which knows nothing of the update before this save.
  wait_for_stream(store_.master().device());
  is_copied_ = false;
  background_.start([this, metadata](MPI_Comm comm) {
    StateSlices state;
    together(comm, [&] { state = copy(); });
    write(comm, state, metadata);
  });
  report_.stall_seconds = stall.seconds();
}

// On the thread of a save. It leaves the processors' other cores to the training.
StateSlices Checkpointer::copy() {
  const c10::InferenceMode no_autograd;
  // ATen sets the threads of a thread that is new to it, once: what is set before does not last.
  // at::set_num_threads would be the training's as well.
  at::get_num_threads();
  omp_set_num_threads(1);
  const Finally copied([&] {
    is_copied_ = true;
    is_copied_.notify_all();
  });
  return copy_of_shares(store_, optimizer_, grid_, copy_);
}

void Checkpointer::wait_until_copied() {
  if (is_copied_) return;
  const Timer stall;
  is_copied_.wait(false);
  report_.stall_seconds += stall.seconds();
}

void Checkpointer::write(MPI_Comm comm, const StateSlices& state, const Metadata& metadata) {
  save_checkpoint(report_.path, comm, state.slices, metadata);
  report_.seconds = clock_.seconds();
  report_.removed = retain_checkpoints(
      config_.output_dir, comm, {.keep_last = config_.keep_last, .keep_every = config_.keep_every},
      metadata.step);
}

void Checkpointer::finish() {
  const Timer stall;
  background_.finish();
  report_.stall_seconds += stall.seconds();
}

std::optional<SaveReport> Checkpointer::take_report() {
  if (!has_report_ || background_.is_running() || background_.has_failed()) return std::nullopt;
  has_report_ = false;
  return report_;
}

}  // namespace cuboid
