#include "cuboid/checkpoint/metadata_file.hpp"

#include <algorithm>

#include "cuboid/base/text.hpp"
#include "cuboid/checkpoint/seal.hpp"

namespace cuboid {
namespace {

Hdf5Group create_group(hid_t parent, const char* name) {
  return Hdf5Group(
      check_hdf5(H5Gcreate2(parent, name, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT), name));
}

Hdf5Group open_group(hid_t parent, const char* name) {
  return Hdf5Group(check_hdf5(H5Gopen2(parent, name, H5P_DEFAULT), name));
}

void write_pairs(hid_t file, const char* name, const TextPairs& pairs) {
  const Hdf5Group group = create_group(file, name);
  for (const auto& [key, value] : pairs) write_attribute(group.get(), key, value);
}

TextPairs read_pairs(hid_t file, const char* name) {
  const Hdf5Group group = open_group(file, name);
  TextPairs pairs;
  for (const auto& key : attribute_names(group.get()))
    pairs.emplace_back(key, read_text(group.get(), key));
  return pairs;
}

void write_column(hid_t group, const char* name, hid_t type, std::int64_t count, const void* data) {
  const Hdf5Space space = make_space(std::vector{count});
  const Hdf5Dataset column(check_hdf5(
      H5Dcreate2(group, name, type, space.get(), H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT), name));
  if (count > 0)
    check_hdf5(H5Dwrite(column.get(), type, H5S_ALL, H5S_ALL, H5P_DEFAULT, data), name);
}

// Opens a dataset of one dim and gives its length.
Hdf5Dataset open_column(hid_t group, const char* name, std::int64_t& count) {
  Hdf5Dataset column(check_hdf5(H5Dopen2(group, name, H5P_DEFAULT), name));
  const Hdf5Space space(check_hdf5(H5Dget_space(column.get()), name));
  if (H5Sget_simple_extent_ndims(space.get()) != 1)
    throw SystemError(std::string("dataset '") + name + "' does not have one dim");
  count = check_hdf5(H5Sget_simple_extent_npoints(space.get()), name);
  return column;
}

template <typename Number>
std::vector<Number> read_column(hid_t group, const char* name, hid_t type) {
  std::int64_t count = 0;
  const Hdf5Dataset column = open_column(group, name, count);
  // What is not stored in full would be made up of fill values, at any length that it claims.
  if (H5Dget_storage_size(column.get()) != static_cast<hsize_t>(count) * sizeof(Number))
    throw SystemError(std::string("dataset '") + name + "' is not stored in full");
  std::vector<Number> values(static_cast<std::size_t>(count));
  if (count > 0)
    check_hdf5(H5Dread(column.get(), type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data()), name);
  return values;
}

void write_grid(hid_t file, const Metadata& metadata) {
  const Hdf5Group group = create_group(file, "grid");
  write_attribute(group.get(), "dp", std::int64_t{metadata.grid.dp});
  write_attribute(group.get(), "tp", std::int64_t{metadata.grid.tp});
  write_attribute(group.get(), "pp", std::int64_t{metadata.grid.pp});
  std::vector<const char*> lines;
  lines.reserve(metadata.ranks.size());
  for (const auto& line : metadata.ranks) lines.push_back(line.c_str());
  const Hdf5Type type = text_type();
  write_column(group.get(), "ranks", type.get(), static_cast<std::int64_t>(lines.size()),
               static_cast<const void*>(lines.data()));
}

void read_grid(hid_t file, Metadata& metadata) {
  const Hdf5Group group = open_group(file, "grid");
  metadata.grid = {.dp = static_cast<int>(read_integer(group.get(), "dp")),
                   .tp = static_cast<int>(read_integer(group.get(), "tp")),
                   .pp = static_cast<int>(read_integer(group.get(), "pp"))};
  std::int64_t count = 0;
  const Hdf5Dataset column = open_column(group.get(), "ranks", count);
  if (count != std::int64_t{metadata.grid.dp} * metadata.grid.tp * metadata.grid.pp)
    throw SystemError("dataset 'ranks' does not fit the grid");
  const Hdf5Type type = text_type();
  const Hdf5Space space(check_hdf5(H5Dget_space(column.get()), "ranks"));
  std::vector<char*> lines(static_cast<std::size_t>(count), nullptr);
  check_hdf5(H5Dread(column.get(), type.get(), H5S_ALL, H5S_ALL, H5P_DEFAULT,
                     static_cast<void*>(lines.data())),
             "ranks");
  for (const char* line : lines) metadata.ranks.emplace_back(line != nullptr ? line : "");
  H5Dvlen_reclaim(type.get(), space.get(), H5P_DEFAULT, static_cast<void*>(lines.data()));
}

void write_history(hid_t file, const History& history) {
  const auto count = static_cast<std::int64_t>(history.step.size());
  const Hdf5Group group = create_group(file, "history");
  const hid_t id = group.get();
  write_column(id, "step", H5T_STD_I64LE, count, history.step.data());
  write_column(id, "loss", H5T_IEEE_F64LE, count, history.loss.data());
  write_column(id, "grad_norm", H5T_IEEE_F64LE, count, history.grad_norm.data());
  write_column(id, "learning_rate", H5T_IEEE_F64LE, count, history.learning_rate.data());
  write_column(id, "consumed_samples", H5T_STD_I64LE, count, history.consumed_samples.data());
}

bool is_rectangular(const History& history) {
  const std::size_t count = history.step.size();
  return history.loss.size() == count && history.grad_norm.size() == count &&
         history.learning_rate.size() == count && history.consumed_samples.size() == count;
}

History read_history(hid_t file) {
  const Hdf5Group group = open_group(file, "history");
  const hid_t id = group.get();
  History history{
      .step = read_column<std::int64_t>(id, "step", H5T_STD_I64LE),
      .loss = read_column<double>(id, "loss", H5T_IEEE_F64LE),
      .grad_norm = read_column<double>(id, "grad_norm", H5T_IEEE_F64LE),
      .learning_rate = read_column<double>(id, "learning_rate", H5T_IEEE_F64LE),
      .consumed_samples = read_column<std::int64_t>(id, "consumed_samples", H5T_STD_I64LE)};
  if (!is_rectangular(history)) throw SystemError("the columns of the history differ in length");
  return history;
}

}  // namespace

void write_metadata(const Hdf5File& file, const Metadata& metadata) {
  require(is_rectangular(metadata.history), "the columns of a history have the same length");
  const hid_t root = file.get();
  write_attribute(root, "format", kFormatName);
  write_attribute(root, "format_version", kFormatVersion);
  write_attribute(root, "step", metadata.step);
  write_attribute(root, "consumed_samples", metadata.consumed_samples);
  write_attribute(root, "tokens", metadata.tokens);
  write_attribute(root, "seed", metadata.seed);
  write_attribute(root, "sample_digest", metadata.sample_digest);
  write_attribute(root, "time", metadata.time);
  write_attribute(root, "hostname", metadata.hostname);
  write_pairs(root, "options", metadata.options);
  write_pairs(root, "state", metadata.state);
  write_pairs(root, "versions", metadata.versions);
  write_grid(root, metadata);
  write_history(root, metadata.history);
}

Metadata read_metadata(const Hdf5File& file) {
  const hid_t root = file.get();
  if (check_hdf5(H5Aexists(root, "format"), "format") == 0 ||
      read_text(root, "format") != kFormatName)
    throw UsageError("it is not a Cuboid checkpoint");
  const std::int64_t version = read_integer(root, "format_version");
  if (version > kFormatVersion)
    throw UsageError(format("it was written by a newer Cuboid: format version %lld",
                            static_cast<long long>(version)));
  Metadata metadata;
  metadata.step = read_integer(root, "step");
  metadata.consumed_samples = read_integer(root, "consumed_samples");
  metadata.tokens = read_integer(root, "tokens");
  metadata.seed = read_unsigned(root, "seed");
  metadata.sample_digest = read_text(root, "sample_digest");
  metadata.time = read_text(root, "time");
  metadata.hostname = read_text(root, "hostname");
  metadata.options = read_pairs(root, "options");
  metadata.state = read_pairs(root, "state");
  metadata.versions = read_pairs(root, "versions");
  read_grid(root, metadata);
  metadata.history = read_history(root);
  return metadata;
}

}  // namespace cuboid
