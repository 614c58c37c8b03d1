// Small structures as bytes, texts between ranks, and waiting for other ranks without taking the
// core from who computes meanwhile.
#pragma once

#include <mpi.h>

#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "cuboid/base/error.hpp"
#include "cuboid/grid/grid.hpp"

namespace cuboid {

class WireWriter {
 public:
  template <typename T>
    requires std::is_trivially_copyable_v<T>
  void put(const T& value) {
    bytes_.append(reinterpret_cast<const char*>(&value), sizeof(T));
  }
  void put(const std::string& text) {
    put(text.size());
    bytes_ += text;
  }
  template <typename T>
  void put(const std::vector<T>& values) {
    put(values.size());
    for (const T& value : values) put(value);
  }
  [[nodiscard]] const std::string& bytes() const { return bytes_; }

 private:
  std::string bytes_;
};

// Reads what a WireWriter of the same program wrote, in the same order.
class WireReader {
 public:
  explicit WireReader(std::string_view bytes) : rest_(bytes) {}
  template <typename T>
    requires std::is_trivially_copyable_v<T>
  void get(T& value) {
    require(rest_.size() >= sizeof(T), "a message holds what is read from it");
    std::memcpy(&value, rest_.data(), sizeof(T));
    rest_.remove_prefix(sizeof(T));
  }
  void get(std::string& text) {
    std::size_t size = 0;
    get(size);
    require(rest_.size() >= size, "a message holds what is read from it");
    text = rest_.substr(0, size);
    rest_.remove_prefix(size);
  }
  template <typename T>
  void get(std::vector<T>& values) {
    std::size_t size = 0;
    get(size);
    values.resize(size);
    for (T& value : values) get(value);
  }
  [[nodiscard]] bool empty() const { return rest_.empty(); }

 private:
  std::string_view rest_;
};

// Returns when all requests are complete: polls for some 50 us, then sleeps between polls, longer
// and longer up to 1 ms. MPI's own waiting would keep a core busy, and in Open MPI 4.1 may never
// end where a request fails. Throws SystemError where one does; the others may still be under way.
void wait_patiently(std::span<MPI_Request> requests);
void wait_patiently(MPI_Request& request);

// Collective over `comm`: a duplicate whose errors are returned, as check_mpi needs them.
MpiComm duplicate(MPI_Comm comm);

// Collective over `comm`. Each rank's bytes, by rank, on rank 0 (or, with share_texts, on all);
// elsewhere none.
std::vector<std::string> gather_texts(MPI_Comm comm, const std::string& mine);
std::vector<std::string> share_texts(MPI_Comm comm, const std::string& mine);
// Rank 0's bytes on all ranks.
std::string broadcast_text(MPI_Comm comm, const std::string& text);

}  // namespace cuboid
