// A checkpoint opened for reading by one process, without MPI.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cuboid/checkpoint/hdf5.hpp"
#include "cuboid/checkpoint/metadata.hpp"
#include "cuboid/checkpoint/tensor_slice.hpp"
#include "cuboid/grid/shape.hpp"

namespace cuboid {

class CheckpointReader {
 public:
  // Checks the seal before HDF5 sees the file, then reads metadata and the list of tensors (by
  // ascending name). Throws, naming the file, DamagedCheckpoint where it is a checkpoint that was
  // damaged, cut short or never completed, UsageError where it is none, or a newer one
  // (check_seal).
  explicit CheckpointReader(std::string path);
  // The same file where another rank has done that and found these tensors: only opens it.
  CheckpointReader(std::string path, std::vector<TensorInfo> tensors);

  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] const Metadata& metadata() const { return metadata_; }
  [[nodiscard]] const std::vector<TensorInfo>& tensors() const { return tensors_; }

  // Fills slice.data with the slice's box of the tensor of that name, shape and dtype. The values
  // are not checked: their digest is the whole tensor's. Throws SystemError.
  void read(const TensorSlice& slice) const;
  // The bytes of the file that hold the tensor's elements, in row-major order; empty where it has
  // none. Throws SystemError.
  [[nodiscard]] Range bytes_of(const TensorInfo& tensor) const;
  // Reads the whole tensor in pieces and computes its digest, to be compared with tensor.digest.
  [[nodiscard]] std::uint64_t digest_of(const TensorInfo& tensor) const;

 private:
  void open();

  std::string path_;
  QuietHdf5 quiet_;
  Hdf5File file_;
  Metadata metadata_;
  std::vector<TensorInfo> tensors_;
};

// What a checkpoint says about its run. Throws UsageError as CheckpointReader does.
Metadata read_metadata(const std::string& path);

// "checkpoint 'FILE': tensor 'NAME' is damaged: ...": the sentence for a digest that differs.
std::string damage_text(const std::string& path, const TensorInfo& tensor, std::uint64_t found);

}  // namespace cuboid
