#include "cuboid/checkpoint/hdf5.hpp"

#include <algorithm>
#include <cstdlib>
#include <utility>

namespace cuboid {
namespace {

// After a file that could not be closed, HDF5 1.10 crashes in its clean-up at exit or, where it was
// first used after MPI_Init, in MPI_Finalize. So it is used before, and does not clean up: every
// file is closed by who opened it.
// NOLINTNEXTLINE(bugprone-throwing-static-initialization): C functions throw nothing
const bool kCleansUp = []() noexcept {
  H5dont_atexit();
  H5open();
  return false;
}();

// HDF5 calls it for each level of the error stack, the cause first.
herr_t collect_error(unsigned /*level*/, const H5E_error2_t* error, void* lines) {
  const std::string line = error->desc != nullptr ? error->desc : "";
  auto& all = *static_cast<std::vector<std::string>*>(lines);
  if (!line.empty() && std::ranges::find(all, line) == all.end()) all.push_back(line);
  return 0;
}

void write_scalar(hid_t object, const std::string& name, hid_t type, const void* value) {
  const Hdf5Space space(check_hdf5(H5Screate(H5S_SCALAR), "H5Screate"));
  const Hdf5Attribute attribute(
      check_hdf5(H5Acreate2(object, name.c_str(), type, space.get(), H5P_DEFAULT, H5P_DEFAULT),
                 "attribute '" + name + "'"));
  check_hdf5(H5Awrite(attribute.get(), type, value), "attribute '" + name + "'");
}

// Opens an attribute that holds one value of the class.
Hdf5Attribute open_scalar(hid_t object, const std::string& name, H5T_class_t wanted) {
  Hdf5Attribute attribute(
      check_hdf5(H5Aopen(object, name.c_str(), H5P_DEFAULT), "attribute '" + name + "'"));
  const Hdf5Space space(check_hdf5(H5Aget_space(attribute.get()), name));
  const Hdf5Type type(check_hdf5(H5Aget_type(attribute.get()), name));
  if (H5Sget_simple_extent_npoints(space.get()) != 1 || H5Tget_class(type.get()) != wanted)
    throw SystemError("attribute '" + name + "' is not of the kind that it should be");
  return attribute;
}

}  // namespace

std::string hdf5_error_text() {
  std::vector<std::string> lines;
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, collect_error, &lines);
  if (lines.empty()) return "no reason given";
  // The outermost says what was tried, the innermost why it failed.
  std::string text = lines.front();
  for (std::size_t i = 1; i < std::min<std::size_t>(lines.size(), 3); ++i)
    text = lines[i] + ": " + text;
  std::ranges::replace(text, '\n', ' ');
  return text;
}

QuietHdf5::QuietHdf5() {
  H5Eget_auto2(H5E_DEFAULT, &print_, &data_);
  H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
}

QuietHdf5::~QuietHdf5() {
  H5Eset_auto2(H5E_DEFAULT, print_, data_);
}

Hdf5File::Hdf5File(Hdf5File&& other) noexcept : id_(std::exchange(other.id_, H5I_INVALID_HID)) {}

Hdf5File& Hdf5File::operator=(Hdf5File&& other) noexcept {
  std::swap(id_, other.id_);
  return *this;
}

Hdf5File::~Hdf5File() {
  if (id_ >= 0) H5Fclose(id_);
}

void Hdf5File::close(const std::string& what) {
  check_hdf5(H5Fclose(std::exchange(id_, H5I_INVALID_HID)), what);
}

Hdf5Properties make_properties(hid_t cls) {
  return Hdf5Properties(check_hdf5(H5Pcreate(cls), "H5Pcreate"));
}

hid_t hdf5_type_of(DType dtype) {
  switch (dtype) {
    case DType::kFloat32: return H5T_IEEE_F32LE;
    case DType::kFloat64: return H5T_IEEE_F64LE;
    case DType::kBFloat16: return H5T_STD_U16LE;
    case DType::kInt64: return H5T_STD_I64LE;
    case DType::kUInt8: return H5T_STD_U8LE;
  }
  throw std::logic_error("an unknown dtype");
}

Hdf5Space make_space(std::span<const std::int64_t> shape) {
  const std::vector<hsize_t> dims(shape.begin(), shape.end());
  return Hdf5Space(check_hdf5(H5Screate_simple(static_cast<int>(dims.size()), dims.data(), nullptr),
                              "H5Screate_simple"));
}

void select(const Hdf5Space& space, const Box& box) {
  if (volume(box.extent) == 0) {
    check_hdf5(H5Sselect_none(space.get()), "H5Sselect_none");
    return;
  }
  const std::vector<hsize_t> start(box.offset.begin(), box.offset.end());
  const std::vector<hsize_t> count(box.extent.begin(), box.extent.end());
  check_hdf5(H5Sselect_hyperslab(space.get(), H5S_SELECT_SET, start.data(), nullptr, count.data(),
                                 nullptr),
             "H5Sselect_hyperslab");
}

Hdf5Type text_type() {
  Hdf5Type type(check_hdf5(H5Tcopy(H5T_C_S1), "H5Tcopy"));
  check_hdf5(H5Tset_size(type.get(), H5T_VARIABLE), "H5Tset_size");
  check_hdf5(H5Tset_cset(type.get(), H5T_CSET_UTF8), "H5Tset_cset");
  return type;
}

void write_attribute(hid_t object, const std::string& name, const std::string& text) {
  const Hdf5Type type = text_type();
  const char* value = text.c_str();
  write_scalar(object, name, type.get(), static_cast<const void*>(&value));
}

void write_attribute(hid_t object, const std::string& name, std::int64_t value) {
  write_scalar(object, name, H5T_STD_I64LE, &value);
}

void write_attribute(hid_t object, const std::string& name, std::uint64_t value) {
  write_scalar(object, name, H5T_STD_U64LE, &value);
}

std::string read_text(hid_t object, const std::string& name) {
  const Hdf5Attribute attribute = open_scalar(object, name, H5T_STRING);
  const Hdf5Type stored(check_hdf5(H5Aget_type(attribute.get()), name));
  if (check_hdf5(H5Tis_variable_str(stored.get()), name) == 0)
    throw SystemError("attribute '" + name + "' is not of the kind that it should be");
  const Hdf5Type type = text_type();
  char* value = nullptr;
  check_hdf5(H5Aread(attribute.get(), type.get(), static_cast<void*>(&value)),
             "attribute '" + name + "'");
  std::string text = value != nullptr ? value : "";
  H5free_memory(value);
  return text;
}

std::int64_t read_integer(hid_t object, const std::string& name) {
  const Hdf5Attribute attribute = open_scalar(object, name, H5T_INTEGER);
  std::int64_t value = 0;
  check_hdf5(H5Aread(attribute.get(), H5T_STD_I64LE, &value), "attribute '" + name + "'");
  return value;
}

std::uint64_t read_unsigned(hid_t object, const std::string& name) {
  const Hdf5Attribute attribute = open_scalar(object, name, H5T_INTEGER);
  std::uint64_t value = 0;
  check_hdf5(H5Aread(attribute.get(), H5T_STD_U64LE, &value), "attribute '" + name + "'");
  return value;
}

std::vector<std::string> attribute_names(hid_t object) {
  std::vector<std::string> names;
  const auto visit = [](hid_t, const char* name, const H5A_info_t*, void* list) -> herr_t {
    static_cast<std::vector<std::string>*>(list)->emplace_back(name);
    return 0;
  };
  check_hdf5(H5Aiterate2(object, H5_INDEX_NAME, H5_ITER_INC, nullptr, visit, &names), "attributes");
  return names;
}

}  // namespace cuboid
