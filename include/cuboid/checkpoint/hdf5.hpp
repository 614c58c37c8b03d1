// Owners and checks for HDF5's identifiers. Every call goes through check_hdf5, which turns the
// library's error stack into one sentence.
#pragma once

#include <hdf5.h>

#include <cstdint>
#include <source_location>
#include <span>
#include <string>
#include <vector>

#include "cuboid/base/dtype.hpp"
#include "cuboid/base/error.hpp"
#include "cuboid/base/handle.hpp"
#include "cuboid/checkpoint/layout.hpp"

namespace cuboid {

template <herr_t (*kClose)(hid_t)>
struct Hdf5Traits {
  using Type = hid_t;
  static Type null() { return H5I_INVALID_HID; }
  static void release(Type id) noexcept { kClose(id); }
};
using Hdf5Attribute = Handle<Hdf5Traits<H5Aclose>>;
using Hdf5Dataset = Handle<Hdf5Traits<H5Dclose>>;
using Hdf5Group = Handle<Hdf5Traits<H5Gclose>>;
using Hdf5Object = Handle<Hdf5Traits<H5Oclose>>;
using Hdf5Properties = Handle<Hdf5Traits<H5Pclose>>;
using Hdf5Space = Handle<Hdf5Traits<H5Sclose>>;
using Hdf5Type = Handle<Hdf5Traits<H5Tclose>>;

// The library's error stack as one line, causes last: "write failed: No space left on device".
std::string hdf5_error_text();

// The result of an HDF5 call, unless it is negative: then throws SystemError with `what` and the
// library's text.
template <typename Result>
Result check_hdf5(Result result, const std::string& what,
                  std::source_location where = std::source_location::current()) {
  if (result < 0) throw SystemError(what + ": HDF5: " + hdf5_error_text(), where);
  return result;
}

// While it lives, HDF5 does not print its errors by itself.
class QuietHdf5 {
 public:
  QuietHdf5();
  ~QuietHdf5();
  QuietHdf5(const QuietHdf5&) = delete;
  QuietHdf5& operator=(const QuietHdf5&) = delete;

 private:
  H5E_auto2_t print_ = nullptr;
  void* data_ = nullptr;
};

// An open file. Closing writes what is left, so whoever wrote calls close(), which checks it.
class Hdf5File {
 public:
  Hdf5File() = default;
  explicit Hdf5File(hid_t id) : id_(id) {}
  Hdf5File(Hdf5File&& other) noexcept;
  Hdf5File& operator=(Hdf5File&& other) noexcept;
  ~Hdf5File();
  [[nodiscard]] hid_t get() const { return id_; }
  void close(const std::string& what);

 private:
  hid_t id_ = H5I_INVALID_HID;
};

// A property list of the class, H5P_FILE_ACCESS and the like.
Hdf5Properties make_properties(hid_t cls);

// The type in the file (and, on the little-endian machines that Cuboid runs on, in memory). bf16
// is stored as 16-bit unsigned integers.
hid_t hdf5_type_of(DType dtype);

// A dataspace of a shape, whole or with a box selected.
Hdf5Space make_space(std::span<const std::int64_t> shape);
void select(const Hdf5Space& space, const Box& box);

// The variable-length UTF-8 string type.
Hdf5Type text_type();

void write_attribute(hid_t object, const std::string& name, const std::string& text);
void write_attribute(hid_t object, const std::string& name, std::int64_t value);
void write_attribute(hid_t object, const std::string& name, std::uint64_t value);
std::string read_text(hid_t object, const std::string& name);
std::int64_t read_integer(hid_t object, const std::string& name);
std::uint64_t read_unsigned(hid_t object, const std::string& name);
// The names of an object's attributes, in ascending order.
std::vector<std::string> attribute_names(hid_t object);

}  // namespace cuboid
