#include "cuboid/grid/grid.hpp"

#include "cuboid/base/error.hpp"

namespace cuboid {
namespace {

MpiComm split(MPI_Comm parent, int color, int key) {
  MpiComm part;
  check_mpi(MPI_Comm_split(parent, color, key, part.out()));
  // Failures come back as codes, so that one place (app/) reports them and aborts.
  check_mpi(MPI_Comm_set_errhandler(part.get(), MPI_ERRORS_RETURN));
  return part;
}

}  // namespace

void MpiCommTraits::release(Type comm) noexcept {
  int finalized = 0;
  MPI_Finalized(&finalized);
  if (finalized == 0) MPI_Comm_free(&comm);
}

void check_mpi(int code, std::source_location where) {
  if (code == MPI_SUCCESS) return;
  char text[MPI_MAX_ERROR_STRING] = {};
  int length = 0;
  MPI_Error_string(code, text, &length);
  throw SystemError(std::string("MPI: ") + text, where);
}

int rank_in(MPI_Comm comm) {
  int rank = 0;
  check_mpi(MPI_Comm_rank(comm, &rank));
  return rank;
}

int size_of_comm(MPI_Comm comm) {
  int size = 0;
  check_mpi(MPI_Comm_size(comm, &size));
  return size;
}

Grid::Grid(MPI_Comm world, const GridShape& shape) : shape_(shape) {
  require(size_of_comm(world) == shape.size(), "a grid covers its communicator");
  check_mpi(MPI_Comm_rank(world, &rank_));
  at_ = coordinate_of(shape, rank_);
  const int line = at_.dp * shape.tp + at_.tp;  // which pipeline this rank is in
  const int num_lines = shape.dp * shape.tp;
  world_ = split(world, 0, rank_);
  dp_ = split(world, at_.pp * shape.tp + at_.tp, at_.dp);
  tp_ = split(world, at_.pp * shape.dp + at_.dp, at_.tp);
  pp_ = split(world, line, at_.pp);
  model_parallel_ = split(world, at_.dp, rank_);
  // Stages between the ends get colours of their own, one rank each.
  const bool end = is_first_stage() || is_last_stage();
  ends_ = split(world, end ? line : num_lines + rank_, at_.pp);
  // Neighbours in pairs: each rank takes part in both splits, as the later stage and the earlier.
  const auto pair = [&](int earlier_stage) { return earlier_stage * num_lines + line; };
  const int alone = shape.pp * num_lines + rank_;
  const bool even = at_.pp % 2 == 0;
  const bool has_next = !is_last_stage();
  const bool has_previous = !is_first_stage();
  // Pairs (0,1), (2,3), ... first, then (1,2), (3,4), ...
  MpiComm first = split(world, even ? (has_next ? pair(at_.pp) : alone) : pair(at_.pp - 1), at_.pp);
  MpiComm second = split(
      world, even ? (has_previous ? pair(at_.pp - 1) : alone) : (has_next ? pair(at_.pp) : alone),
      at_.pp);
  if (!even) std::swap(first, second);
  with_next_ = std::move(first);
  with_previous_ = std::move(second);
}

}  // namespace cuboid
