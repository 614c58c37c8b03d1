# The points of array_sweep.sbatch, and the table of what they came to.
# shellcheck shell=bash

# The options of every point, one a line, in order: the last option's values change fastest.
points() {
  local option values value line
  local -a words lines=('') longer
  if [[ -n ${SWEEP_FILE:-} ]]; then
    sed -E 's/#.*//; /^[[:space:]]*$/d' "$SWEEP_FILE"
    return
  fi
  read -ra words <<<"${SWEEP:-}"
  while ((${#words[@]} > 1)); do
    option=${words[0]} values=${words[1]}
    words=("${words[@]:2}")
    longer=()
    for line in "${lines[@]}"; do
      for value in ${values//,/ }; do longer+=("${line:+$line }$option $value"); done
    done
    lines=("${longer[@]}")
  done
  ((${#words[@]} == 0)) || { echo "array_sweep: error: SWEEP='$SWEEP' ends with an option that has no values" >&2; return 2; }
  [[ -z ${lines[0]} ]] || printf '%s\n' "${lines[@]}"
}

options_of_point() { points | sed -n "$1p"; }

list_points() {
  [[ -n ${SWEEP:-}${SWEEP_FILE:-} ]] || { echo "array_sweep: error: neither SWEEP nor SWEEP_FILE is set; the script's head says how" >&2; return 2; }
  points | awk '{ printf "%4d  %s\n", NR, $0 }'
}

# The value of KEY in the last line of FILE that has it.
last_value() { sed -nE "s/.*\"$2\":(\"[^\"]*\"|[^,}]*).*/\1/p" "$1" 2>/dev/null | tail -n 1; }

# summarize FOLDER: its points, best validation loss first; without one, by the last training loss.
summarize() {
  local folder number metrics validation loss step rows=''
  for folder in "$1"/point-*/; do
    [[ -r $folder/point ]] || continue
    number=${folder%/}
    number=${number##*-}
    metrics=$folder/metrics.jsonl
    step=$(last_value "$metrics" step) loss=$(last_value "$metrics" loss) validation=$(last_value "$metrics" validation_loss)
    # What is missing, or not a number, comes last.
    [[ $validation == [0-9]* ]] || validation=inf
    [[ $loss == [0-9]* ]] || loss=inf
    rows+="$validation"$'\t'"$loss"$'\t'"$number"$'\t'"${step:-0}"$'\t'"$(<"$folder/point")"$'\n'
  done
  [[ -n $rows ]] || { echo "array_sweep: error: no points in '$1'" >&2; return 2; }
  printf '\n%5s %7s %10s %12s  %s\n' point step loss validation options
  LC_ALL=C sort -g -k1,1 -k2,2 <<<"${rows%$'\n'}" | awk -F '\t' '
    function number(x) { return x == "inf" ? "-" : sprintf("%.4f", x) }
    { printf "%5s %7s %10s %12s  %s\n", $3, $4, number($2), number($1), $5
      if (best == "" && $1 != "inf") best = "best validation loss " number($1) ": point " $3 ", " $5 }
    END { if (best != "") print "\n" best }'
}
