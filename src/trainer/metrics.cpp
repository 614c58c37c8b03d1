#include "cuboid/trainer/metrics.hpp"

#include <fcntl.h>

#include <cmath>
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <span>
#include <system_error>

#include "cuboid/base/error.hpp"
#include "cuboid/base/text.hpp"
#include "cuboid/checkpoint/file.hpp"

namespace cuboid {
namespace {

// The whole lines of `path` up to and including `last_step`.
std::string lines_up_to(const std::string& path, std::int64_t last_step) {
  std::ifstream in(path);
  std::string kept;
  for (std::string line; std::getline(in, line);) {
    const auto object = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
    const bool complete = object.is_object() && object.contains("step");
    if (complete && object["step"].is_number() && object["step"].get<std::int64_t>() <= last_step)
      kept += line + "\n";
  }
  return kept;
}

// `stem`.jsonl, or with -2, -3, ... before the ending where that exists.
std::string unused_name(const std::string& stem) {
  std::string name = stem + ".jsonl";
  for (int number = 2; std::filesystem::exists(name); ++number) {
    name = stem + "-" + std::to_string(number) + ".jsonl";
  }
  return name;
}

// Puts a file with this text in the place of `path`, which gets a second name first: whenever the
// process dies, `path` is the one or the other, whole.
void replace(const std::string& path, const std::string& text, const std::string& second_name) {
  const std::string next = path + ".partial";
  const std::string what = "cannot write '" + next + "'";
  Descriptor file = open_file(next, O_CREAT | O_TRUNC | O_WRONLY, what);
  write_at(file, 0, std::as_bytes(std::span(text)), what);
  sync_to_disk(file, what);
  close_file(file, what);
  std::error_code no_links;
  std::filesystem::create_hard_link(path, second_name, no_links);
  if (no_links) std::filesystem::copy_file(path, second_name);
  check_errno(std::rename(next.c_str(), path.c_str()) == 0, "cannot replace '" + path + "'");
}

}  // namespace

std::string log_line(const StepMetrics& m) {
  std::string line = format(
      "Step %ld | Loss: %.4f | LR: %.2e | Throughput: %.2f samples/s | Tokens/s: %s | "
      "Grad norm: %.4f | Step: %.1f ms",
      static_cast<long>(m.step), m.loss, m.learning_rate, m.samples_per_second,
      grouped(std::llround(m.tokens_per_second)).c_str(), m.grad_norm, m.step_ms);
  if (m.mfu > 0.0) line += format(" | MFU: %.1f%%", 100.0 * m.mfu);
  if (m.validation_loss) line += format(" | Validation loss: %.4f", *m.validation_loss);
  return line;
}

std::string json_line(const StepMetrics& m) {
  nlohmann::ordered_json object = {{"step", m.step},
                                   {"loss", m.loss},
                                   {"grad_norm", m.grad_norm},
                                   {"learning_rate", m.learning_rate},
                                   {"tokens", m.tokens},
                                   {"samples_per_second", m.samples_per_second},
                                   {"tokens_per_second", m.tokens_per_second},
                                   {"step_ms", m.step_ms},
                                   {"mfu", m.mfu},
                                   {"mfu_convention", m.mfu_convention},
                                   {"sample_digest", m.sample_digest}};
  if (m.validation_loss) object["validation_loss"] = *m.validation_loss;
  return object.dump();
}

std::string json_line(std::int64_t step, double validation_loss) {
  return nlohmann::ordered_json({{"step", step}, {"validation_loss", validation_loss}}).dump();
}

void LogInterval::add(const StepMetrics& metrics) {
  last_ = metrics;
  ++steps_;
  const double seconds = metrics.step_ms * 1e-3;
  ms_ += metrics.step_ms;
  samples_ += metrics.samples_per_second * seconds;
  tokens_ += metrics.tokens_per_second * seconds;
  mfu_ms_ += metrics.mfu * metrics.step_ms;
}

StepMetrics LogInterval::flush() {
  StepMetrics mean = last_;
  mean.step_ms = ms_ / static_cast<double>(steps_);
  mean.samples_per_second = samples_ / (ms_ * 1e-3);
  mean.tokens_per_second = tokens_ / (ms_ * 1e-3);
  mean.mfu = mfu_ms_ / ms_;
  *this = LogInterval();
  return mean;
}

MetricsFile::MetricsFile(const std::string& output_dir, std::int64_t completed_steps)
    : path_(output_dir + "/metrics.jsonl") {
  const std::string kept = lines_up_to(path_, completed_steps);
  if (std::filesystem::exists(path_) && std::filesystem::file_size(path_) != kept.size()) {
    replace(path_, kept,
            unused_name(output_dir +
                        format("/metrics-before-%ld", static_cast<long>(completed_steps))));
  }
  file_.open(path_, std::ios::app);
  check_errno(file_.is_open(), "cannot open '" + path_ + "'");
}

void MetricsFile::write(const std::string& line) {
  file_ << line << '\n' << std::flush;
  check_errno(file_.good(), "cannot write to '" + path_ + "'");
}

void ProgressLine::show(std::int64_t step, std::int64_t max_steps, double seconds_per_step) {
  if (!on_) return;
  constexpr std::int64_t kWidth = 30;
  const std::int64_t filled = kWidth * step / std::max<std::int64_t>(max_steps, 1);
  const std::string bar = std::string(static_cast<std::size_t>(filled), '=') +
                          std::string(static_cast<std::size_t>(kWidth - filled), ' ');
  std::fprintf(stderr, "\r[%s] step %ld of %ld, %s left \x1b[K", bar.c_str(),
               static_cast<long>(step), static_cast<long>(max_steps),
               short_duration(seconds_per_step * static_cast<double>(max_steps - step)).c_str());
  shown_ = true;
}

void ProgressLine::clear() {
  if (shown_) std::fprintf(stderr, "\r\x1b[K");
  shown_ = false;
}

}  // namespace cuboid
