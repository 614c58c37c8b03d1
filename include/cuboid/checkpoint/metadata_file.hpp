// Metadata as attributes and small datasets of an open HDF5 file (serial access).
#pragma once

#include "cuboid/checkpoint/hdf5.hpp"
#include "cuboid/checkpoint/metadata.hpp"

namespace cuboid {

// The value of the root attribute `format`.
constexpr const char* kFormatName = "cuboid-checkpoint";

void write_metadata(const Hdf5File& file, const Metadata& metadata);

// Throws UsageError where the file is no Cuboid checkpoint or of a newer version, SystemError where
// it cannot be read. Texts of a group come in ascending order of their names.
Metadata read_metadata(const Hdf5File& file);

}  // namespace cuboid
