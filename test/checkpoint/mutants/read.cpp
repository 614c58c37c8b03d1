#include "read.hpp"

#include <algorithm>
#include <functional>

#include "cuboid/checkpoint/damage.hpp"
#include "cuboid/checkpoint/digest.hpp"
#include "cuboid/checkpoint/load.hpp"
#include "cuboid/checkpoint/reader.hpp"
#include "cuboid/checkpoint/verify.hpp"
#include "cuboid/checkpoint/wire.hpp"

namespace cuboid::mutants {
namespace {

void put_metadata(WireWriter& all, const Metadata& m) {
  all.put(m.step);
  all.put(m.consumed_samples);
  all.put(m.tokens);
  all.put(m.seed);
  all.put(m.sample_digest);
  all.put(m.grid);
  for (const TextPairs* pairs : {&m.options, &m.state, &m.versions}) {
    for (const auto& [key, value] : *pairs) {
      all.put(key);
      all.put(value);
    }
  }
  all.put(m.history.step);
  for (const auto* column : {&m.history.loss, &m.history.grad_norm, &m.history.learning_rate})
    all.put(*column);
  all.put(m.history.consumed_samples);
  all.put(m.time);
  all.put(m.hostname);
  all.put(m.ranks);
}

// A slice that is the whole tensor, in `bytes`.
TensorSlice whole_slice(const TensorInfo& tensor, std::string& bytes) {
  const std::int64_t count = volume(tensor.shape);
  bytes.assign(static_cast<std::size_t>(count) * size_of(tensor.dtype), '\xA5');
  return {.name = tensor.name,
          .dtype = tensor.dtype,
          .shape = tensor.shape,
          .offset = std::vector<std::int64_t>(tensor.shape.size(), 0),
          .extent = tensor.shape,
          .data = {bytes.data(), count, tensor.dtype, Place::kHost}};
}

Reading outcome_of(const std::string& path, const std::function<bool()>& read_as_in_original) {
  try {
    return {read_as_in_original() ? Outcome::kWhole : Outcome::kWrong, ""};
  } catch (const UsageError& error) {
    const std::string text = error.what();
    return {text.find("'" + path + "'") != std::string::npos ? Outcome::kRefused : Outcome::kFailed,
            text};
  } catch (const std::exception& error) {
    return {Outcome::kFailed, error.what()};
  }
}

}  // namespace

std::string contents_of(const std::string& path) {
  const CheckpointReader reader(path);
  WireWriter all;
  put_metadata(all, reader.metadata());
  std::string bytes;
  for (const TensorInfo& tensor : reader.tensors()) {
    const std::uint64_t digest = reader.digest_of(tensor);
    if (digest != tensor.digest) throw DamagedCheckpoint(damage_text(path, tensor, digest));
    all.put(tensor.name);
    all.put(tensor.dtype);
    all.put(tensor.shape);
    reader.read(whole_slice(tensor, bytes));
    all.put(bytes);
  }
  return all.bytes();
}

Reading read_alone(const std::string& path, const std::vector<std::string>& originals) {
  return outcome_of(path, [&] { return std::ranges::count(originals, contents_of(path)) > 0; });
}

Reading verify(const std::string& path) {
  return outcome_of(path, [&] {
    verify_checkpoint(path);
    return true;
  });
}

std::string loaded_contents(const std::string& path, const std::string& like) {
  const auto tensors = CheckpointReader(like).tensors();
  std::vector<std::string> bytes(tensors.size());
  std::vector<TensorSlice> slices;
  for (std::size_t t = 0; t < tensors.size(); ++t)
    slices.push_back(whole_slice(tensors[t], bytes[t]));
  WireWriter all;
  put_metadata(all, load_checkpoint(path, MPI_COMM_SELF, slices));
  all.put(bytes);
  return all.bytes();
}

Reading load(const std::string& path, const std::string& like,
             const std::vector<std::string>& originals) {
  return outcome_of(path,
                    [&] { return std::ranges::count(originals, loaded_contents(path, like)) > 0; });
}

}  // namespace cuboid::mutants
