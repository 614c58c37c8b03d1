#include "cuboid/checkpoint/tensor_writer.hpp"

#include <fcntl.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>

#include "cuboid/checkpoint/agreement.hpp"
#include "cuboid/checkpoint/exchange.hpp"
#include "cuboid/checkpoint/file.hpp"
#include "cuboid/checkpoint/hdf5.hpp"
#include "cuboid/grid/grid.hpp"

namespace cuboid {
namespace {

// Of one write: so much is soon on its way to the disk while the next is copied.
constexpr std::int64_t kPieceBytes = std::int64_t{8} << 20;
// The ranks compare their results each time the tensors written reach so much, so that a full disk
// is noticed long before the last tensor.
constexpr std::int64_t kAgreementBytes = std::int64_t{1} << 30;

// The file, opened for writing by one rank: by MPI-IO, but on its own. Opening, flushing and
// closing with the others would be collective calls that wait without rest, and for ever where one
// of the ranks fails in them.
class SharedFile {
 public:
  SharedFile(const std::string& path, std::string what)
      : what_(std::move(what)), file_(open_file(path, O_RDWR, what_)) {
    const Hdf5Properties access = make_properties(H5P_FILE_ACCESS);
    check_hdf5(H5Pset_fapl_mpio(access.get(), MPI_COMM_SELF, MPI_INFO_NULL), what_);
    hid_t id = H5Fopen(path.c_str(), H5F_ACC_RDWR, access.get());
    if (id < 0) {
      // MPI-IO does not say why, and may only have been interrupted.
      open_file(path, O_RDWR, what_).reset();
      id = H5Fopen(path.c_str(), H5F_ACC_RDWR, access.get());
    }
    hdf5_ = Hdf5Open(check_hdf5(id, what_));
  }

  // Writes a box that is one run of the tensor.
  void write(const TensorInfo& tensor, const Box& box, const std::byte* data) {
    const std::string what = what_ + ", tensor '" + tensor.name + "'";
    const Hdf5Dataset dataset(
        check_hdf5(H5Dopen2(hdf5_.get(), tensor.name.c_str(), H5P_DEFAULT), what));
    const haddr_t begin = H5Dget_offset(dataset.get());
    if (begin == HADDR_UNDEF) throw SystemError(what + ": it has no place in the file");
    const auto width = static_cast<std::int64_t>(size_of(tensor.dtype));
    for (const Box& piece : pieces_of(box, kPieceBytes / width)) {
      const std::int64_t bytes = volume(piece.extent) * width;
      std::int64_t offset = 0;
      for_each_run(piece, tensor.shape, [&](const Run& run) { offset = run.tensor_begin * width; });
      offset += static_cast<std::int64_t>(begin);
      write_piece(dataset, tensor, piece, {data, static_cast<std::size_t>(bytes)}, offset, what);
      begin_writing(file_, offset, bytes);
      data += bytes;
    }
  }

  // Waits until all is on the disk.
  void close() {
    errno = 0;
    const herr_t result = H5Fclose(hdf5_.detach());
    const int code = errno;
    // Closing writes the first bytes of the file again, unchanged: no harm in only some of them.
    if (result < 0 && !is_unfinished(code)) check_hdf5(result, what_ + cause(code));
    sync_to_disk(file_, what_);
    close_file(file_, what_);
  }

 private:
  using Hdf5Open = Handle<Hdf5Traits<H5Fclose>>;

  // What MPI-IO says of a write leaves out what the system said: it is in errno still.
  static std::string cause(int code) {
    return code == 0 ? "" : std::string(": ") + std::strerror(code);
  }
  // The system wrote less than it should, or was interrupted, and Open MPI 4.1 does not go on.
  static bool is_unfinished(int code) { return code == 0 || code == EINTR; }

  void write_piece(const Hdf5Dataset& dataset, const TensorInfo& tensor, const Box& piece,
                   std::span<const std::byte> bytes, std::int64_t offset, const std::string& what) {
    const Hdf5Space file_space = make_space(tensor.shape);
    select(file_space, piece);
    const Hdf5Space memory_space = make_space(std::vector{volume(piece.extent)});
    errno = 0;
    // H5P_DEFAULT: each rank by itself (independent transfer).
    const herr_t result = H5Dwrite(dataset.get(), hdf5_type_of(tensor.dtype), memory_space.get(),
                                   file_space.get(), H5P_DEFAULT, bytes.data());
    const int code = errno;
    if (result >= 0) return;
    if (is_unfinished(code)) {
      write_at(file_, offset, bytes, what);
    } else {
      check_hdf5(result, what + cause(code));
    }
  }

  std::string what_;
  Descriptor file_;  // the same file for what neither HDF5 nor MPI-IO does
  Hdf5Open hdf5_;
};

// Writes this rank's part of all tensors. Nothing here waits for another rank, except exchanges,
// which are made also after a failure, and agreements.
class TensorWriter {
 public:
  TensorWriter(SharedFile& file, MPI_Comm comm, const SavePlan& plan, std::int64_t exchange_bytes)
      : file_(file),
        comm_(comm),
        plan_(plan),
        exchange_bytes_(exchange_bytes),
        batches_{Batch(comm), Batch(comm)} {
    check_mpi(MPI_Comm_rank(comm, &rank_));
  }

  void write_runs() {
    for (std::size_t t = 0; t < plan_.tensors.size(); ++t) {
      if (!plan_.holders[t].empty()) continue;
      for (const TensorSlice* slice : plan_.mine[t])
        write(t, slice->box(), static_cast<const std::byte*>(slice->data.data));
      count(volume(plan_.tensors[t].shape), t);
      agree_if_due();
    }
  }

  // The exchange of one batch is under way while the batch before it is written.
  void write_exchanged() {
    const auto batches = row_batches(plan_.tensors, plan_.holders, exchange_bytes_);
    std::size_t num_started = 0;
    for (std::size_t b = 0; b < batches.size(); ++b) {
      if (num_started == b) start(batches[b], batches_[num_started++ % 2]);
      for (const RowPiece& piece : batches[b])
        count(
            volume(plan_.tensors[piece.tensor].shape) / num_rows(piece.tensor) * piece.rows.size(),
            piece.tensor);
      // An agreement may throw, so nothing is under way then.
      if (b + 1 < batches.size() && !is_agreement_due())
        start(batches[b + 1], batches_[num_started++ % 2]);
      finish(batches_[b % 2]);
      agree_if_due();
    }
  }

  void agree_now() { agree(comm_, outcome_); }

 private:
  struct Piece {
    std::size_t tensor = 0;
    Portion portion;
  };
  struct Batch {
    explicit Batch(MPI_Comm comm) : exchange(comm) {}
    Scratch memory;
    std::vector<Piece> pieces;  // that this rank writes
    Exchange exchange;          // last: it ends before its memory does
  };

  [[nodiscard]] std::int64_t num_rows(std::size_t tensor) const {
    const auto& shape = plan_.tensors[tensor].shape;
    return shape[row_dim(shape)];
  }

  void start(const std::vector<RowPiece>& pieces, Batch& batch) {
    for (const RowPiece& piece : pieces) {
      const std::size_t t = piece.tensor;
      if (plan_.mine[t].empty()) continue;  // not among the holders
      const std::size_t width = size_of(plan_.tensors[t].dtype);
      auto portions = divide_rows(plan_.tensors[t], piece, plan_.holders[t], exchange_bytes_);
      for (Portion& portion : portions) {
        if (portion.rank != rank_) continue;
        const auto count = static_cast<std::size_t>(volume(portion.box.extent));
        portion.data = batch.memory.take(count * width);
        batch.pieces.push_back({t, portion});
      }
      batch.exchange.start(width, plan_.holders[t], portions);
    }
  }

  void finish(Batch& batch) {
    batch.exchange.finish();
    for (const Piece& piece : batch.pieces)
      write(piece.tensor, piece.portion.box, piece.portion.data);
    batch.pieces.clear();
    batch.memory.clear();
  }

  void write(std::size_t tensor, const Box& box, const std::byte* data) {
    if (outcome_.kind != Outcome::Kind::kGood) return;
    outcome_ = attempt([&] { file_.write(plan_.tensors[tensor], box, data); });
  }

  void count(std::int64_t elements, std::size_t tensor) {
    bytes_ += elements * static_cast<std::int64_t>(size_of(plan_.tensors[tensor].dtype));
  }
  [[nodiscard]] bool is_agreement_due() const { return bytes_ >= kAgreementBytes; }
  void agree_if_due() {
    if (!is_agreement_due()) return;
    agree_now();
    bytes_ = 0;
  }

  SharedFile& file_;
  MPI_Comm comm_;
  const SavePlan& plan_;
  std::int64_t exchange_bytes_;
  int rank_ = 0;
  Outcome outcome_;
  std::int64_t bytes_ = 0;  // of all ranks, since they last agreed
  std::array<Batch, 2> batches_;
};

}  // namespace

void write_tensors(const std::string& path, MPI_Comm comm, const SavePlan& plan,
                   std::int64_t exchange_bytes, const std::string& what) {
  std::unique_ptr<SharedFile> file;
  together(comm, [&] { file = std::make_unique<SharedFile>(path, what); });
  TensorWriter writer(*file, comm, plan, exchange_bytes);
  writer.write_runs();
  writer.write_exchanged();
  writer.agree_now();
  together(comm, [&] { file->close(); });
}

}  // namespace cuboid
