#!/usr/bin/env bash
# Prints a table of what this machine has of what Cuboid needs: found where, which version, whether it
# fits, and what to do about what does not.
#
#   env/check.sh [OUTPUT_DIR]     OUTPUT_DIR: where checkpoints will go (default: $OUTPUT_DIR, then checkpoints)
#
# It looks where make looks (env/site.mk, TORCH_DIR, HDF5 ...). Exit 0 where the build and training on CPUs
# can work, 1 where something for them is missing, 2 for a wrong argument. Warnings do not count.
# Parts of it: env/check/*.sh; each prints rows of the table.
set -uo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
start_folder=$PWD
cd "$here/.." || exit

case ${1:-} in
  -h | --help) sed -nE '2,/^set/s/^# ?//p' "$here/check.sh"; exit 0 ;;
  -*) echo "check.sh: error: unknown option '$1'; the only argument is a folder" >&2; exit 2 ;;
esac
output=${1:-${OUTPUT_DIR:-checkpoints}}
[[ $output == /* ]] || output=$start_folder/$output
missing=0 warnings=0
work=$(mktemp -d) || exit
trap 'rm -rf "$work"' EXIT

# The Makefile's own paths, for make reads env/site.mk and what is on its command line.
declare -A path=([torch]=${TORCH_DIR:-${DEPS_DIR:-.deps}/libtorch/torch} [hdf5]=${HDF5:-/usr/include/hdf5/openmpi}
  [hdf5_libs]=${HDF5_LIBS:--lhdf5_openmpi} [nvcc]=$(command -v nvcc || echo "${CUDA_HOME:-/usr/local/cuda}/bin/nvcc"))
path[nvidia]=${NVIDIA_DIR:-${path[torch]}/../nvidia}
if command -v make >/dev/null; then
  while read -r name value; do path[$name]=$value; done < <(make -s --no-print-directory paths 2>/dev/null)
fi

for part in table software gpu cluster machine output environment; do
  # shellcheck source=/dev/null  # checked by itself
  source "$here/check/$part.sh"
done
check_software
check_gpu
check_cluster
check_machine
check_output "$output"
check_environment
print_table

if ((missing)); then
  echo "Missing for a build: $missing (marked above). Run make setup; env/README.md is for machines without root."
  exit 1
fi
if ((warnings == 0)); then
  echo "Everything that a build and a training run on CPUs need is here."
else
  echo "Everything that a build and a training run on CPUs need is here; the warnings above ($warnings) are worth a look."
fi
