#!/usr/bin/env bash
# The ranks of one run on this node, a line for each:
#   rank node pid cpu-seconds uptime threads memory-MiB GPU GPU-% GPU-MiB folder
# The folder is the output folder of the rank that has it locked; what is not known is "-".
#
#   ranks.sh namespace NAME | job ID | pid PID | folder DIR
set -euo pipefail
kind=$1 wanted=$2
node=${SLURMD_NODENAME:-$(uname -n)}
ticks=$(getconf CLK_TCK) page=$(($(getconf PAGESIZE) / 1024))
declare -A gpu_of=() gpu_index=() gpu_percent=()

look_at_gpus() {
  local uuid pid index percent mib
  command -v nvidia-smi >/dev/null || return 0
  while IFS=', ' read -r uuid index percent; do
    gpu_index[$uuid]=$index gpu_percent[$uuid]=$percent
  done < <(nvidia-smi --query-gpu=uuid,index,utilization.gpu --format=csv,noheader,nounits 2>/dev/null)
  while IFS=', ' read -r pid uuid mib; do
    gpu_of[$pid]="${gpu_index[$uuid]:--} ${gpu_percent[$uuid]:--} $mib"
  done < <(nvidia-smi --query-compute-apps=pid,gpu_uuid,used_memory --format=csv,noheader,nounits 2>/dev/null)
}

# Whether the process, whose words and variables these are, belongs to the run.
belongs() { # PID NAMESPACE JOB
  local i folder=./checkpoints
  case $kind in
    namespace) [[ $2 == "$wanted" ]] ;;
    job) [[ $3 == "$wanted" ]] ;;
    pid) [[ $1 == "$wanted" ]] ;;
    folder)
      for i in "${!words[@]}"; do
        case ${words[i]} in
          --output-dir | --save) folder=${words[i + 1]:-} ;;
          --output-dir=* | --save=*) folder=${words[i]#*=} ;;
        esac
      done
      [[ $folder == /* ]] || folder=$(readlink "/proc/$1/cwd")/$folder
      [[ $(realpath -m "$folder") == "$wanted" ]] ;;
  esac
}

look_at() { # PID
  local word rank='' namespace='' job='' at=$node stat fields uptime folder=-
  local -a words variables
  mapfile -d '' words 2>/dev/null <"/proc/$1/cmdline" && [[ ${words[1]:-} == pretrain ]] || return 0
  mapfile -d '' variables 2>/dev/null <"/proc/$1/environ" || return 0
  for word in "${variables[@]}"; do
    case $word in
      OMPI_COMM_WORLD_RANK=* | PMIX_RANK=*) rank=${word#*=} ;;
      SLURM_PROCID=*) rank=${rank:-${word#*=}} ;;
      PMIX_NAMESPACE=*) namespace=${word#*=} ;;
      SLURM_JOB_ID=*) job=${word#*=} ;;
      SLURMD_NODENAME=*) at=${word#*=} ;;
    esac
  done
  # Two nodes of a SLURM may be one machine.
  [[ ! -v SLURMD_NODENAME || $at == "$node" ]] || return 0
  belongs "$1" "$namespace" "$job" || return 0
  read -r uptime _ </proc/uptime
  stat=$(<"/proc/$1/stat") || return 0
  read -ra fields <<<"${stat##*) }"  # from field 3 of proc(5) on
  folder=$(readlink "/proc/$1"/fd/* 2>/dev/null | sed -n 's/\/cuboid\.lock$//p' | head -n 1) || true
  awk -v rank="${rank:-0}" -v node="$node" -v pid="$1" -v cpu=$((fields[11] + fields[12])) -v ticks="$ticks" -v up="$uptime" \
    -v threads="${fields[17]}" -v mib=$((fields[21] * page)) -v gpu="${gpu_of[$1]:-- - -}" -v folder="${folder:--}" \
    'BEGIN { printf "%s %s %s %.2f %s %s %.1f %s %s\n", rank, node, pid, cpu / ticks, up, threads, mib / 1024, gpu, folder }'
}

look_at_gpus
for comm in /proc/[0-9]*/comm; do
  { read -r name <"$comm"; } 2>/dev/null || continue
  [[ $name == cuboid* ]] || continue
  pid=${comm#/proc/}
  look_at "${pid%/comm}" || true  # it may end while it is looked at
done
