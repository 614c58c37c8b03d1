#include "cuboid/checkpoint/tensor_file.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>

#include "cuboid/checkpoint/digest.hpp"
#include "cuboid/checkpoint/metadata_file.hpp"
#include "cuboid/checkpoint/seal.hpp"

namespace cuboid {
namespace {

// Tensors of a page or more begin at one, so that ranks do not share pages at their borders.
constexpr hsize_t kAlignment = 4096;
// Metadata lies together in blocks, not in the gaps between tensors.
constexpr hsize_t kMetadataBlock = hsize_t{64} << 10;

std::optional<DType> dtype_named(const std::string& name) {
  for (const DType dtype :
       {DType::kFloat32, DType::kFloat64, DType::kBFloat16, DType::kInt64, DType::kUInt8}) {
    if (name == name_of(dtype)) return dtype;
  }
  return std::nullopt;
}

// The bytes of the file that a contiguous dataset takes; empty where it has no elements.
Range bytes_of(hid_t dataset, std::int64_t bytes, const std::string& name) {
  if (bytes == 0) return {};
  const haddr_t begin = H5Dget_offset(dataset);
  if (begin == HADDR_UNDEF || H5Dget_storage_size(dataset) != static_cast<hsize_t>(bytes))
    throw SystemError("tensor '" + name + "' is not stored as one contiguous block");
  const auto at = static_cast<std::int64_t>(begin);
  return {at, at + bytes};
}

std::int64_t bytes_in(const TensorInfo& tensor) {
  return volume(tensor.shape) * static_cast<std::int64_t>(size_of(tensor.dtype));
}

// bytes == bytes_in(tensor), without a product that the shape of a hostile file could overflow.
bool has_bytes(const TensorInfo& tensor, std::int64_t bytes) {
  if (std::ranges::find(tensor.shape, 0) != tensor.shape.end()) return bytes == 0;
  std::int64_t rest = bytes;
  const auto divide = [&](std::int64_t n) { rest = n > 0 && rest % n == 0 ? rest / n : 0; };
  divide(static_cast<std::int64_t>(size_of(tensor.dtype)));
  std::ranges::for_each(tensor.shape, divide);
  return rest == 1;
}

Range create_tensor(hid_t file, const TensorInfo& tensor, hid_t links, hid_t creation) {
  const std::string what = "tensor '" + tensor.name + "'";
  const Hdf5Space space = make_space(tensor.shape);
  const Hdf5Dataset dataset(
      check_hdf5(H5Dcreate2(file, tensor.name.c_str(), hdf5_type_of(tensor.dtype), space.get(),
                            links, creation, H5P_DEFAULT),
                 what));
  write_attribute(dataset.get(), "dtype", std::string(name_of(tensor.dtype)));
  write_attribute(dataset.get(), "digest", digest_text(tensor.digest));
  return bytes_of(dataset.get(), bytes_in(tensor), tensor.name);
}

// The names of all hard links under the root that lead to a dataset with a digest.
std::vector<std::string> tensor_names(const Hdf5File& file) {
  std::vector<std::string> links;
  const auto visit = [](hid_t, const char* name, const H5L_info_t* info, void* list) -> herr_t {
    if (info->type == H5L_TYPE_HARD)
      static_cast<std::vector<std::string>*>(list)->emplace_back(name);
    return 0;
  };
  check_hdf5(H5Lvisit(file.get(), H5_INDEX_NAME, H5_ITER_INC, visit, &links),
             "the list of tensors");
  std::vector<std::string> names;
  for (const auto& name : links) {
    const Hdf5Object object(check_hdf5(H5Oopen(file.get(), name.c_str(), H5P_DEFAULT), name));
    if (H5Iget_type(object.get()) == H5I_DATASET &&
        check_hdf5(H5Aexists(object.get(), "digest"), name) > 0)
      names.push_back(name);
  }
  std::ranges::sort(names);
  return names;
}

std::vector<std::int64_t> shape_of(hid_t dataset, const std::string& name) {
  const Hdf5Space space(check_hdf5(H5Dget_space(dataset), name));
  const int rank = check_hdf5(H5Sget_simple_extent_ndims(space.get()), name);
  std::array<hsize_t, H5S_MAX_RANK> dims{};
  check_hdf5(H5Sget_simple_extent_dims(space.get(), dims.data(), nullptr), name);
  return {dims.begin(), dims.begin() + rank};
}

TensorInfo read_tensor(hid_t dataset, const std::string& name) {
  TensorInfo tensor{.name = name, .shape = shape_of(dataset, name)};
  const auto dtype = dtype_named(read_text(dataset, "dtype"));
  const Hdf5Type stored(check_hdf5(H5Dget_type(dataset), name));
  if (!dtype || check_hdf5(H5Tequal(stored.get(), hdf5_type_of(*dtype)), name) == 0)
    throw UsageError("tensor '" + name + "' has a type that it should not have");
  tensor.dtype = *dtype;
  const std::string text = read_text(dataset, "digest");
  const auto [end, error] =
      std::from_chars(text.data(), text.data() + text.size(), tensor.digest, 16);
  if (error != std::errc{} || end != text.data() + text.size() || tensor.shape.empty())
    throw UsageError("tensor '" + name + "' is not described as it should be");
  return tensor;
}

}  // namespace

std::vector<Range> create_checkpoint_file(const std::string& path, const Metadata& metadata,
                                          std::span<const TensorInfo> tensors,
                                          const std::string& what) {
  const Hdf5Properties access = make_properties(H5P_FILE_ACCESS);
  // What HDF5 1.8 and everything after it can read.
  check_hdf5(H5Pset_libver_bounds(access.get(), H5F_LIBVER_V18, H5F_LIBVER_LATEST), what);
  check_hdf5(H5Pset_alignment(access.get(), kAlignment, kAlignment), what);
  check_hdf5(H5Pset_meta_block_size(access.get(), kMetadataBlock), what);
  // The default driver asks for the real path of the file, and a file in memory has none.
  check_hdf5(H5Pset_fapl_stdio(access.get()), what);
  Hdf5File file(
      check_hdf5(H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, access.get()), what));
  write_metadata(file, metadata);
  const Hdf5Properties links = make_properties(H5P_LINK_CREATE);
  check_hdf5(H5Pset_create_intermediate_group(links.get(), 1), what);
  const Hdf5Properties creation = make_properties(H5P_DATASET_CREATE);
  check_hdf5(H5Pset_layout(creation.get(), H5D_CONTIGUOUS), what);
  check_hdf5(H5Pset_alloc_time(creation.get(), H5D_ALLOC_TIME_EARLY), what);
  check_hdf5(H5Pset_fill_time(creation.get(), H5D_FILL_TIME_NEVER), what);
  check_hdf5(H5Pset_obj_track_times(creation.get(), false), what);
  std::vector<Range> ranges;
  for (const TensorInfo& tensor : tensors)
    ranges.push_back(create_tensor(file.get(), tensor, links.get(), creation.get()));
  file.close(what);
  return ranges;
}

std::vector<TensorInfo> read_tensor_list(const Hdf5File& file,
                                         std::span<const Range> sealed_tensor_bytes) {
  std::vector<TensorInfo> tensors;
  std::vector<Range> ranges;
  for (const auto& name : tensor_names(file)) {
    const Hdf5Dataset dataset(check_hdf5(H5Dopen2(file.get(), name.c_str(), H5P_DEFAULT), name));
    tensors.push_back(read_tensor(dataset.get(), name));
    const auto bytes = static_cast<std::int64_t>(H5Dget_storage_size(dataset.get()));
    ranges.push_back(bytes_of(dataset.get(), bytes, name));
    if (!has_bytes(tensors.back(), bytes))
      throw UsageError("tensor '" + name + "' does not have as many bytes as its shape says");
  }
  if (!std::ranges::equal(joined(ranges), sealed_tensor_bytes))
    throw UsageError("its tensors do not lie where its seal says");
  return tensors;
}

}  // namespace cuboid
