# Where the program is.
# shellcheck shell=bash

# find_program JOBS: sets program to that of CUBOID, of this checkout, of this installation
# (PREFIX/share/cuboid/jobs beside PREFIX/bin), or on PATH; says what is missing and returns 1.
find_program() {
  local path
  program=
  if [[ -n ${CUBOID:-} ]]; then
    program=$(command -v -- "$CUBOID") && program=$(realpath "$program") && return
    echo "CUBOID='$CUBOID' is not a program; legal: the path of bin/cuboid, or unset" >&2
    return 1
  fi
  for path in "$1/../bin/cuboid" "$1/../../../bin/cuboid"; do
    if [[ -f $path && -x $path ]]; then
      program=$(realpath "$path")
      return
    fi
  done
  program=$(command -v cuboid) && return
  echo "there is no $(realpath -m "$1/../bin/cuboid") and no cuboid on PATH; run: make" >&2
  return 1
}
