# shellcheck shell=bash
# Loads a site's environment modules and gives the compiler what they leave out. To be sourced by bash,
# before `make` and inside a job alike, with or without `set -eu`:
#
#   CUBOID_MODULES="gcc/12 openmpi/4.1 hdf5-mpi boost" source env/modules.sh
#
#   CUBOID_MODULES     names, separated by spaces; without any, nothing is loaded
#   CUBOID_MODULEPATH  folders of modules that are not on MODULEPATH, separated by colons
#
# After `spack env activate` (spack.yaml) it does the same for the folder that Spack has made; no names then.
# It takes no arguments: a sourced file cannot tell its own from those of the script that sources it.
# Lmod and Environment Modules are understood. Returns 1, with one sentence, where a module cannot be
# loaded. Sourcing it twice changes nothing.

# Variables by which modules name the folder of a package: Spack's, EasyBuild's, and what sites use.
cuboid_module_roots=(
  "hdf5 CUBOID_SPACK_VIEW HDF5_ROOT HDF5_DIR HDF5_HOME HDF5ROOT EBROOTHDF5"
  "boost BOOST_ROOT BOOST_DIR BOOST_HOME BOOSTROOT EBROOTBOOST"
  "json NLOHMANN_JSON_ROOT JSON_ROOT EBROOTNLOHMANN_JSON"
  "xxhash XXHASH_ROOT XXHASH_DIR EBROOTXXHASH"
)

# `module` is a function that login shells have; a batch script may not.
cuboid_find_module() {
  local file
  type module >/dev/null 2>&1 && return 0
  for file in "${LMOD_PKG:-/nowhere}/init/bash" "${MODULESHOME:-/nowhere}/init/bash" /etc/profile.d/lmod.sh \
    /etc/profile.d/modules.sh /etc/profile.d/z00_lmod.sh /usr/share/lmod/lmod/init/bash /usr/share/modules/init/bash; do
    [[ -r $file ]] || continue
    # shellcheck disable=SC1090  # the site's own
    source "$file"
    type module >/dev/null 2>&1 && return 0
  done
  echo "modules.sh: error: there is no 'module' command here: neither Lmod nor Environment Modules was found" >&2
  return 1
}

# cuboid_prepend VARIABLE FOLDER: in front, once; an empty entry would mean the current folder.
cuboid_prepend() {
  local old=${!1:-}
  [[ -d $2 && :$old: != *":$2:"* ]] && export "$1=$2${old:+:$old}"
  return 0
}

cuboid_add_roots() {
  local line name words root
  for line in "${cuboid_module_roots[@]}"; do
    read -ra words <<<"$line"
    root=
    for name in "${words[@]:1}"; do
      [[ -n $root ]] || root=${!name:-}
    done
    [[ -n $root && -d $root/include ]] || continue
    cuboid_prepend CPATH "$root/include"
    for name in lib64 lib; do
      cuboid_prepend LIBRARY_PATH "$root/$name"
      cuboid_prepend LD_LIBRARY_PATH "$root/$name"
    done
    # make reads these two from the environment; Debian's HDF5 has another name.
    if [[ ${words[0]} == hdf5 ]]; then
      name=$root/lib
      [[ -d $root/lib64 ]] && name=$root/lib64
      export HDF5=${HDF5:-$root/include} HDF5_LIBS=${HDF5_LIBS:-"-L$name -Wl,-rpath,$name -lhdf5"}
    fi
  done
  # Not only modules of CUDA set CUDA_HOME.
  root=${CUDA_HOME:-${CUDA_ROOT:-${CUDA_PATH:-${EBROOTCUDA:-}}}}
  [[ -x $root/bin/nvcc ]] && export CUDA_HOME=$root
  export SKIP_PACKAGES=${SKIP_PACKAGES:-1}
}

# Old Environment Modules return 0 for a module that they do not find.
cuboid_is_loaded() { [[ :${LOADEDMODULES:-}: == *":$1:"* || :${LOADEDMODULES:-}: == *":$1/"* ]]; }

cuboid_load_modules() {
  local name
  local -a names folders
  read -ra names <<<"$CUBOID_MODULES"
  IFS=: read -ra folders <<<"${CUBOID_MODULEPATH:-}"
  cuboid_find_module || return 1
  for name in "${folders[@]}"; do
    [[ :${MODULEPATH:-}: == *":$name:"* ]] || module use "$name"
  done
  for name in "${names[@]}"; do
    if ! module load "$name" || ! cuboid_is_loaded "$name"; then
      echo "modules.sh: error: module '$name' cannot be loaded; 'module avail' lists what is there" >&2
      return 1
    fi
  done
}

cuboid_status=0
CUBOID_SPACK_VIEW=${SPACK_ENV:+$SPACK_ENV/.spack-env/view}
if [[ -n ${CUBOID_MODULES:-}$CUBOID_SPACK_VIEW ]]; then
  # The site's functions know nothing of `set -eu`.
  cuboid_flags=$-
  set +eu
  { [[ -z ${CUBOID_MODULES:-} ]] || cuboid_load_modules; } && cuboid_add_roots
  cuboid_status=$?
  [[ $cuboid_flags == *e* ]] && set -e
  [[ $cuboid_flags == *u* ]] && set -u
fi
unset -f cuboid_find_module cuboid_prepend cuboid_add_roots cuboid_load_modules cuboid_is_loaded
unset cuboid_module_roots cuboid_flags CUBOID_SPACK_VIEW
return "$cuboid_status"
