// Reads the options of a run from the command line, a configuration file and a preset.
#pragma once

#include <span>
#include <string>
#include <utility>
#include <vector>

#include "cuboid/config/config.hpp"

namespace cuboid {

// Where an option got its value: "command line", "@run.rsp", "run.conf:3", "preset 124m".
struct Provenance {
  std::string option;
  std::string source;
};

struct ParseResult {
  Config config;
  bool help = false;
  bool version = false;
  bool print_config = false;
  bool dry_run = false;
  std::vector<Provenance> provenance;  // of options that some source has set
  std::vector<std::string> problems;   // sentences for UsageError; empty: all was understood
  // Options whose value could not be read; config holds a lower source's value for them, so checks
  // that combine them with others would mislead.
  std::vector<std::string> doubtful;
};

// Understands `arguments` (those after the subcommand). Precedence: command line and its @FILE
// response files, then --config FILE, then --preset NAME, then defaults. Never throws for what the
// user wrote: every mistake becomes a problem, so that finish() (resolve.hpp) can report all at
// once. Options are "--name value" or "--name=value"; names are never guessed from a prefix.
ParseResult parse_options(std::span<const std::string> arguments);

// Settings that lie between presets and defaults: what a checkpoint says of its run.
struct BaseSettings {
  std::string source;                                         // "checkpoint-100.h5"
  std::vector<std::pair<std::string, std::string>> settings;  // option and value
};
ParseResult parse_options(std::span<const std::string> arguments, const BaseSettings& base);

// The text of --help: how options are written, then all of them.
std::string help_text();
// Options and general options by group, each with its legal values and default; those of the names
// in `only`, or all where that is empty.
std::string option_tables(std::span<const std::string> only);

}  // namespace cuboid
