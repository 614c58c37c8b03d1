# The command line of srun or mpirun, into `command` and `environment`.
# shellcheck shell=bash source=jobs/launch/machine.sh
source "${BASH_SOURCE[0]%/*}/machine.sh"

srun_has_pmix() { srun --mpi=list 2>&1 | grep -qw "${variable[SRUN_MPI]:-pmix}"; }

# Sets ranks, and launcher to srun, mpirun, or alone: one process needs neither.
choose_launcher() {
  local wanted=${variable[LAUNCHER]:-auto} has_mpirun='' has_srun=''
  command -v mpirun >/dev/null && has_mpirun=1
  command -v srun >/dev/null && has_srun=1
  ranks=$((num_nodes * per_node))
  launcher=mpirun
  if [[ $wanted == srun ]]; then
    launcher=srun
    if [[ ! -v SLURM_JOB_ID ]]; then
      problems+=("LAUNCHER=srun outside a SLURM allocation; legal: mpirun here, or sbatch and salloc first")
    elif [[ -z $has_srun ]]; then
      problems+=("LAUNCHER=srun: srun is not on PATH")
    elif ! srun_has_pmix; then
      problems+=("srun has no '${variable[SRUN_MPI]:-pmix}' (srun --mpi=list); legal: SRUN_MPI of that list that Open MPI understands, or LAUNCHER=mpirun")
    fi
  elif [[ $wanted == auto && -v SLURM_JOB_ID && -n $has_srun && ${#hosts[@]} == 0 ]] && srun_has_pmix; then
    launcher=srun
  elif [[ $wanted == auto && ! -v SLURM_JOB_ID && $ranks == 1 && ${#hosts[@]} == 0 ]]; then
    launcher=alone
  elif [[ -z $has_mpirun ]]; then
    problems+=("mpirun is not on PATH: install Open MPI (run: make setup), or load its module")
  elif ! mpirun --version 2>&1 | grep -q 'Open MPI'; then
    problems+=("mpirun ($(command -v mpirun)) is not Open MPI's, which Cuboid is built with; load its module")
  fi
}

# Cores of one rank, and whether it gets them for itself.
share_cores() {
  cores_per_rank=$((cores / per_node)) bound=
  if [[ -v SLURM_JOB_ID && ${SLURM_CPUS_PER_TASK:-0} -gt 0 && $launcher == srun ]]; then
    cores_per_rank=$SLURM_CPUS_PER_TASK
  fi
  [[ ${variable[BIND]:-auto} == auto ]] && ((cores_per_rank > 0 && (per_node > 1 || num_nodes > 1))) && bound=1
  ((cores_per_rank > 0)) || cores_per_rank=1
}

srun_command() { # DEVICE
  command=(srun "--mpi=${variable[SRUN_MPI]:-pmix}" "--nodes=$num_nodes" "--ntasks=$ranks"
    "--ntasks-per-node=$per_node" "--cpus-per-task=$cores_per_rank"
    # A rank that fails must not have the others killed while they still end; one that dies must not
    # be waited for without end.
    --kill-on-bad-exit=0 --wait=60)
  if [[ -n $bound ]]; then command+=(--cpu-bind=cores); else command+=(--cpu-bind=none); fi
  # Ranks see every GPU of their node: cuboid takes its own, and NCCL looks at its neighbours'.
  [[ ${gpus:-0} == 0 || $1 == cpu ]] || command+=(--gpu-bind=none)
  if [[ ${variable[OVERSUBSCRIBE]:-auto} == 1 ]]; then command+=(--overcommit); fi
  # A shell that is itself a step holds the resources that this step asks for.
  if [[ -v SLURM_STEP_ID ]]; then command+=(--overlap); fi
}

mpirun_command() {
  local map=ppr:$per_node:node name
  command=(mpirun -np "$ranks")
  if [[ -n $bound ]]; then
    command+=(--map-by "$map:PE=$cores_per_rank" --bind-to core)
  else
    command+=(--map-by "$map" --bind-to none)
  fi
  if [[ ${variable[OVERSUBSCRIBE]:-auto} == 1 || $per_node -gt $slots ]]; then command+=(--oversubscribe); fi
  ((num_nodes > 1 || ${#hosts[@]} > 0)) || return 0
  if [[ -v variable[HOSTFILE] ]]; then
    command+=(--hostfile "$(realpath -s "${variable[HOSTFILE]}")")
  elif ((${#hosts[@]})); then
    local list=() line
    for line in "${hosts[@]:0:num_nodes}"; do
      if [[ $line != *' '* ]]; then line+=" $per_node"; fi
      list+=("${line/ /:}")
    done
    command+=(--host "$(IFS=,; echo "${list[*]}")")
    # By its whole path mpirun finds its other half over ssh, where no module is loaded.
    command[0]=$(command -v mpirun)
  fi
  command+=(--wdir "$PWD")
  # mpirun hands on OMPI_* by itself.
  for name in $(compgen -e | grep -E '^(NCCL|UCX|OMP|CUBOID|CUDA)_|^LD_LIBRARY_PATH$|^SLURM_JOB_END_TIME$' | sort); do
    command+=(-x "$name")
  done
  for name in "${!environment[@]}"; do
    [[ $name == OMPI_* || " ${command[*]} " == *" -x $name "* ]] || command+=(-x "$name")
  done
}

# What is set for the run where the user has not set it.
set_environment() { # THREADS
  declare -gA environment=()
  add() { [[ -n ${!1:-} ]] || environment[$1]=$2; }
  add OMP_NUM_THREADS "$1"
  # The launchers hide the terminal from the ranks.
  if [[ -t 2 ]]; then add CUBOID_PROGRESS 1; fi
  if [[ $launcher == mpirun ]] && ((EUID == 0)); then
    add OMPI_ALLOW_RUN_AS_ROOT 1
    add OMPI_ALLOW_RUN_AS_ROOT_CONFIRM 1
  fi
  if [[ $launcher == mpirun ]] && ((num_nodes > 1)); then
    # A host that is gone without a word is noticed after a minute and a half, not after eight.
    add OMPI_MCA_oob_tcp_keepalive_time 30
    add OMPI_MCA_oob_tcp_keepalive_intvl 10
    add OMPI_MCA_oob_tcp_keepalive_probes 6
  fi
  local end
  # SLURM before 23.02 does not say when the job ends.
  if [[ -v SLURM_JOB_ID && -z ${SLURM_JOB_END_TIME:-} ]] && command -v squeue >/dev/null; then
    end=$(squeue -h -j "$SLURM_JOB_ID" -o %e 2>/dev/null | head -n 1) || end=
    if [[ $end == [0-9]* ]] && end=$(date -d "$end" +%s 2>/dev/null); then add SLURM_JOB_END_TIME "$end"; fi
  fi
}

# A word as a shell reads it.
quote() { if [[ $1 =~ ^[A-Za-z0-9_./:=,@%+-]+$ ]]; then printf %s "$1"; else printf %s "${1@Q}"; fi; }

print_command() {
  local word line=
  for word in $(printf '%s\n' "${!environment[@]}" | sort); do line+="$word=$(quote "${environment[$word]}") "; done
  for word in "${command[@]}"; do line+="$(quote "$word") "; done
  echo "${line% }"
}
