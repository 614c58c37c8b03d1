# What there is to run on: hosts, num_nodes, per_node (ranks), and of one node cores, gpus and slots
# (ranks that mpirun starts unasked). Nodes are taken to be alike: only this one can be looked at.
# shellcheck shell=bash source=jobs/launch/settings.sh
source "${BASH_SOURCE[0]%/*}/settings.sh"

# Cores that this process may run on; the hardware threads of a core count once.
physical_cores() {
  local list part cpu siblings
  list=$(sed -n 's/^Cpus_allowed_list:[[:space:]]*//p' /proc/self/status 2>/dev/null) || true
  [[ -n $list ]] || { getconf _NPROCESSORS_ONLN; return; }
  for part in ${list//,/ }; do
    for ((cpu = ${part%-*}; cpu <= ${part#*-}; ++cpu)); do
      read -r siblings 2>/dev/null <"/sys/devices/system/cpu/cpu$cpu/topology/thread_siblings_list" || siblings=$cpu
      echo "$siblings"
    done
  done | sort -u | wc -l
}

# smallest "4(x2),3": the least of a list as SLURM writes it.
smallest() { tr ',' '\n' <<<"$1" | sed 's/(.*//' | sort -n | head -n 1; }

# GPUs of a node that a rank would see; nothing where that cannot be known from here.
visible_gpus() {
  local list count
  if [[ -v SLURM_JOB_ID ]]; then
    list=${SLURM_GPUS_ON_NODE:-${SLURM_GPUS_PER_NODE:-}}
    [[ -z $list ]] || { echo "${list##*:}"; return; }
    # Outside the job's nodes the GPUs seen are others'.
    [[ -v SLURMD_NODENAME ]] || return 0
  fi
  count=$( (nvidia-smi -L 2>/dev/null || true) | grep -c '^GPU ') || true
  if [[ -v CUDA_VISIBLE_DEVICES && $count != 0 ]]; then
    # CUDA stops reading the list at the first entry that names no device.
    list=${CUDA_VISIBLE_DEVICES%%-1*}
    [[ $list == NoDevFiles ]] && list=
    list=$(tr ',' '\n' <<<"$list" | grep -c .) || true
    ((list < count)) && count=$list
  fi
  echo "$count"
}

# host_slots: a line "host slots" for each host of HOSTS or HOSTFILE; no slots where none are given.
host_slots() {
  if [[ -v variable[HOSTS] ]]; then
    tr ',' '\n' <<<"${variable[HOSTS]}" | sed -E '/^$/d; s/:([0-9]+)$/ \1/'
  elif [[ -v variable[HOSTFILE] ]]; then
    sed -E 's/#.*//; /^[[:space:]]*$/d; s/^[[:space:]]*([^[:space:]]+).*slots *= *([0-9]+).*/\1 \2/; t
      s/^[[:space:]]*([^[:space:]]+).*/\1/' "${variable[HOSTFILE]}"
  fi
}

find_nodes() {
  local there=1 of="this machine; legal: 1, or more with HOSTS, HOSTFILE or inside a SLURM job"
  if [[ -v variable[HOSTS] && -v variable[HOSTFILE] ]]; then
    problems+=("HOSTS and HOSTFILE are both set; legal: one of them")
  fi
  if [[ -v variable[HOSTFILE] && ! -r ${variable[HOSTFILE]} ]]; then
    problems+=("HOSTFILE='${variable[HOSTFILE]}' cannot be read; legal: a file of 'host slots=N' lines")
    unset 'variable[HOSTFILE]'
  fi
  mapfile -t hosts < <(host_slots)
  if ((${#hosts[@]})); then
    there=${#hosts[@]} of="the $there hosts"
  elif [[ -v SLURM_JOB_ID ]]; then
    there=${SLURM_JOB_NUM_NODES:-${SLURM_NNODES:-1}} of="SLURM job $SLURM_JOB_ID with $there nodes"
  fi
  num_nodes=${variable[NUM_NODES]:-$there}
  ((num_nodes <= there)) || problems+=("NUM_NODES=$num_nodes is more than $of")
  if ((${#hosts[@]})) && [[ ${variable[LAUNCHER]:-auto} == srun ]]; then
    problems+=("LAUNCHER=srun: HOSTS and HOSTFILE are for mpirun; legal: mpirun")
  fi
}

find_ranks() { # DEVICE
  local tasks=${SLURM_NTASKS_PER_NODE:-} of_job=
  gpus=$(visible_gpus)
  if ((${#hosts[@]})); then
    find_slots
  elif [[ -v SLURM_JOB_ID ]]; then
    of_job=$(smallest "${SLURM_TASKS_PER_NODE:-}")
    slots=${of_job:-0}
  else
    slots=$cores
  fi
  if [[ -v variable[NPROC_PER_NODE] ]]; then
    per_node=${variable[NPROC_PER_NODE]}
  elif [[ -n $tasks ]]; then
    per_node=$tasks
  elif [[ $1 != cpu && ${gpus:-0} != 0 && ${#hosts[@]} == 0 ]]; then
    per_node=$gpus
  elif ((${#hosts[@]})); then
    per_node=$slots
  else
    per_node=${of_job:-1}
  fi
  ((per_node > 0)) || per_node=1
}

find_slots() {
  local line
  slots=
  for line in "${hosts[@]:0:num_nodes}"; do
    if [[ $line != *' '* ]]; then
      [[ -v variable[NPROC_PER_NODE] ]] ||
        problems+=("host '$line' has no slots; legal: HOSTS=$line:8, '$line slots=8' in HOSTFILE, or NPROC_PER_NODE")
      line+=" ${variable[NPROC_PER_NODE]:-1}"
    fi
    line=${line#* }
    if [[ -z $slots ]] || ((line < slots)); then slots=$line; fi
  done
}

find_cores() {
  if [[ -v SLURM_JOB_ID && ${#hosts[@]} == 0 ]]; then
    cores=$(smallest "${SLURM_JOB_CPUS_PER_NODE:-${SLURM_CPUS_ON_NODE:-}}")
  fi
  [[ ${cores:-} =~ ^[1-9][0-9]*$ ]] || cores=$(physical_cores)
}
