# timeout: 60
# The recipes of env/: modules.sh with a `module` command played here (install_test.sh has the real one), the
# Spack environment, the Apptainer recipe, and the pinned wheels, which must agree with what is said of them.
# shellcheck shell=bash source=test/app/lib.sh disable=SC2013,SC2015,SC2016,SC2154
source test/app/lib.sh

is() { # NAME WANTED FOUND
  [[ $3 == "$2" ]] && ok || fail "$1" "wanted: $2" "found:  $3"
}

# ---- modules.sh
cat >"$work/module" <<'EOF'
module() {
  case $1 in
    use) MODULEPATH=$2${MODULEPATH:+:$MODULEPATH} ;;
    load) [[ $2 == nothing ]] || LOADEDMODULES=${LOADEDMODULES:+$LOADEDMODULES:}$2/1.0 ;;
  esac
  [[ $a_variable_that_is_not_set == "" ]]
}
EOF
mkdir -p "$work/hdf5/"{include,lib} "$work/boost/"{include,lib64} "$work/env/.spack-env/view/"{include,lib}
# sourced VARIABLES... -- COMMANDS: what a strict script prints that sources modules.sh and goes on.
sourced() {
  local variables=()
  while [[ $1 != -- ]]; do
    variables+=("$1")
    shift
  done
  env -i PATH="$PATH" "${variables[@]}" bash -c 'set -euo pipefail
    source "$0/module"
    set -- --of the-script
    source env/modules.sh
    '"$2" "$work" 2>&1
}
is "no names, nothing done" "none --of" "$(sourced CUBOID_MODULES= -- 'echo "${LOADEDMODULES:-none} $1"')"
is "names are loaded in order" "gcc/1.0:openmpi/1.0 eu" \
  "$(sourced CUBOID_MODULES=' gcc  openmpi' -- 'echo "$LOADEDMODULES ${-//[^eu]/}"')"
is "folders of modules" "/sw/b:/sw/a" "$(sourced CUBOID_MODULES=gcc CUBOID_MODULEPATH=/sw/a:/sw/b -- 'echo "$MODULEPATH"')"
is "the compiler's paths" "$work/boost/include:$work/hdf5/include $work/boost/lib64:$work/hdf5/lib" \
  "$(sourced CUBOID_MODULES=gcc HDF5_ROOT="$work/hdf5" EBROOTBOOST="$work/boost" -- 'echo "$CPATH $LIBRARY_PATH"')"
is "HDF5 for make" "$work/hdf5/include -L$work/hdf5/lib -Wl,-rpath,$work/hdf5/lib -lhdf5 1" \
  "$(sourced CUBOID_MODULES=gcc HDF5_DIR="$work/hdf5" -- 'echo "$HDF5 $HDF5_LIBS $SKIP_PACKAGES"')"
is "twice is once" "$work/hdf5/include" \
  "$(sourced CUBOID_MODULES=gcc HDF5_DIR="$work/hdf5" -- 'source env/modules.sh; echo "$CPATH"')"
is "Spack's folder" "$work/env/.spack-env/view/include $work/env/.spack-env/view/lib" \
  "$(sourced SPACK_ENV="$work/env" -- 'echo "$CPATH $LD_LIBRARY_PATH"')"
is "a module that is not there" "modules.sh: error: module 'nothing' cannot be loaded; 'module avail' lists what is there" \
  "$(sourced CUBOID_MODULES="gcc nothing" -- 'echo went on')"
is "nothing is left behind" "" \
  "$(sourced CUBOID_MODULES=gcc -- 'set | grep -iE "^cuboid_[a-z_]* ?(\(\)|=)" | grep -vE "^(CUBOID_MODULES|cuboid_status)="' || true)"

# ---- The Spack environment
cat >"$work/read_spack.py" <<'EOF'
import re
import sys

import yaml

document = yaml.safe_load(open(sys.argv[1]))
assert list(document) == ["spack"], "one key, spack"
spack = document["spack"]
known = {"specs", "view", "concretizer", "packages", "config", "definitions", "include", "modules", "repos"}
assert set(spack) <= known, set(spack) - known
assert spack["concretizer"]["unify"] is True and spack["view"] is True
# A version that ends in a colon is a mapping to YAML unless it is quoted.
spec = re.compile(r"^[a-z0-9-]+(@[0-9.:]+)?( [+~][a-z_]+)*$")
wrong = [s for s in spack["specs"] if not isinstance(s, str) or not spec.match(s)]
assert not wrong, wrong
print(" ".join(sorted(re.split("[@ ]", s)[0] for s in spack["specs"])))
EOF
if /usr/bin/python3 -c 'import yaml' 2>/dev/null; then
  is "what Spack builds" "benchmark boost googletest hdf5 nlohmann-json openmpi pkgconf xxhash" \
    "$(/usr/bin/python3 "$work/read_spack.py" env/spack.yaml 2>&1)"
else
  echo "SKIPPED reading spack.yaml: no python3-yaml"
fi

# ---- The Apptainer recipe
recipe=env/cuboid.def
is "its sections" "environment files help labels post runscript test" "$(sed -nE 's/^%([a-z]+).*/\1/p' $recipe | sort | paste -sd' ')"
for part in post environment runscript test; do
  sed -n "/^%$part\$/,/^%/{/^%/d;p}" $recipe >"$work/$part.sh"
  { [[ -s $work/$part.sh ]] && sh -n "$work/$part.sh"; } 2>"$work/err" && ok || fail "%$part is shell" "$(cat "$work/err")"
  if command -v shellcheck >/dev/null; then
    shellcheck -s sh "$work/$part.sh" >"$work/out" && ok || fail "%$part" "$(cat "$work/out")"
  fi
done
is "the head" "Bootstrap: docker From: debian:12" "$(head -n 2 $recipe | paste -sd' ')"
for target in $(grep -oE '^    make [a-z]+' $recipe | awk '{ print $2 }'); do
  grep -qE "^$target:" Makefile && ok || fail "make $target in %post" "no such target"
done

# ---- The wheels
line='^[a-z0-9-]+==[0-9][0-9.]* --hash=sha256:[0-9a-f]{64}$'
is "every wheel has a version and a hash" "" "$(grep -hvE '^#|^$' env/wheels/*.txt | grep -vE "$line")"
is "one version of each" "" "$(grep -ho '^[^# ]*==[^ ]*' env/wheels/*.txt | sort -u | sed 's/==.*//' | uniq -d)"
version() { grep -hoE "^$1==[^ ]*" env/wheels/*.txt | sort -u | sed 's/.*==//'; }
cuda=$(version nvidia-cuda-runtime | cut -d. -f1,2)
is "LibTorch in env/README.md" "$(version torch)" "$(grep -oE 'LibTorch [0-9.]+[0-9]' env/README.md | sort -u | sed 's/.* //')"
is "LibTorch in check.sh" "$(version torch)" "$(grep -oE '"2[0-9.]+ is what is tested' env/check/software.sh | grep -oE '[0-9][0-9.]+')"
is "CUDA in env/README.md" "$cuda" "$(grep -oE 'CUDA( Toolkit)? [0-9.]+[0-9]' env/README.md | sed 's/.* //' | sort -u)"
is "CUDA in check.sh" "$cuda" "$(sed -nE '/check_library "CUDA run time"/s/.* ([0-9.]+)$/\1/p' env/check/gpu.sh)"
is "NCCL in check.sh" "$(version nvidia-nccl-cu13 | cut -d. -f1,2)" "$(sed -nE '/check_library NCCL/s/.* ([0-9.]+)$/\1/p' env/check/gpu.sh)"
for list in env/wheels/*.txt; do
  grep -qw "$(basename "$list" .txt)" <(grep '^#   env/setup.sh' env/setup.sh) && ok || fail "setup.sh does not name $list"
done
finish
