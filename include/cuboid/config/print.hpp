// A configuration as text: for people, for files and for comparison.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "cuboid/config/config.hpp"
#include "cuboid/config/parse.hpp"

namespace cuboid {

// Aligned lines, group by group; a value that a source has set names the source.
std::string config_table(const Config& config, std::span<const Provenance> provenance = {});

// Every option as "key = value", in canonical order and at full precision: what --print-config
// prints, and what --config reads back to the same configuration.
std::string config_text(const Config& config);

// XXH3 (64 bits) of config_text: equal on all ranks when all were started alike.
std::uint64_t config_hash(const Config& config);

}  // namespace cuboid
