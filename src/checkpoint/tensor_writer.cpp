#include "cuboid/checkpoint/tensor_writer.hpp"

#include <fcntl.h>

#include <algorithm>
#include <optional>

#include "cuboid/checkpoint/agreement.hpp"
#include "cuboid/checkpoint/file.hpp"
#include "cuboid/checkpoint/hdf5.hpp"
#include "cuboid/grid/grid.hpp"

namespace cuboid {
namespace {

// MPI-IO counts bytes in ints: a rank writes at most this much a call.
constexpr std::int64_t kMaxPieceBytes = std::int64_t{512} << 20;
// The ranks compare their results each time the tensors written reach so much, so that a full disk
// is noticed long before the last tensor.
constexpr std::int64_t kAgreementBytes = std::int64_t{1} << 30;

struct Piece {
  Box box;
  const void* data;
};

std::vector<Piece> pieces_of_tensor(const std::vector<const TensorSlice*>& slices) {
  std::vector<Piece> pieces;
  for (const TensorSlice* slice : slices) {
    const auto element_bytes = static_cast<std::int64_t>(size_of(slice->dtype));
    std::int64_t begin = 0;
    for (Box& box : pieces_of(slice->box(), kMaxPieceBytes / element_bytes)) {
      const std::int64_t count = volume(box.extent);
      pieces.push_back({std::move(box), cuboid::slice(slice->data, begin, count).data});
      begin += count;
    }
  }
  return pieces;
}

// For each tensor, in how many calls this rank takes part: as many as any rank has pieces where
// the ranks write it together.
std::vector<int> rounds_of(MPI_Comm comm, const SavePlan& plan) {
  std::vector<int> mine(plan.tensors.size(), 0);
  for (std::size_t t = 0; t < mine.size(); ++t)
    mine[t] = static_cast<int>(pieces_of_tensor(plan.mine[t]).size());
  std::vector<int> most(mine.size(), 0);
  check_mpi(MPI_Allreduce(mine.data(), most.data(), static_cast<int>(mine.size()), MPI_INT, MPI_MAX,
                          comm));
  for (std::size_t t = 0; t < mine.size(); ++t)
    if (plan.tensors[t].is_strided) mine[t] = most[t];
  return mine;
}

Hdf5File open_parallel(const std::string& path, MPI_Comm comm, const std::string& what) {
  const Hdf5Properties access = make_properties(H5P_FILE_ACCESS);
  check_hdf5(H5Pset_fapl_mpio(access.get(), comm, MPI_INFO_NULL), what);
  // One rank reads the structure for all.
  check_hdf5(H5Pset_all_coll_metadata_ops(access.get(), 1), what);
  check_hdf5(H5Pset_coll_metadata_write(access.get(), 1), what);
  return Hdf5File(check_hdf5(H5Fopen(path.c_str(), H5F_ACC_RDWR, access.get()), what));
}

Hdf5Properties transfer_mode(H5FD_mpio_xfer_t mode, const std::string& what) {
  Hdf5Properties transfer = make_properties(H5P_DATASET_XFER);
  check_hdf5(H5Pset_dxpl_mpio(transfer.get(), mode), what);
  return transfer;
}

// Makes every call, also after one failed: other ranks may be waiting in it.
Outcome write_tensor(const Hdf5File& file, const TensorInfo& tensor,
                     const std::vector<const TensorSlice*>& slices, int rounds, hid_t transfer,
                     const std::string& what) {
  Outcome outcome;
  const auto keep_first = [&](Outcome next) {
    if (outcome.kind == Outcome::Kind::kGood) outcome = std::move(next);
  };
  Hdf5Dataset dataset;
  keep_first(attempt([&] {
    dataset = Hdf5Dataset(check_hdf5(H5Dopen2(file.get(), tensor.name.c_str(), H5P_DEFAULT), what));
  }));
  const std::vector<Piece> pieces = pieces_of_tensor(slices);
  const Piece nothing{{tensor.shape, std::vector<std::int64_t>(tensor.shape.size(), 0)}, nullptr};
  for (std::size_t r = 0; r < static_cast<std::size_t>(rounds); ++r) {
    const Piece& piece = r < pieces.size() ? pieces[r] : nothing;
    keep_first(attempt([&] {
      const Hdf5Space file_space = make_space(tensor.shape);
      select(file_space, piece.box);
      const std::int64_t count = volume(piece.box.extent);
      const Hdf5Space memory_space = make_space(std::vector{std::max<std::int64_t>(count, 1)});
      if (count == 0) check_hdf5(H5Sselect_none(memory_space.get()), what);
      const std::byte none{};
      check_hdf5(H5Dwrite(dataset.get(), hdf5_type_of(tensor.dtype), memory_space.get(),
                          file_space.get(), transfer, count == 0 ? &none : piece.data),
                 what + ", tensor '" + tensor.name + "'");
    }));
  }
  return outcome;
}

}  // namespace

void write_tensors(const std::string& path, MPI_Comm comm, const SavePlan& plan,
                   const std::string& what) {
  const std::vector<int> rounds = rounds_of(comm, plan);
  // Opening by MPI-IO is collective and may hang where some rank cannot: each tries by itself
  // first.
  together(comm, [&] { open_file(path, O_RDWR, what).reset(); });
  Hdf5File file;
  together(comm, [&] { file = open_parallel(path, comm, what); });
  const Hdf5Properties alone = transfer_mode(H5FD_MPIO_INDEPENDENT, what);
  const Hdf5Properties all_ranks = transfer_mode(H5FD_MPIO_COLLECTIVE, what);
  Outcome outcome;
  std::int64_t bytes = 0;
  for (std::size_t t = 0; t < plan.tensors.size(); ++t) {
    const auto& [tensor, is_strided] = plan.tensors[t];
    Outcome next = write_tensor(file, tensor, plan.mine[t], rounds[t],
                                is_strided ? all_ranks.get() : alone.get(), what);
    if (outcome.kind == Outcome::Kind::kGood) outcome = std::move(next);
    bytes += volume(tensor.shape) * static_cast<std::int64_t>(size_of(tensor.dtype));
    if (bytes >= kAgreementBytes) {
      agree(comm, outcome);
      bytes = 0;
    }
  }
  agree(comm, outcome);
  together(comm, [&] { check_hdf5(H5Fflush(file.get(), H5F_SCOPE_GLOBAL), what); });
  together(comm, [&] { file.close(what); });
}

}  // namespace cuboid
