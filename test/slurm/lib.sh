# Shell side of the scheduler's tests: a cluster, jobs, and what they left. Sourced from the repository's top folder.
# shellcheck shell=bash source=test/app/lib.sh
source test/app/lib.sh
top=$PWD
cluster=$work/cluster
runs=$work/runs
trap '[[ ! -d $cluster ]] || test/slurm/cluster.sh stop "$cluster" >&2; rm -rf "$work"' EXIT
trap 'exit 1' INT TERM HUP

# What every job here has in common: one thread a rank, ranks that give way on shared cores, and a run whose losses
# depend on every step (dropout) and whose samples are small.
# The nodes declare CPUs that the machine does not have, so mpirun cannot bind ranks to them.
export BIND=none CUBOID_RUNS=$runs NUM_THREADS=1 DEVICE=cpu OMPI_MCA_mpi_yield_when_idle=1 CUBOID=$top/$program DATA_DIR=$work/text.md
unset OMP_NUM_THREADS
cp README.md "$DATA_DIR"
# shellcheck disable=SC2034  # used by what sources this
tiny=(--preset tiny-gpt2 --dropout 0.1 --micro-batch-size 2 --num-microbatches 2 --eval-steps 0 --peak-tflops 1 --log-interval 50)

# start_cluster NODES: says SKIPPED where there can be none.
start_cluster() {
  local rc=0
  CLUSTER_OWNER=$$ test/slurm/cluster.sh start "$cluster" "$1" 2>"$work/cluster.err" || rc=$?
  case $rc in
    0) eval "$(test/slurm/cluster.sh env "$cluster")" ;;
    3) echo "SKIPPED jobs in a SLURM cluster: $(sed 's/^cluster: error: //' "$work/cluster.err")" ;;
    4) echo "SKIPPED jobs on two SLURM nodes: $(sed 's/^cluster: error: //' "$work/cluster.err")" ;;
    *) fail "the cluster starts" "$(cat "$work/cluster.err")" ;;
  esac
  return "$rc"
}

# Stops the cluster, and proves that nothing of it is left.
stop_cluster() {
  local left
  if test/slurm/cluster.sh stop "$cluster" 2>"$work/cluster.err"; then ok; else fail "the cluster stops" "$(cat "$work/cluster.err")"; fi
  left=$(test/slurm/cluster.sh processes "$cluster")
  if [[ -z $left ]]; then ok; else fail "all daemons are gone" "$left"; fi
  # The next one numbers its jobs from 1 again.
  rm -rf "$cluster" "$runs" "$work"/*.out
}

# submit SBATCH-ARGS...: the job's number in $job, its log in $log, its folder in $folder.
submit() {
  job=$(sbatch --parsable --output="$work/%x_%A_%a_%j.out" "$@" 2>"$work/sbatch.err") ||
    { fail "sbatch $*" "$(cat "$work/sbatch.err")"; job=0; return 1; }
  folder=$runs/cuboid-$job
}
log() { cat "$work"/*_"$job".out 2>/dev/null; }

state() { squeue -h -j "$job" -t all -o %T 2>/dev/null | sort -u | paste -sd' '; }
# show KEY: of the job's record.
show() { scontrol show job -o "$job" 2>/dev/null | tr ' ' '\n' | sed -n "s/^$1=//p" | head -n 1; }
steps() { column "$folder/metrics.jsonl" loss 2>/dev/null | wc -l; }

# wait_for SECONDS COMMAND...: true as soon as the command is.
wait_for() {
  local until=$((SECONDS + $1))
  shift
  while ((SECONDS < until)); do
    "$@" && return 0
    sleep 0.3
  done
  return 1
}
has_steps() { (($(steps) >= $1)); }
is_over() { [[ ! $(state) =~ RUNNING|PENDING|COMPLETING|CONFIGURING|REQUEUED ]]; }
is_state() { [[ $(state) == "$1" ]]; }
has_restarted() { (($(show Restarts) >= $1)) && is_state PENDING; }

# A job that went back waits two minutes before it starts again, so that its nodes come to rest: within the second in
# which it was ended there, a node refuses it ("Job credential revoked"), and it has failed.
start_now() {
  sleep 3
  scontrol update JobId="$job" StartTime=now
}

# finish_job NAME SECONDS STATE: waits, with requeued jobs started at once, and checks how it ended.
finish_job() {
  local until=$((SECONDS + $2))
  while ! is_over && ((SECONDS < until)); do
    [[ $(show Reason) == BeginTime ]] && start_now 2>/dev/null
    sleep 0.3
  done
  if is_state "$3"; then ok; else fail "$1: ends as $3" "it is $(state), exit code $(show ExitCode)" "$(log | tail -n 8)"; return 1; fi
}

# expect_log NAME TEXT...: each stands in the job's log.
expect_log() {
  local name=$1 text
  shift
  for text in "$@"; do
    if log | grep -qF -- "$text"; then ok; else fail "$name: its log says '$text'" "$(log | tail -n 12)"; fi
  done
}

# column FILE KEY: step and value of each line that has the key.
column() { sed -nE "s/^\{\"step\":([0-9]+),(.*,)?\"$2\":(\"[^\"]*\"|[^,}]*).*/\1 \3/p" "$1"; }

# expect_same NAME FOLDER STEPS: every step once, with the losses, samples and weights of the run in FOLDER, bit for bit.
expect_same() {
  local key
  for key in loss sample_digest; do
    if (($(steps) == $3)) && cmp -s <(column "$2/metrics.jsonl" $key) <(column "$folder/metrics.jsonl" $key); then ok; else
      fail "$1: $key of $3 steps" "$(steps) steps" "$(diff <(column "$2/metrics.jsonl" $key) <(column "$folder/metrics.jsonl" $key) | head -n 4)"
    fi
  done
  if "$program" checkpoint diff "$2/checkpoint-$3.h5" "$folder/checkpoint-$3.h5" >"$work/diff" 2>&1; then ok; else
    fail "$1: weights and moments" "$(tail -n 3 "$work/diff")"
  fi
}

# expect_ranks NAME LINE...: the run's own report of its ranks, without the blanks.
expect_ranks() {
  local name=$1 want
  shift
  want=$(printf '%s\n' "$@")
  if [[ $(log | grep -E '^Grid|^ .* rank +[0-9]+ +dp' | tr -s ' ' | sed 's/^ //') == *"$want"* ]]; then ok; else
    fail "$name: ranks" "$(log | grep -E '^Grid| rank .* dp' || log | tail -n 5)"
  fi
}
