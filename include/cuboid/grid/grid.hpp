// The grid over MPI: splits one communicator into the axes. Everything that talks is built from
// these communicators, NCCL's included.
#pragma once

#include <mpi.h>

#include <source_location>

#include "cuboid/base/handle.hpp"
#include "cuboid/grid/shape.hpp"

namespace cuboid {

struct MpiCommTraits {
  using Type = MPI_Comm;
  static Type null() { return MPI_COMM_NULL; }
  static void release(Type comm) noexcept;
};
using MpiComm = Handle<MpiCommTraits>;

// Throws SystemError with MPI's own text when `code` is not MPI_SUCCESS.
void check_mpi(int code, std::source_location where = std::source_location::current());

// This process's rank in a communicator, and how many ranks it has.
int rank_in(MPI_Comm comm);
int size_of_comm(MPI_Comm comm);

// Collective over `world`, whose size must be shape.size(). Each member is a communicator of the
// ranks that differ from this one in that axis (or plane) only; rank order follows the axis.
class Grid {
 public:
  Grid(MPI_Comm world, const GridShape& shape);

  [[nodiscard]] const GridShape& shape() const { return shape_; }
  [[nodiscard]] const GridCoordinate& at() const { return at_; }
  [[nodiscard]] int rank() const { return rank_; }
  [[nodiscard]] bool is_first_stage() const { return at_.pp == 0; }
  [[nodiscard]] bool is_last_stage() const { return at_.pp == shape_.pp - 1; }

  [[nodiscard]] MPI_Comm world() const { return world_.get(); }
  [[nodiscard]] MPI_Comm dp() const { return dp_.get(); }
  [[nodiscard]] MPI_Comm tp() const { return tp_.get(); }
  [[nodiscard]] MPI_Comm pp() const { return pp_.get(); }
  // TP x PP of one replica: the gradient norm is summed here.
  [[nodiscard]] MPI_Comm model_parallel() const { return model_parallel_.get(); }
  // First and last stage of one pipeline (tied embeddings); a communicator of one rank elsewhere,
  // and where there is one stage.
  [[nodiscard]] MPI_Comm ends() const { return ends_.get(); }
  // This stage with the one before (rank 0 is the earlier), and with the one after. One rank where
  // there is no such neighbour.
  [[nodiscard]] MPI_Comm with_previous() const { return with_previous_.get(); }
  [[nodiscard]] MPI_Comm with_next() const { return with_next_.get(); }

 private:
  GridShape shape_;
  GridCoordinate at_;
  int rank_ = 0;
  MpiComm world_, dp_, tp_, pp_, model_parallel_, ends_, with_previous_, with_next_;
};

}  // namespace cuboid
