# shellcheck shell=bash
# What the build needs: tools, MPI, HDF5, headers and LibTorch.
declare -A path  # of check.sh: where make looks
declare work     # of check.sh: a folder for scraps

check_software() {
  section "Build"
  check_tool make "$(make --version 2>/dev/null | sed -nE '1s/.* ([0-9.]+)$/\1/p')" make
  check_tool git "$(git --version 2>/dev/null | sed 's/git version //')" git
  check_tool sha256sum "$(sha256sum --version 2>/dev/null | sed -nE '1s/.* ([0-9.]+)$/\1/p')" coreutils
  check_tool flock "$(flock --version 2>/dev/null | sed 's/.* //')" util-linux
  check_tool ar "$(ar --version 2>/dev/null | sed -nE '1s/.* ([0-9.]+).*/\1/p')" binutils
  check_compiler
  check_wheels
  section "Libraries"
  check_mpi
  check_hdf5
  check_header Boost boost/version.hpp BOOST_LIB_VERSION libboost-program-options-dev boost_program_options
  check_header nlohmann-json nlohmann/json.hpp \
    "NLOHMANN_JSON_VERSION_MAJOR.NLOHMANN_JSON_VERSION_MINOR.NLOHMANN_JSON_VERSION_PATCH" nlohmann-json3-dev
  check_header xxHash xxhash.h XXH_VERSION_MAJOR.XXH_VERSION_MINOR.XXH_VERSION_RELEASE libxxhash-dev
  check_optional GoogleTest gtest/gtest.h gtest libgtest-dev "make test"
  check_optional "Google Benchmark" benchmark/benchmark.h benchmark libbenchmark-dev "make bench"
  check_torch
}

check_tool() { # name version package
  if command -v "$1" >/dev/null; then
    row ok "$1" "$2" "$(command -v "$1")"
  else
    row MISSING "$1" - - "$(install_with "$3")"
  fi
}

check_compiler() {
  # Open MPI says which compiler it calls; others are asked for it by -show.
  cxx=$(mpicxx --showme:command 2>/dev/null || mpicxx -show 2>/dev/null | cut -d' ' -f1)
  cxx=${cxx:-g++}
  if ! command -v "$cxx" >/dev/null; then
    row MISSING "C++ compiler" - - "$(install_with g++)"
    return
  fi
  local name
  name="$("$cxx" --version | head -n 1 | sed -E 's/ \(.*\)//')"
  if printf '%s\n' '#include <concepts>' '#include <source_location>' '#include <span>' \
    'static_assert(__cplusplus >= 202002L);' | "$cxx" -std=c++20 -fsyntax-only -x c++ - 2>/dev/null; then
    row ok "C++ compiler" "$name, C++20" "$(command -v "$cxx")"
  else
    row MISSING "C++ compiler" "$name, no C++20" "$(command -v "$cxx")" \
      "GCC 12 is what is tested: $(install_with g++), then OMPI_CXX=g++-12 if several are installed"
  fi
}

# Wheels are fetched by pip; where LibTorch is there already, nothing is.
check_wheels() {
  local pip
  pip=$(python3 -c "import pip; print(pip.__version__)" 2>/dev/null)
  if [[ -n $pip ]]; then
    row ok "python3 with pip" "$(python3 --version 2>&1 | cut -d' ' -f2), pip $pip" "$(command -v python3)"
  elif [[ -f ${path[torch]}/lib/libtorch_cpu.so ]]; then
    row warn "python3 with pip" - - "only to fetch wheels, which are here; tests use Python: $(install_with python3-pip)"
  else
    row MISSING "python3 with pip" - - "fetches LibTorch: $(install_with python3-pip), or set TORCH_DIR"
  fi
}

# first_error FILE: one line that says what went wrong.
first_error() { grep -vE '^ *$|^-+$' "$1" | grep -m 1 -iE 'error|cannot|not found|fail|no such' | cut -c1-160; }

check_mpi() {
  local multiple cuda ranks version
  if ! command -v mpicxx >/dev/null; then
    row MISSING mpicxx - - "$(install_with libopenmpi-dev)"
  elif ! mpicxx -std=c++20 -DOMPI_SKIP_MPICXX env/check/probe_mpi.cpp -o "$work/probe_mpi" >"$work/log" 2>&1; then
    row MISSING mpicxx "does not compile" "$(command -v mpicxx)" "$(first_error "$work/log"); load the compiler that the MPI was built with"
  else
    row ok mpicxx "compiles" "$(command -v mpicxx)"
  fi
  if ! command -v mpirun >/dev/null; then
    row "$(command -v srun >/dev/null && echo warn || echo MISSING)" mpirun - - \
      "$(install_with openmpi-bin); inside SLURM srun does as well"
    [[ -x $work/probe_mpi ]] && read -r multiple cuda ranks version < <(timeout 20 "$work/probe_mpi" 2>"$work/log")
  elif [[ -x $work/probe_mpi ]]; then
    read -r multiple cuda ranks version < <(OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 \
      OMPI_MCA_rmaps_base_oversubscribe=1 timeout 20 mpirun -np 2 "$work/probe_mpi" 2>"$work/log" </dev/null)
    if [[ ${ranks:-} == 2 ]]; then
      row ok mpirun "2 ranks talk" "$(command -v mpirun)"
    else
      row warn mpirun "2 ranks do not start" "$(command -v mpirun)" \
        "$(first_error "$work/log"); try mpirun -np 2 hostname, or srun inside an allocation"
      read -r multiple cuda ranks version < <(timeout 20 "$work/probe_mpi" 2>"$work/log")
    fi
  fi
  [[ -x $work/probe_mpi ]] || return 0
  version=${version%%,*}
  case ${version:-} in
    "Open MPI v4."*) row ok "MPI library" "$version" "$(library_path "$work/probe_mpi" libmpi)" ;;
    "") row MISSING "MPI library" "does not run" - "$(first_error "$work/log"); is the MPI's library on LD_LIBRARY_PATH?" ;;
    *) row warn "MPI library" "$version" "$(library_path "$work/probe_mpi" libmpi)" "Open MPI 4 is what is tested: run make test" ;;
  esac
  case ${multiple:-} in
    yes) row ok "MPI threads" "MPI_THREAD_MULTIPLE" - ;;
    no) row MISSING "MPI threads" "less than MULTIPLE" - "needs an MPI that is built with it (Open MPI: --enable-mpi-thread-multiple)" ;;
  esac
  case ${cuda:-} in
    yes) row ok "CUDA-aware MPI" yes - ;;
    *) row n/a "CUDA-aware MPI" "${cuda:-unknown}" "not used: GPUs talk by NCCL" ;;
  esac
}

library_path() { ldd "$1" 2>/dev/null | awk -v name="$2" 'index($1, name ".so") == 1 { print $3; exit }'; }

check_hdf5() {
  local version flags=() count
  if ! command -v mpicxx >/dev/null; then
    row MISSING "parallel HDF5" - "${path[hdf5]}" "seen once mpicxx is here: $(install_with libhdf5-openmpi-dev)"
    return
  fi
  read -ra flags <<<"${path[hdf5_libs]}"
  if ! mpicxx -std=c++20 -DOMPI_SKIP_MPICXX -I"${path[hdf5]}" env/check/probe_hdf5.cpp "${flags[@]}" \
    -o "$work/probe_hdf5" >"$work/log" 2>&1; then
    row MISSING "parallel HDF5" "$(grep -q 'is serial' "$work/log" && echo "this one is serial")" "${path[hdf5]}" \
      "$(install_with libhdf5-openmpi-dev), or tell make HDF5=FOLDER_OF_HDF5.H and HDF5_LIBS"
    return
  fi
  version=$(timeout 20 "$work/probe_hdf5" 2>"$work/log" </dev/null)
  count=$(ldd "$work/probe_hdf5" | awk '$1 ~ /^libmpi\.so/' | sort -u | wc -l)
  if ((count > 1)); then
    row MISSING "parallel HDF5" "$version, of another MPI" "$(library_path "$work/probe_hdf5" libhdf5)" \
      "two MPIs in one program crash: HDF5 must be built with the MPI of $(command -v mpicxx)"
  elif [[ -z $version ]]; then
    row MISSING "parallel HDF5" "does not run" "${path[hdf5]}" "$(first_error "$work/log"); add a run path to HDF5_LIBS"
  else
    row ok "parallel HDF5" "$version, same MPI" "$(ldd "$work/probe_hdf5" | awk '/libhdf5/ { print $3; exit }')"
  fi
}

# check_header NAME HEADER MACROS PACKAGE [LIBRARY]: a header, the version that its macros spell, a library.
check_header() {
  local version="" where=""
  # The first line of the text that names the header has its path; the version, last, may be in several pieces.
  read -r where version < <(printf '#include <%s>\ncuboid_version %s\n' "$2" "$3" |
    "${cxx:-g++}" -std=c++20 -E -x c++ - 2>/dev/null | awk -v header="/$2\"" '
      /^#/ { if (!where && index($3, header)) where = $3; next }
      sub(/^cuboid_version /, "") { found = 1 }
      found { version = version $0 }
      END { gsub(/[ "]/, "", version); gsub(/_/, ".", version); gsub(/"/, "", where); print where, version }')
  if [[ -z $where ]]; then
    row MISSING "$1" - - "$(install_with "$4"); elsewhere, put its include folder on CPATH"
  elif [[ -n ${5:-} ]] && ! echo 'int main() {}' | "$cxx" -x c++ - -l"$5" -o "$work/linked" 2>/dev/null; then
    row MISSING "$1" "$version, no lib$5" "$where" "$(install_with "$4"); elsewhere, put its lib folder on LIBRARY_PATH"
  else
    row ok "$1" "$version" "$where"
  fi
}

check_optional() { # name header pkg-config-name package used-by
  local where
  where=$(echo "#include <$2>" | "${cxx:-g++}" -std=c++20 -M -x c++ - 2>/dev/null | grep -m 1 -oE "[^ ]*/$2")
  if [[ -n $where ]]; then
    row ok "$1" "$(pkg-config --modversion "$3" 2>/dev/null)" "$where"
  else
    row warn "$1" - - "only $5 needs it: $(install_with "$4")"
  fi
}

check_torch() {
  local version
  if [[ ! -f ${path[torch]}/lib/libtorch_cpu.so ]]; then
    row MISSING LibTorch - "${path[torch]}" "make setup fetches it, or set TORCH_DIR to one that is here"
    return
  fi
  version=$(sed -nE 's/^#define TORCH_VERSION_(MAJOR|MINOR|PATCH) ([0-9]+).*/\2/p' \
    "${path[torch]}"/include/torch/{headeronly,csrc/api/include/torch}/version.h 2>/dev/null | paste -sd.)
  if [[ $version == 2.11.* ]]; then
    row ok LibTorch "$version" "${path[torch]}"
  else
    row warn LibTorch "${version:-unknown}" "${path[torch]}" "2.11.0 is what is tested: run make test, or unset TORCH_DIR and run make setup"
  fi
}
