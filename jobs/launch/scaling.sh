# The points of scaling_sweep.sbatch, their figures and their table.
# shellcheck shell=bash
failures=0
plan=()
sweep=''     # the folder: set by the script
launcher=''  # by job.sh

finished_points() { find "$1/points" -name figures -size +0 | wc -l; }

# Ranks of the whole allocation, and on each node.
per_node_ranks() { echo "${NPROC_PER_NODE:-${SLURM_NTASKS_PER_NODE:-1}}"; }

default_ranks() { # ALL
  local n
  for ((n = 1; n < $1; n *= 2)); do echo "$n"; done
  echo "$1"
}

# plan_sweep: names of points, KIND-RANKS-TPxPP, into plan; says what is left out.
plan_sweep() {
  local kind ranks grid tp pp dp all per_node nodes
  per_node=$(per_node_ranks)
  all=$((per_node * ${SLURM_JOB_NUM_NODES:-1}))
  micro=${MICRO_BATCH_SIZE:-4}
  batch=${BATCH_PER_RANK:-$((4 * micro))}
  for kind in ${KINDS:-strong weak}; do
    for ranks in ${RANKS:-$(default_ranks "$all")}; do
      for grid in ${GRIDS:-1x1}; do
        tp=${grid%x*} pp=${grid#*x} nodes=$(((ranks + per_node - 1) / per_node))
        dp=$((ranks / (tp * pp)))
        if ((ranks > all || ranks % nodes != 0)); then
          echo "left out: $ranks ranks on nodes of $per_node, $all in all"
        elif ((dp == 0 || ranks % (tp * pp) != 0)); then
          echo "left out: grid ${grid} (TPxPP) on $ranks ranks"
        elif (($(batch_of "$kind" "$ranks" "$all") % (micro * dp) != 0)); then
          echo "left out: $kind, $ranks ranks: a batch of $(batch_of "$kind" "$ranks" "$all") is no multiple of $micro x DP $dp"
        else
          plan+=("$kind-$ranks-$grid")
        fi
      done
    done
  done
  ((${#plan[@]})) || stop "RANKS, GRIDS and KINDS leave no point to measure"
}

batch_of() { # KIND RANKS ALL
  if [[ $1 == strong ]]; then echo $((batch * $3)); else echo $((batch * $2)); fi
}

# run_point POINT ARGS...
run_point() {
  local point=$1 kind ranks grid nodes per_node all folder=$sweep/points/$1 rc=0
  shift
  IFS=- read -r kind ranks grid <<<"$point"
  per_node=$(per_node_ranks)
  all=$((per_node * ${SLURM_JOB_NUM_NODES:-1}))
  nodes=$(((ranks + per_node - 1) / per_node))
  rm -rf "$folder"
  mkdir -p "$folder"
  echo "$(date -u +%FT%TZ) $point"
  export OUTPUT_DIR=$folder TP_SIZE=${grid%x*} PP_SIZE=${grid#*x} NUM_NODES=$nodes NPROC_PER_NODE=$((ranks / nodes)) RESUME=none
  export GLOBAL_BATCH_SIZE MICRO_BATCH_SIZE=$micro MAX_STEPS=${STEPS:-30} SAVE_INTERVAL=0
  GLOBAL_BATCH_SIZE=$(batch_of "$kind" "$ranks" "$all")
  unset NUM_MICROBATCHES DP_SIZE
  at="stopped at point $point" run_and_requeue "$launcher" "$@" --eval-steps 0 --log-interval "$MAX_STEPS" >"$folder/log" 2>&1 || rc=$?
  NPROC_PER_NODE=$per_node
  unset NUM_NODES
  rm -f "$folder"/checkpoint-*.h5
  # Out of time: in the queue again.
  ((rc != 75)) || { tail -n 1 "$folder/log"; exit 75; }
  if ((rc == 0)); then
    figures "$point" "$folder" "$nodes" >"$folder/figures.part"
    mv "$folder/figures.part" "$folder/figures"
  else
    echo "$point failed with exit code $rc: $(grep -m 1 error: "$folder/log" || tail -n 1 "$folder/log")"
    failures=$((failures + 1))
  fi
}

# median FILE KEY: over the steps after the warm-up.
median() {
  sed -nE "s/^\{\"step\":([0-9]+),(.*,)?\"$2\":([^,}]*).*/\1 \3/p" "$1" | awk -v skip="${WARMUP:-10}" '$1 > skip { print $2 }' |
    sort -g | awk '{ v[NR] = $1 } END { if (NR) print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2; else print "nan" }'
}

# figures POINT FOLDER NODES: kind ranks nodes grid batch tokens/s mfu step_ms steps shared
figures() {
  local kind ranks grid shared=no metrics=$2/metrics.jsonl
  IFS=- read -r kind ranks grid <<<"$1"
  grep -qE 'ranks share [0-9]+ cores' "$2/log" && shared=yes
  echo "$kind $ranks $3 $((ranks / (TP_SIZE * PP_SIZE)))x$grid $GLOBAL_BATCH_SIZE $(median "$metrics" tokens_per_second)" \
    "$(median "$metrics" mfu) $(median "$metrics" step_ms) $((MAX_STEPS - ${WARMUP:-10})) $shared"
}

# table FOLDER: writes FOLDER/scaling.csv and prints it. Of a kind, the fastest point with the fewest ranks is the base.
table() {
  local files=("$1"/points/*/figures)
  [[ -s ${files[0]} ]] || { echo "scaling_sweep: error: nothing was measured in '$1'" >&2; return 2; }
  cat "${files[@]}" | sort -k1,1 -k2,2n -k6,6gr | awk '
    BEGIN { print "kind,ranks,nodes,grid,global_batch,tokens_per_second,per_rank,efficiency,mfu,step_ms,steps,shared_cores" }
    !($1 in base) { base[$1] = $6 / $2 }
    { printf "%s,%d,%d,%s,%d,%.1f,%.1f,%.3f,%.4f,%.3f,%d,%s\n", $1, $2, $3, $4, $5, $6, $6 / $2, $6 / $2 / base[$1], $7, $8, $9, $10 }
  ' >"$1/scaling.csv"
  awk -F, '
    NR == 1 { printf "%-7s %5s %5s %9s %6s %12s %10s %10s %6s %10s  %s\n", "kind", "ranks", "nodes", "DPxTPxPP", "batch", "tokens/s", "a rank", "efficiency", "MFU", "step ms", ""; next }
    { printf "%-7s %5d %5d %9s %6d %12.1f %10.1f %9.1f%% %5.1f%% %10.2f  %s\n", $1, $2, $3, $4, $5, $6, $7, 100 * $8, 100 * $9, $10, $12 == "yes" ? "*" : ""; crowded += $12 == "yes" }
    END { if (crowded) print "* ranks share cores: not the scaling of a machine that has a core for each" }
  ' "$1/scaling.csv"
  sed -n 's/^\(MFU: .* FLOPs a token\), .*/\1/p' "$1"/points/*/log 2>/dev/null | sort -u || true
}
