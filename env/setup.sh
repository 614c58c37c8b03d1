#!/usr/bin/env bash
# Prepares a machine to build Cuboid: Debian packages, then pinned and hash-checked wheels
# unpacked under DEPS_DIR. Whatever is present is reused; a second run does nothing.
#
#   env/setup.sh [GROUP...]     groups: packages libtorch cuda (the default); tools python plots test-packages slurm
#
#   DEPS_DIR       where wheels are unpacked                  (default: .deps beside the Makefile)
#   TORCH_DIR      a LibTorch that is already on the machine  (default: none; then it is fetched)
#   CUDA_HOME      a CUDA Toolkit that is already there       (default: found through nvcc)
#   SKIP_PACKAGES  any value: leave Debian's packages alone   (default: unset)
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
deps=${DEPS_DIR:-$here/../.deps}
say() { printf 'setup: %s\n' "$*" >&2; }
die() { printf 'setup: error: %s\n' "$*" >&2; exit 1; }

# can_root: true where apt-get can be run; sudo=() or sudo=(sudo).
can_root() {
  sudo=()
  ((EUID == 0)) && return 0
  command -v sudo >/dev/null && { sudo -n true 2>/dev/null || [[ ${1:-} == ask && -t 0 ]]; } && sudo=(sudo)
}

missing_packages() { # FILE
  local name
  while read -r name; do
    [[ -z $name || $name == \#* ]] && continue
    # A pip that was installed another way serves as well as Debian's.
    [[ $name == python3-pip ]] && python3 -m pip --version >/dev/null 2>&1 && continue
    [[ $(dpkg-query -W -f='${db:Status-Status}' "$name" 2>/dev/null) == installed ]] || echo "$name"
  done <"$1"
}

apt_install() { # PACKAGE...
  local log=$deps/apt.log
  say "installing $# Debian packages: $*"
  { "${sudo[@]}" apt-get update && "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y --no-install-recommends "$@"; } >"$log" 2>&1 && return
  tail -n 20 "$log" >&2
  say "apt-get failed; its whole output is in $log"
  return 1
}

install_packages() {
  if ! command -v dpkg-query >/dev/null; then
    say "this is no Debian system: Open MPI, parallel HDF5, Boost.Program_options, GoogleTest, Google"
    say "Benchmark, nlohmann-json and xxHash are taken as the environment gives them (env/README.md)"
    return
  fi
  local missing sudo
  mapfile -t missing < <(missing_packages "$here/packages.txt")
  ((${#missing[@]})) || return 0
  can_root ask || die "these Debian packages are missing, and there is neither root nor sudo to install them:
  ${missing[*]}
Ask an administrator for:  apt-get install ${missing[*]}
or load them from environment modules or Spack (env/README.md names them) and run
make with SKIP_PACKAGES=1."
  apt_install "${missing[@]}" || exit 1
}

# What only tests use: without root, or where apt-get fails, a line says so and the tests skip by name.
install_test_packages() {
  command -v dpkg-query >/dev/null || return 0
  local missing sudo
  mapfile -t missing < <(missing_packages "$here/packages-test.txt")
  ((${#missing[@]})) || return 0
  if ! can_root; then
    say "no root: tests that need these packages will be skipped: ${missing[*]}"
  elif ! apt_install "${missing[@]}"; then
    say "tests that need these packages will be skipped: ${missing[*]}"
  fi
}

# fetch_debs FOLDER PACKAGE...: apt checks what it fetches against the signed lists.
fetch_debs() {
  local folder=$1 sudo
  shift
  (cd "$folder" && apt-get -o APT::Sandbox::User=root download "$@") >"$deps/slurm.log" 2>&1 && return
  # The lists may be older than the archive, or there may be none yet.
  can_root && "${sudo[@]}" apt-get update >>"$deps/slurm.log" 2>&1 &&
    (cd "$folder" && apt-get -o APT::Sandbox::User=root download "$@") >>"$deps/slurm.log" 2>&1
}

# The scheduler of the tests, in a folder of its own (packages-slurm.txt says why).
install_slurm() {
  command -v apt-get >/dev/null || return 0
  local list=$here/packages-slurm.txt target=$deps/slurm digest partial names deb name
  digest=$(sha256sum <"$list" | cut -d' ' -f1)
  [[ -f $target/.complete && $(<"$target/.complete") == "$digest" ]] && return 0
  # All of SLURM, for one version; of the libraries what the machine lacks.
  mapfile -t names < <(grep -vE '^(#|$|lib)' "$list"; missing_packages "$list" | grep '^lib')
  partial=$deps/partial-slurm.$$
  rm -rf "$deps/partial-slurm".*
  mkdir -p "$partial/debs" "$partial/root"
  say "fetching SLURM for the tests"
  if ! fetch_debs "$partial/debs" "${names[@]}"; then
    rm -rf "$partial"
    say "SLURM's packages could not be fetched ($deps/slurm.log): tests that need a scheduler will be skipped"
    return 0
  fi
  for deb in "$partial"/debs/*.deb; do dpkg-deb -x "$deb" "$partial/root"; done
  # What update-alternatives would do.
  for name in slurmctld slurmd slurmstepd; do ln -s "$name-wlm" "$partial/root/usr/sbin/$name"; done
  echo "$digest" >"$partial/root/.complete"
  rm -rf "$target"
  mv "$partial/root" "$target"
  rm -rf "$partial"
}

# All manylinux tags up to this machine's own glibc, so that pip need not run on Python 3.11 itself.
pip_platforms() {
  local minor
  minor=$(getconf GNU_LIBC_VERSION | sed 's/.*\.//')
  while ((minor >= 5)); do
    printf -- '--platform\nmanylinux_2_%d_x86_64\n' "$minor"
    minor=$((minor - 1))
  done
  printf -- '--platform\n%s\n' manylinux2014_x86_64 manylinux2010_x86_64 manylinux1_x86_64
}

# install_wheels GROUP: unpacks env/wheels/GROUP.txt into $deps/GROUP. The folder appears by one
# rename after every wheel was checked and unpacked, and carries the digest of the list that made it.
install_wheels() {
  local group=$1 list=$here/wheels/$1.txt target=$deps/$1 digest partial
  digest=$(sha256sum <"$list" | cut -d' ' -f1)
  [[ -f $target/.complete && $(<"$target/.complete") == "$digest" ]] && return 0
  python3 -m pip --version >/dev/null 2>&1 || die "python3 with pip is needed to fetch wheels"
  say "fetching and checking $(grep -c -- --hash "$list") wheels for $group"
  partial=$deps/partial-$group.$$
  rm -rf "$deps/partial-$group".*
  mkdir -p "$partial/tmp"
  local platforms
  mapfile -t platforms < <(pip_platforms)
  if ! TMPDIR=$partial/tmp python3 -m pip install --quiet --disable-pip-version-check --no-input \
    --no-cache-dir --no-deps --no-compile --only-binary=:all: --require-hashes --python-version 3.11 \
    --implementation cp "${platforms[@]}" --root-user-action=ignore --target "$partial/site" -r "$list"; then
    rm -rf "$partial"
    die "wheels for $group could not be fetched; run the same command again to retry"
  fi
  echo "$digest" >"$partial/site/.complete"
  rm -rf "$target"
  mv "$partial/site" "$target"
  rm -rf "$partial"
}

install_libtorch() {
  if [[ -n ${TORCH_DIR:-} ]]; then
    [[ -f $TORCH_DIR/include/ATen/ATen.h ]] || die "TORCH_DIR=$TORCH_DIR holds no include/ATen/ATen.h"
    return 0
  fi
  install_wheels libtorch
}

install_cuda() {
  local nvcc
  nvcc=${CUDA_HOME:+$CUDA_HOME/bin/nvcc}
  [[ -x ${nvcc:-$(command -v nvcc || echo /usr/local/cuda/bin/nvcc)} ]] && return 0
  install_wheels cuda
}

main() {
  local group groups=("$@")
  ((${#groups[@]})) || groups=(packages libtorch cuda)
  mkdir -p "$deps"
  # Two makes at once wait for each other instead of unpacking over each other.
  exec 9>"$deps/.lock"
  flock 9
  for group in "${groups[@]}"; do
    case $group in
      packages) [[ -n ${SKIP_PACKAGES:-} ]] || install_packages ;;
      libtorch) install_libtorch ;;
      cuda) install_cuda ;;
      tools | python | plots) install_wheels "$group" ;;
      test-packages) [[ -n ${SKIP_PACKAGES:-} ]] || install_test_packages ;;
      slurm) install_slurm ;;
      *) die "unknown group '$group': packages, libtorch, cuda, tools, python, plots, test-packages or slurm" ;;
    esac
  done
}
main "$@"
