#include "cuboid/data/dataset.hpp"

#include <chrono>
#include <cstring>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <thread>
#include <utility>
#include <vector>

#include "cuboid/base/buffer.hpp"
#include "cuboid/base/error.hpp"
#include "cuboid/base/text.hpp"
#include "cuboid/data/text_cache.hpp"

namespace cuboid {
namespace {

// Values one after the other as bytes, to broadcast them.
class Message {
 public:
  Message() = default;
  explicit Message(std::vector<std::uint8_t> bytes) : bytes_(std::move(bytes)) {}
  [[nodiscard]] const std::vector<std::uint8_t>& bytes() const { return bytes_; }

  void put(std::int64_t value) {
    const auto raw = std::as_bytes(std::span(&value, 1));
    for (const std::byte b : raw) bytes_.push_back(static_cast<std::uint8_t>(b));
  }
  void put(const std::string& text) {
    put(static_cast<std::int64_t>(text.size()));
    bytes_.insert(bytes_.end(), text.begin(), text.end());
  }
  std::int64_t number() {
    std::int64_t value = 0;
    require(at_ + sizeof(value) <= bytes_.size(), "a message is read as it was written");
    std::memcpy(&value, bytes_.data() + at_, sizeof(value));
    at_ += sizeof(value);
    return value;
  }
  std::string text() {
    const auto size = static_cast<std::size_t>(number());
    require(size <= bytes_.size() - at_, "a message is read as it was written");
    std::string value(reinterpret_cast<const char*>(bytes_.data()) + at_, size);
    at_ += size;
    return value;
  }

 private:
  std::vector<std::uint8_t> bytes_;
  std::size_t at_ = 0;
};

// An error that every rank shall throw.
struct Failure {
  bool is_usage = false;
  std::vector<std::string> problems;

  [[noreturn]] void raise() const {
    if (is_usage) throw UsageError(problems);
    throw SystemError(join(problems, "; "));
  }
};

// Runs `work`; its error, if it threw one of those that a user or the machine causes.
template <typename Work>
std::optional<Failure> attempt(Work&& work) {
  try {
    work();
    return std::nullopt;
  } catch (const UsageError& error) {
    return Failure{true, error.problems()};
  } catch (const std::runtime_error& error) {
    return Failure{false, {error.what()}};
  }
}

// While rank 0 packs text for minutes, the others must leave it the cores: no busy waiting.
void broadcast_patiently(Communicator& control, Buffer buffer, int root) {
  const PendingWork work = control.start_broadcast(buffer, root);
  while (!work->poll()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  work->wait();
}

Message broadcast(Communicator& control, const Message& message, int root) {
  auto bytes = message.bytes();
  auto size = static_cast<std::int64_t>(bytes.size());
  broadcast_patiently(control, buffer_of(size), root);
  bytes.resize(static_cast<std::size_t>(size));
  broadcast_patiently(control, buffer_of(std::span(bytes)), root);
  return Message(std::move(bytes));
}

// Throws the failure of the lowest rank that has one, on all ranks.
void agree(Communicator& control, const std::optional<Failure>& mine) {
  std::int64_t first = mine ? control.rank() : control.size();
  control.all_reduce(buffer_of(first), ReduceOp::kMin);
  if (first == control.size()) return;
  Message message;
  if (first == control.rank()) {
    message.put(static_cast<std::int64_t>(mine->is_usage));
    message.put(static_cast<std::int64_t>(mine->problems.size()));
    for (const auto& problem : mine->problems) message.put(problem);
  }
  message = broadcast(control, message, static_cast<int>(first));
  Failure failure;
  failure.is_usage = message.number() != 0;
  failure.problems.resize(static_cast<std::size_t>(message.number()));
  for (auto& problem : failure.problems) problem = message.text();
  if (first != 0 && !failure.problems.empty())
    failure.problems.front() = "rank " + std::to_string(first) + ": " + failure.problems.front();
  failure.raise();
}

// What rank 0 found and the other ranks need: the whole DataInfo but for the list of texts.
struct Manifest {
  DataInfo info;
  std::vector<TokenFileInfo> train, validation;  // to map; no validation: the end of train
  TextCache cache;
};

std::vector<TokenFileInfo> absolute(std::vector<TokenFileInfo> files) {
  for (auto& file : files) file.path = std::filesystem::absolute(file.path).string();
  return files;
}

Manifest prepare(const DataRequest& request) {
  Manifest manifest;
  DataInfo& info = manifest.info;
  info = inspect_data(request.path, request.output_dir);
  auto problems = check_data(info, request.needs);
  if (!problems.empty()) throw UsageError(std::move(problems));
  if (info.kind == DataKind::kText) {
    manifest.cache = prepare_text_cache(info.text, request.output_dir);
    manifest.train = absolute({{manifest.cache.path, info.text.num_tokens()}});
  } else {
    manifest.train = absolute(info.train_files);
    manifest.validation = absolute(info.validation_files);
  }
  return manifest;
}

void put(Message& message, const std::vector<TokenFileInfo>& files) {
  message.put(static_cast<std::int64_t>(files.size()));
  for (const auto& file : files) {
    message.put(file.path);
    message.put(file.num_tokens);
  }
}

std::vector<TokenFileInfo> take_files(Message& message) {
  std::vector<TokenFileInfo> files(static_cast<std::size_t>(message.number()));
  for (auto& file : files) {
    file.path = message.text();
    file.num_tokens = message.number();
  }
  return files;
}

Message encode(const Manifest& manifest) {
  const DataInfo& info = manifest.info;
  Message message;
  for (const std::int64_t value :
       {static_cast<std::int64_t>(info.kind), static_cast<std::int64_t>(info.format),
        info.num_files, info.train_tokens, info.validation_tokens, info.vocab_size,
        static_cast<std::int64_t>(manifest.cache.reused)})
    message.put(value);
  message.put(info.path);
  message.put(manifest.cache.path);
  for (const auto* files :
       {&info.train_files, &info.validation_files, &manifest.train, &manifest.validation})
    put(message, *files);
  return message;
}

Manifest decode(Message message) {
  Manifest manifest;
  DataInfo& info = manifest.info;
  info.kind = static_cast<DataKind>(message.number());
  info.format = static_cast<TokenFormat>(message.number());
  for (auto* value :
       {&info.num_files, &info.train_tokens, &info.validation_tokens, &info.vocab_size})
    *value = message.number();
  manifest.cache.reused = message.number() != 0;
  info.path = message.text();
  manifest.cache.path = message.text();
  for (auto* files :
       {&info.train_files, &info.validation_files, &manifest.train, &manifest.validation})
    *files = take_files(message);
  return manifest;
}

// Maps the files, which must be here what they were on rank 0.
std::shared_ptr<const TokenSequence> map_files(const std::vector<TokenFileInfo>& infos,
                                               std::int64_t vocab_size) {
  std::vector<TokenFile> files;
  files.reserve(infos.size());
  for (const auto& info : infos) {
    files.emplace_back(info.path);
    if (files.back().num_tokens() != info.num_tokens)
      throw UsageError(info.path + ": has " + grouped(files.back().num_tokens()) +
                       " tokens here but " + grouped(info.num_tokens) +
                       " on rank 0; every rank must see the same files");
  }
  return std::make_shared<const TokenSequence>(std::move(files), vocab_size);
}

Dataset map_dataset(Manifest manifest, std::int64_t vocab_size) {
  Dataset dataset;
  dataset.info = std::move(manifest.info);
  dataset.cache_path = std::move(manifest.cache.path);
  dataset.cache_reused = manifest.cache.reused;
  const auto train = map_files(manifest.train, vocab_size);
  dataset.train = {train, {0, dataset.info.train_tokens}};
  if (manifest.validation.empty()) {
    dataset.validation = {train, {dataset.info.train_tokens, train->size()}};
  } else {
    const auto validation = map_files(manifest.validation, vocab_size);
    dataset.validation = {validation, {0, validation->size()}};
  }
  return dataset;
}

}  // namespace

Dataset open_dataset(Communicator& control, const DataRequest& request) {
  Manifest manifest;
  std::optional<Failure> failure;
  if (control.rank() == 0) failure = attempt([&] { manifest = prepare(request); });
  std::int64_t failed = failure ? 1 : 0;
  broadcast_patiently(control, buffer_of(failed), 0);
  if (failed != 0) agree(control, failure);

  TextListing text = std::move(manifest.info.text);
  manifest = decode(broadcast(control, encode(manifest), 0));
  Dataset dataset;
  failure = attempt([&] { dataset = map_dataset(std::move(manifest), request.needs.vocab_size); });
  agree(control, failure);
  dataset.info.text = std::move(text);
  return dataset;
}

}  // namespace cuboid
