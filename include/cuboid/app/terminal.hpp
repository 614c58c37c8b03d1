// Long texts in pages, and colours, where a person looks on (is_watched): not in files or pipes,
// nor in what a launcher's ranks print.
#pragma once

#include <cstdio>
#include <string>

namespace cuboid {

// True where `stream` is watched, its terminal is not "dumb" and NO_COLOR (no-color.org) is unset
// or "".
bool has_colours(std::FILE* stream);

// `text`, on a terminal with colours between the escape codes that make it bold.
std::string bold(const std::string& text, std::FILE* stream);
// "cuboid: error: ", in red on a terminal with colours.
std::string error_prefix();
// "warning: ", in yellow where standard output is a terminal with colours.
std::string warning_prefix();

// Prints `text`, one rank alone where a launcher has started several. On a terminal it goes through
// $PAGER, or through less (which stays away where the text fits on the screen) where that is unset;
// PAGER= or a pager that cannot be run means none.
void show_in_pages(const std::string& text);

}  // namespace cuboid
