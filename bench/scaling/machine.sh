# What a sweep was measured on and with, as lines "name = value".
# shellcheck shell=bash source=bench/scaling/plan.sh
source "${BASH_SOURCE[0]%/*}/plan.sh"

describe_machine() { # PROGRAM
  local name count
  name=$(sed -nE '/^model name/{s/.*: //p;q}' /proc/cpuinfo)
  echo "processor = ${name:-$(uname -m)}"
  echo "cores of a node = $(physical_cores) that may be used, $(nproc) hardware threads, $(sed -nE 's/^physical id.*: //p' /proc/cpuinfo | sort -u | wc -l) socket(s)"
  echo "memory of a node = $(awk '/^MemTotal/ { printf "%.1f GiB", $2 / 1048576 }' /proc/meminfo)"
  count=$( (nvidia-smi --query-gpu=name --format=csv,noheader 2>/dev/null || true) | sort | uniq -c | sed -E 's/^ *([0-9]+) /\1 x /' | paste -sd,)
  echo "GPUs of a node = ${count:-none}"
  grep -qw hypervisor /proc/cpuinfo && echo "virtual machine = yes"
  echo "system = $(sed -nE 's/^PRETTY_NAME="?([^"]*)"?$/\1/p' /etc/os-release 2>/dev/null || true), Linux $(uname -r)"
  "$1" --version | sed -nE 's/^([a-z0-9]+) +/\1 = /p'
  echo "program = $(sha256sum <"$1" | cut -c1-16)"
}

# Share of the processors that others keep busy, over a third of a second.
busy_share() {
  local before after
  before=$(head -n 1 /proc/stat)
  sleep 0.3
  after=$(head -n 1 /proc/stat)
  awk -v a="$before" -v b="$after" 'BEGIN {
    split(a, x); split(b, y)
    for (i = 2; i <= 9; i++) { all += y[i] - x[i]; if (i != 5 && i != 6) busy += y[i] - x[i] }
    printf "%.3f\n", all ? busy / all : 0 }'
}

# ---- What must be the same in all of a folder
describe_options() { # MACHINE-FILE
  local name
  grep -E '^(processor|GPUs of a node|mpi|libtorch|program) = ' "$1"
  echo "steps = $STEPS"
  echo "warmup = $WARMUP"
  echo "micro-batch-size = $MICRO_BATCH_SIZE"
  [[ $KINDS == bubble ]] || echo "batch-per-rank = $BATCH_PER_RANK"
  [[ " $KINDS " != *" strong "* ]] || echo "batch of strong scaling = $((BATCH_PER_RANK * most_ranks))"
  echo "threads of a rank = $threads"
  for name in PRESET DATA_DIR LEARNING_RATE SEED DTYPE DEVICE LAUNCHER BIND OMPI_MCA_mpi_yield_when_idle; do
    [[ -z ${!name:-} ]] || echo "$name = ${!name}"
  done
  echo "options = ${arguments[*]@Q}"
}

# same_as_before FILE: FILE is what this folder was measured with; standard input is what would be measured now. New names may
# be added to the first (a kind that was not swept before); a value that changed ends the sweep.
same_as_before() {
  local file=$1 name value old
  touch "$file"
  while IFS= read -r name; do
    value=${name#* = } name=${name%% = *}
    old=$(awk -v key="$name = " 'index($0, key) == 1 { print substr($0, length(key) + 1); exit }' "$file")
    if [[ -z $old ]]; then
      echo "$name = $value" >>"$file.new"
    elif [[ $old != "$value" ]]; then
      rm -f "$file.new"
      fail "'$OUTPUT_DIR' holds figures of another $name ('$old', now '$value'), which cannot be compared; legal: another --output-dir, or the same $name"
    fi
  done
  if [[ -f $file.new ]]; then cat "$file.new" >>"$file" && rm "$file.new"; fi
}
