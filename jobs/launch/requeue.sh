# A job that goes back into the queue: sourced by batch scripts after job.sh.
# shellcheck shell=bash

# The step of the newest checkpoint in FOLDER; 0 without any.
newest_step() {
  local file step newest=0
  for file in "$1"/checkpoint-*.h5; do
    step=${file##*/checkpoint-}
    step=${step%.h5}
    [[ $step =~ ^[0-9]+$ ]] && ((10#$step > newest)) && newest=$((10#$step))
  done
  echo "$newest"
}

# A job that starts again and again and gets nowhere would never end. FOLDER/restarts-JOBID holds how far it was
# when it last started (the newest step, unless said otherwise), and how many starts in a row found it no further.
stop_without_progress() { # FOLDER [HOW-FAR]
  local file=$1/restarts-$SLURM_JOB_ID far before=-1 stalls=0
  mkdir -p "$1"
  far=${2:-$(newest_step "$1")}
  [[ -r $file ]] && read -r before stalls <"$file"
  if ((far > before)); then stalls=0; else stalls=$((stalls + 1)); fi
  echo "$far $stalls" >"$file"
  ((stalls < ${MAX_STALLS:-3})) ||
    stop "$stalls starts in a row came no further than ${2:+point }${2:-step $far}; not started again (MAX_STALLS=${MAX_STALLS:-3})" 1
}

# When SLURM will end the job, in seconds since 1970; nothing where it does not say.
job_end() {
  local end=${SLURM_JOB_END_TIME:-}
  [[ -n $end ]] || end=$(squeue -h -j "$SLURM_JOB_ID" -o %e 2>/dev/null) || end=
  [[ ! $end =~ ^[0-9]{4}- ]] || end=$(date -d "$end" +%s)
  [[ ! $end =~ ^[0-9]+$ ]] || echo "$end"
}

# run_and_requeue COMMAND...: runs it, hands signals on, and puts the job back into the queue where it stopped
# early with everything saved (75), or something failed that is not the run's fault: the machine (1), a rank that
# did not come while others waited (6), or one that was killed (128 and more). MPI often notices a dead node before SLURM does, and then SLURM sees no more than a
# script that failed. Not where somebody ended the job. A sweep that saves nothing says in `at` where it is, and
# counts failures itself. Returns the command's exit code.
run_and_requeue() {
  local rc child end signal='' ended='' at=${at:-}
  end=$(job_end)
  "$@" &
  child=$!
  trap 'signal=USR1; kill -USR1 "$child" 2>/dev/null || true' USR1
  # scancel and preemption; at the end of the time it is the time that is up. The launcher gets a TERM of its
  # own from SLURM, which it takes for the same one.
  trap 'signal=TERM; [[ -n $end ]] && (($(date +%s) + 2 >= end)) || ended=1; kill -TERM "$child" 2>/dev/null || true' TERM
  # A signal ends a wait early.
  while true; do
    signal=
    rc=0
    wait "$child" || rc=$?
    [[ -n $signal ]] || break
  done
  if ((rc == 75)) && [[ -z $ended ]]; then requeue "${at:-saved at step $(newest_step "$OUTPUT_DIR")}"; fi
  if ((rc == 1 || rc == 6 || rc >= 128)) && [[ -z $ended$at ]]; then requeue "failed with exit code $rc, newest checkpoint at step $(newest_step "$OUTPUT_DIR")"; fi
  return "$rc"
}

# SLURM ends this script when it takes the job back: what is to be said is said before. An exit code of 0 or 75
# after it means nothing any more.
requeue() { # WHY
  echo "$(date -u +%FT%TZ) $1; back into the queue"
  scontrol requeue "$SLURM_JOB_ID" || stop "the job cannot go back into the queue; go on with: RESUME=auto OUTPUT_DIR=$OUTPUT_DIR sbatch ..." 1
}
