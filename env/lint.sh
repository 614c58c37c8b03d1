#!/usr/bin/env bash
# What `make lint` runs. Checks every tracked and every new file:
#   format        clang-format --dry-run on all C++ and CUDA sources
#   direction     a module includes only itself and the modules before it; LibTorch headers stay out
#                 of base to collective; torch/torch.h is nowhere; getenv only in launch and app
#   scripts       shellcheck on everything that a shell runs
#   clang-tidy    src/**/*.cpp and, through them, include/cuboid (.cu files are nvcc's: not tidied)
#
#   CXX_FLAGS="..." env/lint.sh "base config ..."      the modules, lowest first (the Makefile's list)
#
# A source that clang-tidy has passed is not looked at again until it, a header of the project that
# it includes, the flags, .clang-tidy or the pinned wheels change: the digest is kept in build/lint.
# JOBS sets how many run at once (default: the number of cores). Ends with one sentence; exit 1 when
# there are findings.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit
stamps=build/lint

die() { printf 'lint: error: %s\n' "$*" >&2; exit 1; }

# tidy_one LABEL SOURCE: writes the findings to a log under build/lint, prints a line of progress.
tidy_one() {
  local label=$1 source=$2 stamp=$stamps/$2 digest headers start=$SECONDS
  mkdir -p "$(dirname "$stamp")"
  # -MM names the project's headers only: those under -isystem are covered by the list of wheels.
  # shellcheck disable=SC2086  # CXX_FLAGS and MPI_FLAGS are lists
  if headers=$(g++ $CXX_FLAGS $MPI_FLAGS -MM -MT deps "$source" 2>/dev/null); then
    headers=${headers#deps:}
    # shellcheck disable=SC2086
    digest=$({ echo "$CXX_FLAGS $MPI_FLAGS $TIDY_VERSION" &&
      sha256sum env/lint.sh .clang-tidy env/wheels/*.txt ${headers//\\/}; } | sha256sum)
  fi
  if [[ -n ${digest:-} && -f $stamp.passed && $(<"$stamp.passed") == "$digest" ]]; then
    return 0
  fi
  rm -f "$stamp.passed" "$stamp.log"
  # clang knows no target_clones on templates; to g++, which builds everything, they matter. The
  # Makefile gives two sources a text each.
  # shellcheck disable=SC2086
  if clang-tidy --quiet "$source" -- $CXX_FLAGS $MPI_FLAGS '-Dtarget_clones(...)=unused' \
    '-DCUBOID_VERSION=""' '-DCUBOID_DEFAULT_TEXT=""' >"$stamp.log" 2>"$stamp.err"; then
    [[ -n ${digest:-} ]] && echo "$digest" >"$stamp.passed"
    rm -f "$stamp.log" "$stamp.err"
    echo "lint: clang-tidy $label $source ($((SECONDS - start)) s)"
  else
    # A crash or a header that is not found leaves no "error:" line of its own.
    grep -q ' error: ' "$stamp.log" ||
      { echo "$source:1:1: error: clang-tidy failed" && cat "$stamp.err"; } >>"$stamp.log"
    echo "lint: clang-tidy $label $source: findings below"
  fi
}

if [[ ${1:-} == --tidy-one ]]; then
  tidy_one "$2" "$3"
  exit
fi

modules=${1:?the list of modules is missing: run make lint}
[[ -n ${CXX_FLAGS:-} ]] || die "CXX_FLAGS is not set: run make lint"
for tool in git clang-format clang-tidy shellcheck mpicxx g++; do
  command -v "$tool" >/dev/null || die "$tool is not on PATH: run make lint, which fetches it"
done
findings=0

# Everything on standard input is a finding: prints it with the check's name, and counts.
report() {
  local line
  while IFS= read -r line; do
    [[ -n $line ]] || continue
    printf '%s [%s]\n' "$line" "$1"
    findings=$((findings + 1))
  done
}

mapfile -t files < <(git ls-files -co --exclude-standard | sort -u | while IFS= read -r file; do
  [[ -f $file ]] && echo "$file"
done)
sources=() scripts=() tidied=()
for file in "${files[@]}"; do
  case $file in
    src/*.cpp) sources+=("$file") tidied+=("$file") ;;
    *.cpp | *.hpp | *.cu | *.cuh) sources+=("$file") ;;
    *.md | *.txt | *.py | *.h5 | *.png) ;;
    *) IFS= read -r -n 64 first <"$file" 2>/dev/null
      [[ $file =~ \.(sh|env)$ || $first =~ ^#!.*[/\ ](ba|da)?sh( |$) ]] && scripts+=("$file") ;;
  esac
done

check_format() {
  ((${#sources[@]})) || return 0
  report format < <(clang-format --dry-run -Werror "${sources[@]}" 2>&1 |
    sed -nE 's/^([^: ]+):[0-9]+:[0-9]+: (error|warning): .*/\1: not formatted: run make format/p' | sort -u)
}

# file:line of every include and every getenv -> what the rules say against it.
check_direction() {
  report direction < <(awk -v modules="$modules" '
    BEGIN {
      count = split(modules, list, " ")
      for (i = 1; i <= count; ++i) level[list[i]] = i
    }
    FNR == 1 {
      split(FILENAME, part, "/")
      product = part[1] == "src" || part[1] == "include"
      module = part[1] == "include" ? part[3] : part[2]
      if (product && !(module in level) && FILENAME ~ /\/.*\//)
        print FILENAME ":1: folder " module " is not in the list of modules"
    }
    /^[ \t]*#[ \t]*include/ {
      if (match($0, /"cuboid\/[a-z_0-9]+\//)) {
        other = substr($0, RSTART + 8, RLENGTH - 9)
        if (!(other in level)) print FILENAME ":" FNR ": includes unknown module " other
        else if (module in level && level[other] > level[module])
          print FILENAME ":" FNR ": " module " must not include " other ", which comes after it"
      }
      if ($0 ~ /[<"]torch\/torch\.h/)
        print FILENAME ":" FNR ": torch/torch.h takes 20 s to compile: include the narrow header"
      if (product && level[module] <= level["collective"] && $0 ~ /[<"](torch|ATen|c10|caffe2)\//)
        print FILENAME ":" FNR ": LibTorch headers stay out of base to collective"
    }
    product && module != "launch" && module != "app" && /(^|[^a-zA-Z_])(secure_)?getenv *\(/ {
      print FILENAME ":" FNR ": only launch and app read the environment"
    }' "${sources[@]}")
}

# Runs beside the rest: half a minute on one core.
start_shellcheck() {
  mkdir -p "$stamps"
  { ((${#scripts[@]} == 0)) || shellcheck -x --format=gcc "${scripts[@]}"; } >"$stamps/shellcheck.log" 2>&1 &
  shellcheck=$!
}

check_scripts() {
  wait "$shellcheck"
  report shellcheck <"$stamps/shellcheck.log"
}

check_tidy() {
  local i=0 source total=${#tidied[@]} omp
  MPI_FLAGS=$(mpicxx --showme:incdirs 2>/dev/null | sed -E 's/([^ ]+)/-isystem \1/g')
  # MPICH and its kin answer another option.
  [[ -n $MPI_FLAGS ]] || MPI_FLAGS=$(mpicxx -show | grep -oE -- '-I ?[^ ]+' | sed 's/^-I/-isystem /' | tr '\n' ' ')
  # clang-tidy's wheel has no omp.h; GCC's own serves.
  mkdir -p "$stamps/include"
  omp=$(g++ -print-file-name=include/omp.h)
  ln -sf "$omp" "$stamps/include/omp.h"
  MPI_FLAGS+=" -isystem $PWD/$stamps/include"
  TIDY_VERSION=$(clang-tidy --version | tr '\n' ' ')
  export MPI_FLAGS TIDY_VERSION
  for source in "${tidied[@]}"; do
    i=$((i + 1))
    printf '%s\0%s\0' "$i/$total" "$source"
  done | xargs -0 -r -n 2 -P "${JOBS:-$(nproc)}" "$BASH" env/lint.sh --tidy-one
  # A header's finding turns up with each source that includes it: count it once.
  local logs=() log
  for source in "${tidied[@]}"; do
    log=$stamps/$source.log
    [[ -f $stamps/$source.passed ]] && continue
    [[ -f $log ]] && logs+=("$log")
    [[ -f $log ]] || report clang-tidy <<<"$source: clang-tidy did not run"
  done
  ((${#logs[@]})) || return 0
  report clang-tidy < <(grep -hE '^[^ ].*: (error|warning): ' "${logs[@]}" | sed "s|^$PWD/||; s/,-warnings-as-errors//" |
    sort -u -t: -k1,3)
}

echo "lint: ${#sources[@]} C++ and CUDA sources, ${#scripts[@]} scripts"
start_shellcheck
check_format
check_direction
check_tidy
check_scripts
total=$((${#sources[@]} + ${#scripts[@]}))
if ((findings)); then
  echo "lint: $total files, $findings findings (above; clang-tidy's whole text is in $stamps)"
  exit 1
fi
echo "lint: $total files, 0 findings"
