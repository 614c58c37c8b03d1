#include "cuboid/checkpoint/save.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>

#include "cuboid/base/text.hpp"
#include "cuboid/checkpoint/agreement.hpp"
#include "cuboid/checkpoint/file.hpp"
#include "cuboid/checkpoint/folder.hpp"
#include "cuboid/checkpoint/hdf5.hpp"
#include "cuboid/checkpoint/save_plan.hpp"
#include "cuboid/checkpoint/seal.hpp"
#include "cuboid/checkpoint/tensor_file.hpp"
#include "cuboid/checkpoint/tensor_writer.hpp"
#include "cuboid/checkpoint/wire.hpp"
#include "cuboid/grid/grid.hpp"

namespace cuboid {
namespace {

std::string processor_name() {
  std::array<char, MPI_MAX_PROCESSOR_NAME> name{};
  int length = 0;
  check_mpi(MPI_Get_processor_name(name.data(), &length));
  return {name.data(), static_cast<std::size_t>(length)};
}

std::string mpi_version() {
  std::array<char, MPI_MAX_LIBRARY_VERSION_STRING> text{};
  int length = 0;
  check_mpi(MPI_Get_library_version(text.data(), &length));
  const std::string version(text.data(), static_cast<std::size_t>(length));
  return version.substr(0, version.find_first_of(",\n"));
}

std::string hdf5_version() {
  unsigned major = 0;
  unsigned minor = 0;
  unsigned release = 0;
  check_hdf5(H5get_libversion(&major, &minor, &release), "H5get_libversion");
  return format("%u.%u.%u", major, minor, release);
}

// Collective: adds what only the moment of saving knows. Complete on rank 0.
Metadata completed(Metadata metadata, MPI_Comm comm) {
  int size = 0;
  check_mpi(MPI_Comm_size(comm, &size));
  metadata.time = utc_now();
  metadata.hostname = processor_name();
  metadata.versions.emplace_back("hdf5", hdf5_version());
  metadata.versions.emplace_back("mpi", mpi_version());
  const auto hosts = gather_texts(comm, metadata.hostname);
  metadata.ranks.clear();
  for (std::size_t r = 0; r < hosts.size(); ++r) {
    metadata.ranks.push_back(to_string(coordinate_of(metadata.grid, static_cast<int>(r))) + " on " +
                             hosts[r]);
  }
  together(comm, [&] {
    require(hosts.empty() || metadata.grid.size() == size, "the grid has as many ranks as save");
  });
  return metadata;
}

// On rank 0: removes the partial file unless it became the checkpoint.
class PartialFile {
 public:
  PartialFile(std::string path, bool is_owner) : path_(std::move(path)), is_owner_(is_owner) {}
  ~PartialFile() {
    if (is_owner_) ::unlink(path_.c_str());
  }
  PartialFile(const PartialFile&) = delete;
  PartialFile& operator=(const PartialFile&) = delete;
  [[nodiscard]] const std::string& path() const { return path_; }
  void become(const std::string& path, const std::string& what) {
    check_errno(std::rename(path_.c_str(), path.c_str()) == 0, what);
    is_owner_ = false;
    sync_to_disk(folder_of(path), what);
  }

 private:
  std::string path_;
  bool is_owner_;
};

// More than the file will have.
std::int64_t size_bound(std::span<const TensorInfo> tensors, const Metadata& metadata) {
  std::int64_t bytes = std::int64_t{1} << 20;
  for (const TensorInfo& tensor : tensors)
    bytes += volume(tensor.shape) * static_cast<std::int64_t>(size_of(tensor.dtype)) + 8192;
  for (const TextPairs* pairs : {&metadata.options, &metadata.state, &metadata.versions})
    for (const auto& [key, value] : *pairs)
      bytes += static_cast<std::int64_t>(4 * (key.size() + value.size())) + 512;
  bytes +=
      static_cast<std::int64_t>(metadata.ranks.size() * 512 + metadata.history.step.size() * 48);
  return bytes;
}

// On rank 0: the partial file, with everything but the tensors' values. HDF5 (1.10) crashes at exit
// when it could not write a file's structure. So it makes the structure in memory, and the copy to
// the disk, which may fail, is plain writing.
std::vector<Range> begin_file(const std::string& path, const SavePlan& plan,
                              const Metadata& metadata, const SaveOptions& options,
                              const std::string& what) {
  // A left-over goes first. What is created is a new file, never one that a link leads to.
  check_errno(::unlink(path.c_str()) == 0 || errno == ENOENT, what);
  Descriptor file = open_file(path, O_CREAT | O_EXCL | O_WRONLY, what);
  // A limit on file sizes shows here; it would hold for the file in memory, too.
  set_size_of_file(file, size_bound(plan.tensors, metadata), what);

  const Descriptor memory = open_memory_file(what);
  std::vector<Range> ranges = joined(create_checkpoint_file(
      "/proc/self/fd/" + std::to_string(memory.get()), metadata, plan.tensors, what));
  const std::int64_t size = size_of_file(memory, what);
  set_size_of_file(file, size, what);
  if (options.reserve_space) reserve_space(file, size, what);
  std::vector<std::byte> buffer;
  for (const Range& gap : gaps_between(ranges, size)) {
    buffer.resize(static_cast<std::size_t>(gap.size()));
    read_at(memory, gap.begin, buffer, what);
    write_at(file, gap.begin, buffer, what);
  }
  close_file(file, what);
  return ranges;
}

}  // namespace

void save_checkpoint(const std::string& path, MPI_Comm comm, std::span<const TensorSlice> slices,
                     const Metadata& metadata, const SaveOptions& options) {
  const std::string what = "cannot save checkpoint '" + path + "'";
  const QuietHdf5 quiet;
  const MpiComm own = duplicate(comm);
  int rank = 0;
  check_mpi(MPI_Comm_rank(own.get(), &rank));

  const SavePlan plan = make_save_plan(own.get(), slices);
  const Metadata full = completed(metadata, own.get());
  PartialFile partial(partial_path(path), rank == 0);
  std::vector<Range> ranges;
  together(own.get(), [&] {
    if (rank == 0) ranges = begin_file(partial.path(), plan, full, options, what);
  });
  write_tensors(partial.path(), own.get(), plan, options.exchange_bytes, what);
  together(own.get(), [&] {
    if (rank != 0) return;
    append_seal(partial.path(), ranges, what);
    partial.become(path, what);
  });
}

}  // namespace cuboid
