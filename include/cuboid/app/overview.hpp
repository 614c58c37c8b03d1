// What the program says about itself as a whole: `cuboid --help`, the man page and the completion,
// all three from the tables of commands and options.
#pragma once

#include <string>

namespace cuboid {

std::string overview_text();

// roff, in the man macros: `cuboid man | man -l -`.
std::string man_page();

// A script that bash sources: completes commands, options, their words and presets, and files.
std::string completion_script();

}  // namespace cuboid
