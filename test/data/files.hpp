// Files for the tests of this module: a folder that removes itself, and writers of each format.
#pragma once

#include <unistd.h>

#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "cuboid/base/error.hpp"

namespace cuboid::testing {

class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string path = (std::filesystem::temp_directory_path() / "cuboid-data-XXXXXX").string();
    if (::mkdtemp(path.data()) == nullptr) throw std::runtime_error("mkdtemp failed");
    path_ = path;
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  [[nodiscard]] std::string operator/(const std::string& name) const {
    return (path_ / name).string();
  }
  [[nodiscard]] std::string path() const { return path_.string(); }

 private:
  std::filesystem::path path_;
};

// Makes the folders above `path` where they are missing.
inline std::string write_file(const std::string& path, const std::string& bytes) {
  std::filesystem::create_directories(std::filesystem::path(path).parent_path());
  std::ofstream out(path, std::ios::binary);
  out.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  if (!out.flush()) throw std::runtime_error("cannot write " + path);
  return path;
}

inline std::string read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

template <typename T>
std::string raw(const std::vector<T>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}

// llm.c's header; `count` of ids that follow.
inline std::string llm_c_header(std::int32_t magic, std::int32_t version, std::int32_t count) {
  std::vector<std::int32_t> words(256);
  words[0] = magic;
  words[1] = version;
  words[2] = count;
  return raw(words);
}
inline std::string llm_c16(const std::vector<std::uint16_t>& ids) {
  return llm_c_header(20240520, 1, static_cast<std::int32_t>(ids.size())) + raw(ids);
}
inline std::string llm_c32(const std::vector<std::uint32_t>& ids) {
  return llm_c_header(20240801, 7, static_cast<std::int32_t>(ids.size())) + raw(ids);
}

// 1 + i mod `modulus`, from `first` on: never 0.
template <typename T>
std::vector<T> counting(std::size_t count, std::size_t first = 0, std::size_t modulus = 50000) {
  std::vector<T> ids(count);
  for (std::size_t i = 0; i < count; ++i) ids[i] = static_cast<T>(1 + (first + i) % modulus);
  return ids;
}

// The text of the UsageError that `f` throws; "(no error)" when it throws none.
template <typename F>
std::string usage_error_of(F&& f) {
  try {
    f();
  } catch (const UsageError& error) {
    return error.what();
  }
  return "(no error)";
}

inline bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

// Runs as an ordinary user while it lives, since root may read and write everything.
class WithoutRoot {
 public:
  WithoutRoot() : was_root_(::geteuid() == 0) {
    if (was_root_ && ::seteuid(65534) != 0) throw std::runtime_error("seteuid failed");
  }
  WithoutRoot(const WithoutRoot&) = delete;
  WithoutRoot& operator=(const WithoutRoot&) = delete;
  ~WithoutRoot() {
    if (was_root_ && ::seteuid(0) != 0) std::terminate();
  }

 private:
  bool was_root_;
};

}  // namespace cuboid::testing
