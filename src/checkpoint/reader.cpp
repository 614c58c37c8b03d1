#include "cuboid/checkpoint/reader.hpp"

#include <utility>

#include "cuboid/base/text.hpp"
#include "cuboid/checkpoint/damage.hpp"
#include "cuboid/checkpoint/digest.hpp"
#include "cuboid/checkpoint/metadata_file.hpp"
#include "cuboid/checkpoint/seal.hpp"
#include "cuboid/checkpoint/tensor_file.hpp"

namespace cuboid {
namespace {

// Short runs of a strided box are read in blocks of this size, not one by one.
constexpr std::size_t kSieveBytes = std::size_t{1} << 20;
// Of one read where a whole tensor passes through memory.
constexpr std::int64_t kPieceBytes = std::int64_t{16} << 20;

// The metadata says that it is a Cuboid checkpoint: so other tensors than it should have are
// damage.
std::vector<TensorInfo> tensors_in(const Hdf5File& file, const Seal& seal) {
  try {
    return read_tensor_list(file, seal.tensor_bytes);
  } catch (const UsageError& error) {
    throw DamagedCheckpoint(error.problems());
  }
}

}  // namespace

CheckpointReader::CheckpointReader(std::string path) : path_(std::move(path)) {
  const Seal seal = check_seal(path_);
  const std::string start = "checkpoint '" + path_ + "'";
  try {
    open();
    metadata_ = cuboid::read_metadata(file_);
    tensors_ = tensors_in(file_, seal);
  } catch (const DamagedCheckpoint& error) {
    throw DamagedCheckpoint(start + ": " + error.what());
  } catch (const UsageError& error) {
    throw UsageError(start + ": " + error.what());
  } catch (const SystemError& error) {
    // The seal has vouched for every byte that HDF5 parses: the disk fails, not the file.
    throw SystemError(start + " cannot be read: " + error.what());
  }
}

CheckpointReader::CheckpointReader(std::string path, std::vector<TensorInfo> tensors)
    : path_(std::move(path)), tensors_(std::move(tensors)) {
  open();
}

void CheckpointReader::open() {
  const Hdf5Properties access = make_properties(H5P_FILE_ACCESS);
  check_hdf5(H5Pset_sieve_buf_size(access.get(), kSieveBytes), path_);
  // Readers need no lock, and some file systems have none.
  check_hdf5(H5Pset_file_locking(access.get(), false, true), path_);
  file_ = Hdf5File(check_hdf5(H5Fopen(path_.c_str(), H5F_ACC_RDONLY, access.get()),
                              "cannot open checkpoint '" + path_ + "'"));
}

void CheckpointReader::read(const TensorSlice& slice) const {
  require_valid(slice);
  if (slice.data.count == 0) return;
  const std::string what = "cannot read tensor '" + slice.name + "' of checkpoint '" + path_ + "'";
  const Hdf5Dataset dataset(
      check_hdf5(H5Dopen2(file_.get(), slice.name.c_str(), H5P_DEFAULT), what));
  const Hdf5Space file_space = make_space(slice.shape);
  select(file_space, slice.box());
  const Hdf5Space memory_space = make_space(std::vector{slice.data.count});
  check_hdf5(H5Dread(dataset.get(), hdf5_type_of(slice.dtype), memory_space.get(), file_space.get(),
                     H5P_DEFAULT, slice.data.data),
             what);
}

Range CheckpointReader::bytes_of(const TensorInfo& tensor) const {
  const auto bytes = volume(tensor.shape) * static_cast<std::int64_t>(size_of(tensor.dtype));
  if (bytes == 0) return {};
  const std::string what = "cannot find tensor '" + tensor.name + "' of checkpoint '" + path_ + "'";
  const Hdf5Dataset dataset(
      check_hdf5(H5Dopen2(file_.get(), tensor.name.c_str(), H5P_DEFAULT), what));
  const haddr_t begin = H5Dget_offset(dataset.get());
  if (begin == HADDR_UNDEF) throw SystemError(what + ": it is not stored as one block");
  return {static_cast<std::int64_t>(begin), static_cast<std::int64_t>(begin) + bytes};
}

std::uint64_t CheckpointReader::digest_of(const TensorInfo& tensor) const {
  const auto element_bytes = static_cast<std::int64_t>(size_of(tensor.dtype));
  const auto pieces = pieces_of(whole(tensor.shape), kPieceBytes / element_bytes);
  std::vector<std::byte> buffer;
  std::uint64_t sum = 0;
  for (const Box& piece : pieces) {
    const std::int64_t count = volume(piece.extent);
    buffer.resize(static_cast<std::size_t>(count * element_bytes));
    read({.name = tensor.name,
          .dtype = tensor.dtype,
          .shape = tensor.shape,
          .offset = piece.offset,
          .extent = piece.extent,
          .data = {buffer.data(), count, tensor.dtype, Place::kHost}});
    sum += digest_sum(tensor.dtype, tensor.shape, piece, buffer.data());
  }
  return finish_digest(tensor.dtype, tensor.shape, sum);
}

Metadata read_metadata(const std::string& path) {
  return CheckpointReader(path).metadata();
}

std::string damage_text(const std::string& path, const TensorInfo& tensor, std::uint64_t found) {
  return "checkpoint '" + path + "': tensor '" + tensor.name + "' is damaged: its digest is " +
         digest_text(found) + ", the file says " + digest_text(tensor.digest);
}

}  // namespace cuboid
