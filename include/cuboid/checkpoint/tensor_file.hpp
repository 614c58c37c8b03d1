// Tensors as datasets of an HDF5 file: the list of them, created and read by one process.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "cuboid/checkpoint/hdf5.hpp"
#include "cuboid/checkpoint/metadata.hpp"
#include "cuboid/checkpoint/tensor_slice.hpp"

namespace cuboid {

// Creates (or empties) the file with everything but the tensors' values, for which it sets space
// aside. Returns the bytes of the file that each tensor takes. Throws SystemError naming `what`.
std::vector<Range> create_checkpoint_file(const std::string& path, const Metadata& metadata,
                                          std::span<const TensorInfo> tensors,
                                          const std::string& what);

// Every dataset with an attribute `digest`, by ascending name. Throws UsageError where one is not
// a tensor as create_checkpoint_file makes them, or where together they do not take exactly the
// bytes that the seal leaves to them.
std::vector<TensorInfo> read_tensor_list(const Hdf5File& file,
                                         std::span<const Range> sealed_tensor_bytes);

}  // namespace cuboid
