#!/usr/bin/env bash
# Every batch script under a real scheduler, on a cluster of two nodes; what goes wrong on clusters included.
#
#   test/slurm/full.sh [PATTERN]     only parts whose name matches the extended regular expression
#
# Run by `make test-slurm` (ONLY=PATTERN). Ends with "N passed, N failed".
# shellcheck source=test/slurm/lib.sh disable=SC2015
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit
source test/slurm/lib.sh
grid=(--tensor-parallel-size 2 --pipeline-parallel-size 2)

# straight STEPS SBATCH-ARGS...: a run that nothing disturbs, in $straight.
straight() {
  local steps=$1
  shift
  submit "$@" "${tiny[@]}" --max-steps "$steps"
  finish_job "undisturbed" 300 COMPLETED
  straight=$folder
}

# A limit of one minute is real: SLURM says so ahead of it (USR1, up to a minute early), or nobody does and cuboid
# looks at the clock itself.
part_time_limit() {
  local steps ms
  straight 300 jobs/single_node.sbatch "${grid[@]}"
  ms=$(column "$straight/metrics.jsonl" step_ms | awk '{ sum += $2 } END { print sum / NR }')
  steps=$(awk "BEGIN { print int(80000 / $ms) }")
  echo "time limit: $steps steps, $ms ms each"
  straight "$steps" jobs/single_node.sbatch "${grid[@]}"

  submit --time 1 --signal B:USR1@20 jobs/preemptible.sbatch "${grid[@]}" "${tiny[@]}" --max-steps "$steps"
  finish_job "USR1 ahead of the limit" 400 COMPLETED
  (($(show Restarts) >= 1)) && ok || fail "USR1 ahead of the limit: requeued" "$(show Restarts) restarts"
  expect_log "USR1 ahead of the limit" "for SIGUSR1" "back into the queue" "Resumed from"
  expect_same "USR1 ahead of the limit" "$straight" "$steps"

  LAUNCHER=mpirun submit --time 1 --signal B:CONT@20 jobs/preemptible.sbatch "${grid[@]}" "${tiny[@]}" --max-steps "$steps"
  finish_job "the clock alone, mpirun" 400 COMPLETED
  (($(show Restarts) >= 1)) && ok || fail "the clock alone, mpirun: requeued" "$(show Restarts) restarts"
  expect_log "the clock alone, mpirun" "Time left: " "back into the queue" "Resumed from"
  expect_same "the clock alone, mpirun" "$straight" "$steps"
}

# scancel: saved, over, and the folder goes on where it stopped.
part_scancel() {
  local launcher before stopped
  straight 800 jobs/single_node.sbatch "${grid[@]}"
  for launcher in srun mpirun; do
    LAUNCHER=$launcher submit jobs/preemptible.sbatch "${grid[@]}" "${tiny[@]}" --max-steps 800
    wait_for 60 has_steps 20 || fail "scancel, $launcher: trains" "$(log | tail -n 5)"
    scancel "$job"
    finish_job "scancel, $launcher" 60 CANCELLED
    (($(show Restarts) == 0)) && ok || fail "scancel, $launcher: not requeued"
    before=$(steps)
    [[ -f $folder/checkpoint-$before.h5 ]] && ((before < 800)) && ok || fail "scancel, $launcher: saved" "$before steps" "$(log | tail -n 8)"
    stopped=$folder
    OUTPUT_DIR=$folder RESUME=auto submit jobs/single_node.sbatch "${grid[@]}" "${tiny[@]}" --max-steps 800
    folder=$stopped
    finish_job "after scancel, $launcher" 120 COMPLETED
    expect_same "after scancel, $launcher" "$straight" 800
  done
}

# A job of a better partition takes the nodes: saved within the grace time, requeued by SLURM, gone on with.
part_preemption() {
  local mine
  straight 800 jobs/single_node.sbatch "${grid[@]}"
  submit --nodes 2 --ntasks-per-node 2 jobs/preemptible.sbatch "${grid[@]}" "${tiny[@]}" --max-steps 800
  mine=$job
  wait_for 60 has_steps 20 || fail "preemption: trains" "$(log | tail -n 5)"
  sbatch --quiet --partition high --nodes 2 --exclusive --output=/dev/null --wrap true
  wait_for 60 has_restarted 1 || fail "preemption: requeued" "$(state)" "$(log | tail -n 5)"
  job=$mine
  [[ -f $folder/checkpoint-$(steps).h5 ]] && ok || fail "preemption: saved" "$(steps) steps; $(ls "$folder")"
  finish_job "preemption" 150 COMPLETED
  expect_same "preemption" "$straight" 800
}

# Ranks and grid over two nodes, started by srun and by mpirun.
part_two_nodes() {
  local launcher
  for launcher in srun mpirun; do
    LAUNCHER=$launcher PP_SIZE=2 submit --ntasks-per-node 2 jobs/multi_node.sbatch "${tiny[@]}" --max-steps 20
    finish_job "PP across nodes, $launcher" 60 COMPLETED
    expect_ranks "PP across nodes, $launcher" "Grid 1x2x2 (DP x TP x PP): 4 ranks on 2 nodes" \
      "n1 rank 0 dp 0 tp 0 pp 0" "rank 1 dp 0 tp 1 pp 0" "n2 rank 2 dp 0 tp 0 pp 1" "rank 3 dp 0 tp 1 pp 1"
    [[ -f $folder/checkpoint-20.h5 ]] && ok || fail "PP across nodes, $launcher: checkpoint"
    LAUNCHER=$launcher submit --ntasks-per-node 2 jobs/multi_node.sbatch "${tiny[@]}" --max-steps 20
    finish_job "DP across nodes, $launcher" 60 COMPLETED
    expect_ranks "DP across nodes, $launcher" "Grid 2x2x1 (DP x TP x PP): 4 ranks on 2 nodes" \
      "n1 rank 0 dp 0 tp 0 pp 0" "rank 1 dp 0 tp 1 pp 0" "n2 rank 2 dp 1 tp 0 pp 0" "rank 3 dp 1 tp 1 pp 0"
  done
  LAUNCHER=srun TP_SIZE=2 PP_SIZE=2 submit --ntasks-per-node 4 jobs/multi_node.sbatch "${tiny[@]}" --max-steps 10
  finish_job "2x2x2" 90 COMPLETED
  expect_ranks "2x2x2" "Grid 2x2x2 (DP x TP x PP): 8 ranks on 2 nodes" "n1 rank 0 dp 0 tp 0 pp 0" "rank 1 dp 0 tp 1 pp 0" \
    "rank 2 dp 1 tp 0 pp 0" "rank 3 dp 1 tp 1 pp 0" "n2 rank 4 dp 0 tp 0 pp 1"
}

# One of two nodes dies, and the others see it or not: the job goes back into the queue, and on when the node is there again.
part_node_failure() {
  local how node
  straight 800 --nodes 2 --ntasks-per-node 2 jobs/multi_node.sbatch "${grid[@]}"
  for how in 'freeze n2' 'kill n2' 'kill n1'; do
    node=${how#* }
    SAVE_INTERVAL=60 submit --nodes 2 --ntasks-per-node 2 jobs/preemptible.sbatch "${grid[@]}" "${tiny[@]}" --max-steps 800
    wait_for 60 has_steps 80 || fail "$how: trains" "$(log | tail -n 5)"
    test/slurm/cluster.sh "${how% *}-node" "$cluster" "$node"
    wait_for 120 has_restarted 1 || fail "$how: requeued" "$(state)" "$(sinfo -N)" "$(log | tail -n 5)"
    test/slurm/cluster.sh start-node "$cluster" "$node"
    finish_job "$how" 180 COMPLETED
    expect_log "$how" "Resumed from $folder/checkpoint-"
    expect_same "$how" "$straight" 800
  done
}

# A job that starts again and again and gets nowhere comes to an end.
part_stalls() {
  MAX_STALLS=1 submit jobs/preemptible.sbatch "${tiny[@]}" --max-steps 1000000
  wait_for 60 has_steps 1 || fail "stalls: trains" "$(log | tail -n 5)"
  # As a power cut does, it leaves no time to save.
  test/slurm/cluster.sh kill-node "$cluster" n1
  wait_for 90 has_restarted 1 || fail "stalls: requeued" "$(state)"
  test/slurm/cluster.sh start-node "$cluster" n1
  finish_job "stalls" 60 FAILED
  expect_log "stalls" "1 starts in a row came no further than step 0; not started again (MAX_STALLS=1)"
}

part_array_sweep() {
  local point
  export SWEEP='--learning-rate 1e-4,1e-2 --warmup-steps 0,10'
  (($(bash jobs/array_sweep.sbatch --list | wc -l) == 4)) && ok || fail "array sweep: points" "$(bash jobs/array_sweep.sbatch --list)"
  submit --array 1-5 jobs/array_sweep.sbatch --preset tiny-gpt2 --max-steps 30 --eval-interval 10 --eval-steps 2 --micro-batch-size 2
  wait_for 120 is_over || fail "array sweep: ends" "$(squeue)"
  folder=$runs/cuboid-sweep-$job
  for point in 1 2 3 4; do
    [[ -f $folder/point-$point/checkpoint-30.h5 ]] && ok || fail "array sweep: point $point" "$(cat "$work"/cuboid-sweep_"$job"_"$point"_*.out | tail -n 5)"
  done
  grep -q "there is no point 5: SWEEP or SWEEP_FILE has 4" "$work"/cuboid-sweep_"$job"_5_*.out && ok || fail "array sweep: a number beyond the points"
  bash jobs/array_sweep.sbatch --summary "$folder" >"$work/summary"
  # The best is the least of the losses, found another way.
  best=$(for point in 1 2 3 4; do echo "$(column "$folder/point-$point/metrics.jsonl" validation_loss | tail -n 1 | cut -d' ' -f2) $point"; done | sort -g | head -n 1 | cut -d' ' -f2)
  grep -q "^best validation loss [0-9.]*: point $best, --learning-rate 1e-" "$work/summary" && ok || fail "array sweep: summary, best is $best" "$(cat "$work/summary")"
  unset SWEEP
}

has_runs() { (($(find "$folder/points" -name seconds 2>/dev/null | wc -l) >= 3)); }
part_scaling_sweep() {
  local csv begun
  export STEPS=12 WARMUP=4 MICRO_BATCH_SIZE=1 GRIDS='1x1 2x1' REPEATS=2 PLOTS=no
  submit --nodes 2 --ntasks-per-node 2 jobs/scaling_sweep.sbatch --preset tiny-gpt2 --peak-tflops 1
  folder=$runs/cuboid-scaling-$job csv=$folder/scaling.csv
  # Stopped ahead of its time: back into the queue, and on.
  wait_for 90 has_runs || fail "scaling sweep: measures" "$(log | tail -n 5)"
  scancel --batch --signal=USR1 "$job"
  wait_for 60 has_restarted 1 || fail "scaling sweep: goes back" "$(state) $(log | tail -n 5)"
  touch "$work/before"
  begun=$(find "$folder/points" -name seconds | wc -l)
  ((begun >= 3 && begun < 20)) && ok || fail "scaling sweep: stopped in between" "$begun runs"
  finish_job "scaling sweep" 300 COMPLETED
  (($(find "$folder/points" -name seconds -newer "$work/before" | wc -l) == 20 - begun)) && ok || fail "scaling sweep: only what is missing" "$begun runs before"
  [[ $(cut -d, -f1-5 "$csv" | sort | paste -sd' ') == "kind,ranks,nodes,grid,global_batch strong,1,1,1x1x1,16 strong,2,1,1x2x1,16 strong,2,1,2x1x1,16 strong,4,2,2x2x1,16 strong,4,2,4x1x1,16 weak,1,1,1x1x1,4 weak,2,1,1x2x1,8 weak,2,1,2x1x1,8 weak,4,2,2x2x1,16 weak,4,2,4x1x1,16" ]] && ok ||
    fail "scaling sweep: points" "$(cat "$csv")"
  python3 test/scaling/derive.py "$folder" >"$work/wrong" 2>&1 && [[ -z $(tr -d '\n' <"$work/wrong") ]] && ok || fail "scaling sweep: figures" "$(cat "$work/wrong" "$csv")"
  expect_log "scaling sweep" "left out: grid 2x1 (TPxPP) on 1 ranks" "the sweep is not done; back into the queue" "efficiency"
  # Again: what was measured is not measured again.
  touch "$work/before"
  rm -rf "$folder/points/weak-2-2x1x1/2"
  OUTPUT_DIR=$folder submit --nodes 2 --ntasks-per-node 2 jobs/scaling_sweep.sbatch --preset tiny-gpt2 --peak-tflops 1
  folder=${csv%/*}
  finish_job "scaling sweep again" 100 COMPLETED
  [[ $(find "$folder/points" -name seconds -newer "$work/before") == "$folder/points/weak-2-2x1x1/2/seconds" ]] && ok ||
    fail "scaling sweep: finished runs are kept" "$(find "$folder/points" -name seconds -newer "$work/before")"
  unset STEPS WARMUP MICRO_BATCH_SIZE GRIDS REPEATS PLOTS
}

# What a site sets, and forgets.
part_site() {
  local root=$work/checkout text
  text=$(bash jobs/single_node.sbatch 2>&1) && fail "outside of SLURM: refused" || ok
  [[ $text == *"submit it: sbatch"* ]] && ok || fail "outside of SLURM: says what to do" "$text"
  mkdir -p "$root"
  cp -r jobs env "$root/"
  sed -i 's/^#\(export SBATCH_GPUS_PER_NODE\)/\1/; s/^#\(export SBATCH_PARTITION=.*:-\)gpu/\1high/' "$root/jobs/site.env"
  # A job that has a node for itself has its GPUs, too.
  CUBOID_ROOT=$root DEVICE=auto submit --oversubscribe jobs/single_node.sbatch "${tiny[@]}" --max-steps 5
  finish_job "site.env not sourced" 60 FAILED
  expect_log "site.env not sourced" "jobs/site.env asks for 4 GPUs a node, and this job has none; run: source jobs/site.env"
  # shellcheck source=jobs/site.env
  source "$root/jobs/site.env"
  # shellcheck source=jobs/site.env
  source "$root/jobs/site.env"
  CUBOID_ROOT=$root submit jobs/single_node.sbatch "${tiny[@]}" --max-steps 5
  finish_job "site.env sourced" 60 COMPLETED
  [[ $(show Partition) == high && $(scontrol show job -d "$job") == *gpu:4* ]] && ok || fail "site.env sourced: partition and GPUs" "$(scontrol show job -d "$job")"
  unset SBATCH_GPUS_PER_NODE SBATCH_PARTITION

  # The folder of an option is the folder that the script looks into.
  submit jobs/preemptible.sbatch "${tiny[@]}" --max-steps 5 --output-dir "$runs/mine"
  finish_job "--output-dir" 60 COMPLETED
  [[ -f $runs/mine/checkpoint-5.h5 && -f $runs/mine/restarts-$job ]] && ok || fail "--output-dir" "$(ls "$runs" "$runs/mine")"
  SWEEP='--seed 1,2' submit --array 1 jobs/array_sweep.sbatch "${tiny[@]}" --output-dir="$runs/mine"
  finish_job "--output-dir of a sweep" 60 FAILED
  expect_log "--output-dir of a sweep" "set OUTPUT_DIR before sbatch instead"
  CUBOID_ROOT=$work submit jobs/single_node.sbatch
  finish_job "a wrong CUBOID_ROOT" 60 FAILED
}

# A cluster for each part: none starts with nodes that another one has broken.
for part in $(compgen -A function part_); do
  [[ ${part#part_} =~ ${1:-.} ]] || continue
  begin=$SECONDS
  rc=0
  start_cluster 2 || rc=$?
  ((rc == 0)) || { finish; exit; }
  $part
  stop_cluster
  echo "${part#part_}: $((SECONDS - begin)) s, $passed passed, $failed failed so far"
done

# A test that is killed leaves no daemon behind.
(CLUSTER_OWNER=$BASHPID test/slurm/cluster.sh start "$cluster" 1) || fail "a cluster with an owner starts"
nothing_left() { [[ -z $(test/slurm/cluster.sh processes "$cluster") ]]; }
wait_for 30 nothing_left && ok || fail "the owner is gone, and the cluster with it" "$(test/slurm/cluster.sh processes "$cluster")"
finish
