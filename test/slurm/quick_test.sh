# timeout: 300
# Batch scripts under a real scheduler, the short part: one node, two nodes, a run that is stopped and goes back
# into the queue by itself, and scancel. `make test-slurm` is the whole.
# shellcheck shell=bash source=test/slurm/lib.sh disable=SC2015
source test/slurm/lib.sh

nodes=2
steps=600  # long enough for a signal to come in between
rc=0
start_cluster 2 || rc=$?
if ((rc == 4)); then
  nodes=1
  rc=0
  start_cluster 1 || rc=$?
fi
((rc == 0)) || { finish; exit; }

# ---- One node: its ranks, its grid, its checkpoint; and the losses to compare with
TP_SIZE=2 PP_SIZE=2 submit jobs/single_node.sbatch "${tiny[@]}" --max-steps "$steps"
finish_job "one node" 90 COMPLETED
expect_ranks "one node" "Grid 1x2x2 (DP x TP x PP): 4 ranks on 1 node"
[[ -f $folder/checkpoint-$steps.h5 ]] && ok || fail "one node: checkpoint" "$(ls "$folder")"
straight=$folder

# ---- USR1 to the batch script, as ahead of the end of the time: saved, back in the queue, finished
TP_SIZE=2 PP_SIZE=2 submit jobs/preemptible.sbatch "${tiny[@]}" --max-steps "$steps"
wait_for 40 has_steps 10 || fail "preemptible: trains" "$(log | tail -n 5)"
scancel --batch --signal=USR1 "$job"
wait_for 40 has_restarted 1 || fail "preemptible: goes back" "$(state) $(log | tail -n 5)"
before=$(steps)
((before < steps)) && [[ -f $folder/checkpoint-$before.h5 ]] && ok || fail "preemptible: saved at once" "$before steps; $(ls "$folder")"
finish_job "preemptible" 90 COMPLETED
expect_log "preemptible" "saved at step $before; back into the queue" "Resumed from $folder/checkpoint-$before.h5"
expect_same "preemptible" "$straight" "$steps"

# ---- scancel: saved, and not in the queue again
submit jobs/preemptible.sbatch "${tiny[@]}" --max-steps 1000000
wait_for 40 has_steps 10 || fail "scancel: trains" "$(log | tail -n 5)"
scancel "$job"
finish_job "scancel" 40 CANCELLED
(($(show Restarts) == 0)) && [[ -f $folder/checkpoint-$(steps).h5 ]] && ok || fail "scancel: saved, not requeued" "$(log | tail -n 5)"

# ---- Two nodes: each layer within a node, stages across
if ((nodes == 2)); then
  PP_SIZE=2 submit --ntasks-per-node 2 jobs/multi_node.sbatch "${tiny[@]}" --max-steps 20
  finish_job "two nodes" 60 COMPLETED
  expect_ranks "two nodes" "Grid 1x2x2 (DP x TP x PP): 4 ranks on 2 nodes" \
    "n1 rank 0 dp 0 tp 0 pp 0" "rank 1 dp 0 tp 1 pp 0" "n2 rank 2 dp 0 tp 0 pp 1" "rank 3 dp 0 tp 1 pp 1"
fi

stop_cluster
finish
