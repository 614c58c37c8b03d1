#include "cuboid/checkpoint/tensor_writer.hpp"

#include <fcntl.h>

#include <cstdint>
#include <span>

#include "cuboid/checkpoint/agreement.hpp"
#include "cuboid/checkpoint/exchange.hpp"
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

Hdf5File open_parallel(const std::string& path, MPI_Comm comm, const std::string& what) {
  const Hdf5Properties access = make_properties(H5P_FILE_ACCESS);
  check_hdf5(H5Pset_fapl_mpio(access.get(), comm, MPI_INFO_NULL), what);
  return Hdf5File(check_hdf5(H5Fopen(path.c_str(), H5F_ACC_RDWR, access.get()), what));
}

// What MPI-IO says of a failed write leaves the reason out: finds it. The file is lost anyway.
void add_reason(Outcome& outcome, const std::string& path, const Hdf5Dataset& dataset) {
  const haddr_t begin = H5Dget_offset(dataset.get());
  if (outcome.kind != Outcome::Kind::kSystem || begin == HADDR_UNDEF) return;
  const auto at = static_cast<std::int64_t>(begin);
  const auto bytes = static_cast<std::int64_t>(H5Dget_storage_size(dataset.get()));
  const std::string reason = why_not_written(path, at, at + bytes);
  if (!reason.empty()) outcome.problems.front() += ": " + reason;
}

// Writes this rank's runs of one tensor. Nothing here waits for another rank, except the exchange,
// which is made also after a failure.
class TensorWriter {
 public:
  TensorWriter(const std::string& path, MPI_Comm comm, const Hdf5File& file,
               const PlannedTensor& tensor, std::int64_t exchange_bytes, const std::string& what)
      : path_(path),
        comm_(comm),
        file_(file),
        tensor_(tensor.info),
        holders_(tensor.holders),
        exchange_bytes_(exchange_bytes),
        what_(what + ", tensor '" + tensor.info.name + "'") {}

  Outcome write(const std::vector<const TensorSlice*>& mine) {
    if (mine.empty()) return {};
    outcome_ = attempt([&] {
      dataset_ =
          Hdf5Dataset(check_hdf5(H5Dopen2(file_.get(), tensor_.name.c_str(), H5P_DEFAULT), what_));
    });
    if (holders_.empty()) {
      for (const TensorSlice* slice : mine) write_box(slice->box(), slice->data.data);
      return outcome_;
    }
    for (const Range rows : row_batches(tensor_, holders_.size(), exchange_bytes_)) {
      for (const Portion& portion : exchange(comm_, tensor_, holders_, mine, rows))
        write_box(portion.box, portion.bytes.data());
    }
    return outcome_;
  }

 private:
  void write_box(const Box& box, const void* data) {
    if (outcome_.kind != Outcome::Kind::kGood) return;
    outcome_ = attempt([&] {
      const auto width = static_cast<std::int64_t>(size_of(tensor_.dtype));
      const auto* at = static_cast<const std::byte*>(data);
      for (const Box& piece : pieces_of(box, kMaxPieceBytes / width)) {
        const Hdf5Space file_space = make_space(tensor_.shape);
        select(file_space, piece);
        const std::int64_t count = volume(piece.extent);
        const Hdf5Space memory_space = make_space(std::vector{count});
        // H5P_DEFAULT: each rank by itself (independent transfer).
        check_hdf5(H5Dwrite(dataset_.get(), hdf5_type_of(tensor_.dtype), memory_space.get(),
                            file_space.get(), H5P_DEFAULT, at),
                   what_);
        at += count * width;
      }
    });
    if (outcome_.kind != Outcome::Kind::kGood) add_reason(outcome_, path_, dataset_);
  }

  const std::string& path_;
  MPI_Comm comm_;
  const Hdf5File& file_;
  const TensorInfo& tensor_;
  std::span<const Holder> holders_;
  std::int64_t exchange_bytes_;
  std::string what_;
  Hdf5Dataset dataset_;
  Outcome outcome_;
};

}  // namespace

void write_tensors(const std::string& path, MPI_Comm comm, const SavePlan& plan,
                   std::int64_t exchange_bytes, const std::string& what) {
  // Opening by MPI-IO is collective and may hang where some rank cannot: each tries by itself
  // first.
  together(comm, [&] { open_file(path, O_RDWR, what).reset(); });
  Hdf5File file;
  together(comm, [&] { file = open_parallel(path, comm, what); });
  Outcome outcome;
  std::int64_t bytes = 0;
  for (std::size_t t = 0; t < plan.tensors.size(); ++t) {
    const PlannedTensor& tensor = plan.tensors[t];
    Outcome next = TensorWriter(path, comm, file, tensor, exchange_bytes, what).write(plan.mine[t]);
    if (outcome.kind == Outcome::Kind::kGood) outcome = std::move(next);
    bytes += volume(tensor.info.shape) * static_cast<std::int64_t>(size_of(tensor.info.dtype));
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
