// Small structures as bytes, and texts between ranks.
#pragma once

#include <mpi.h>

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "cuboid/base/error.hpp"

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

// Collective over `comm`. Each rank's bytes, by rank, on rank 0 (or, with share_texts, on all);
// elsewhere none.
std::vector<std::string> gather_texts(MPI_Comm comm, const std::string& mine);
std::vector<std::string> share_texts(MPI_Comm comm, const std::string& mine);
// Rank 0's bytes on all ranks.
std::string broadcast_text(MPI_Comm comm, const std::string& text);

}  // namespace cuboid
