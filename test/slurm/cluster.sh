#!/usr/bin/env bash
# A SLURM cluster of one or more nodes on this machine, in a folder of its own with free ports, without systemd
# and without root: munged, slurmctld and one slurmd a node.
#
#   test/slurm/cluster.sh start DIR [NODES [CPUS]]   returns when every node is idle; DIR must be new or empty
#   test/slurm/cluster.sh stop DIR                   ends jobs and daemons; fails where a process stays
#   test/slurm/cluster.sh shell DIR                  a shell in which sbatch, srun, squeue ... mean this cluster
#   test/slurm/cluster.sh env DIR                    the variables that do that, for eval
#   test/slurm/cluster.sh kill-node DIR NODE         its daemons and every job process, -9: peers see closed connections
#   test/slurm/cluster.sh freeze-node DIR NODE       all of them stand still: to the others, as after a power cut
#   test/slurm/cluster.sh start-node DIR NODE        the node comes back, without what ran on it
#   test/slurm/cluster.sh processes DIR              what is running of it: pid and command
#
# CLUSTER_OWNER=PID: when that process is gone, the cluster stops by itself. Nodes are n1, n2 ...; with several,
# each has a host name and mounts of its own (namespaces), or start exits with 4 where that is not allowed.
# Uses the SLURM of DEPS_DIR/slurm (env/setup.sh slurm), else of PATH; exits with 3 where there is none.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
slurm=$(realpath -m "${DEPS_DIR:-$here/../../.deps}")/slurm

die() { echo "cluster: error: $1" >&2; exit "${2:-1}"; }

# Debian's plug-ins lie beside the libraries that they need.
use_slurm() {
  local lib=$slurm/usr/lib/x86_64-linux-gnu
  if [[ -x $slurm/usr/sbin/slurmctld ]]; then
    export PATH=$slurm/usr/bin:$slurm/usr/sbin:$PATH
    export LD_LIBRARY_PATH=$lib/slurm-wlm:$lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
    plugins="PluginDir=$lib/slurm-wlm" stepd=(-d "$slurm/usr/sbin/slurmstepd")
  else
    PATH=$PATH:/usr/sbin:/sbin plugins='' stepd=()
    command -v slurmctld slurmd munged >/dev/null || die "no SLURM: neither $slurm nor slurmctld, slurmd and munged on PATH" 3
  fi
  export SLURM_CONF=$dir/slurm.conf
}

free_port() {
  local port
  while :; do
    port=$((RANDOM % 20000 + 10000))
    [[ " $taken " == *" $port "* ]] || ! (: </dev/tcp/127.0.0.1/$port) 2>/dev/null && break
  done
  taken+=" $port"
  echo "$port"
}

write_conf() { # NODES CPUS
  local me ctld_port taken='' node host port
  me=$(id -un)
  ctld_port=$(free_port) taken+=" $ctld_port"
  cat >"$dir/slurm.conf" <<X
ClusterName=cuboid
SlurmctldHost=$(hostname)(127.0.0.1)
SlurmctldPort=$ctld_port
SlurmUser=$me
SlurmdUser=$me
AuthInfo=socket=$dir/munge.socket
$plugins
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool/%n
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/%n.pid
SlurmctldLogFile=$dir/slurmctld.log
SlurmdLogFile=$dir/%n.log
MailProg=/bin/true
# No cgroups, which need root; CPUs that the machine does not have are taken as declared.
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
GresTypes=gpu
MpiDefault=none
# The high partition takes nodes from jobs of the main one, which go back into the queue.
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
# A node that is silent for 15 s is down; one that comes back is taken.
SlurmdTimeout=15
ReturnToService=2
KillWait=${KILL_WAIT:-30}
# Open MPI names its shared memory by host and job: two clusters at a time must not number jobs alike.
FirstJobId=$((RANDOM * 30 + 1))
SchedulerParameters=sched_interval=2,bf_interval=2,batch_sched_delay=0
X
  for node in "${nodes[@]}"; do
    host=$(hostname)
    ((${#nodes[@]} > 1)) && host=$node
    port=$(free_port) taken+=" $port"
    echo "NodeName=$node NodeHostname=$host NodeAddr=127.0.0.1 Port=$port CPUs=$1 Gres=gpu:4 State=UNKNOWN" >>"$dir/slurm.conf"
    echo "NodeName=$node Name=gpu File=$dir/gpu[0-3]" >>"$dir/gres.conf"
  done
  echo "PartitionName=main Nodes=ALL Default=YES PriorityTier=1 MaxTime=INFINITE GraceTime=${GRACE_TIME:-20}" >>"$dir/slurm.conf"
  echo "PartitionName=high Nodes=ALL PriorityTier=9 PreemptMode=OFF MaxTime=INFINITE" >>"$dir/slurm.conf"
  # Four devices that are no GPUs: SLURM counts and binds them all the same.
  ln -s /dev/null "$dir/gpu0" && ln -s /dev/zero "$dir/gpu1" && ln -s /dev/full "$dir/gpu2" && ln -s /dev/random "$dir/gpu3"
}

# Everything of the cluster carries its folder in its environment: daemons by the mark that they were started with,
# jobs by SLURM's own variables; but for the step daemons, which write their title over it and hold a log open.
# Lines "PID NODE COMMAND".
processes() {
  local pid vars node command file
  while IFS=/ read -r _ _ pid _; do
    # What has gone meanwhile, zombies included, has no command.
    { vars=$(tr '\0' '\n' <"/proc/$pid/environ") && command=$(tr '\0' ' ' <"/proc/$pid/cmdline"); } 2>/dev/null || continue
    [[ -n $command && $'\n'$vars =~ $'\n'(CUBOID_TEST_CLUSTER|SLURM_JOB_ID)= ]] || continue
    node=$(sed -nE 's/^(CUBOID_TEST_NODE|SLURMD_NODENAME)=//p' <<<"$vars" | head -n 1)
    echo "$pid ${node:--} ${command:0:90}"
  done < <(grep -lazxF -e "CUBOID_TEST_CLUSTER=$dir" -e "SLURM_CONF=$dir/slurm.conf" /proc/[0-9]*/environ 2>/dev/null)
  while IFS=/ read -r _ _ pid _; do
    file=$(find "/proc/$pid/fd" -lname "$dir/n*.log" -printf '%l\n' -quit 2>/dev/null)
    [[ -z $file ]] || echo "$pid $(basename "$file" .log) slurmstepd"
  done < <(grep -l '^slurmstepd' /proc/[0-9]*/comm 2>/dev/null)
}

# kill_processes SIGNAL [NODE [slurm|job]]: of a node, its daemons, or its jobs' processes
kill_processes() {
  local pid node command kind
  while read -r pid node command; do
    kind=job
    [[ $command == slurm* ]] && kind=slurm
    [[ ${2:-$node} == "$node" && ${3:-$kind} == "$kind" ]] && kill "-$1" "$pid" 2>/dev/null
  done < <(processes)
  return 0
}

mark() { env CUBOID_TEST_CLUSTER="$dir" CUBOID_TEST_NODE="$1" "${@:2}"; }

# Two slurmd on one host would share PMIx's folder and the host's name.
namespaces() {
  own=(unshare -m -u)
  ((EUID == 0)) || own=(unshare -U --map-current-user --keep-caps -m -u)
  "${own[@]}" true 2>/dev/null
}

start_node() {
  local command=(slurmd -D -N "$1" -f "$SLURM_CONF" "${stepd[@]}")
  mkdir -p "$dir/spool/$1" "$dir/pmix-$1"
  if (($(grep -c ^NodeName= "$SLURM_CONF") > 1)); then
    namespaces || die "namespaces are not allowed here: a cluster of several nodes cannot be made" 4
    # shellcheck disable=SC2016  # expanded inside
    command=("${own[@]}" bash -c 'mount --bind "$1" "$2" && hostname "$3" && shift 3 && exec "$@"' - \
      "$dir/pmix-$1" "$dir/pmix" "$1" "${command[@]}")
  fi
  mark "$1" setsid "${command[@]}" >>"$dir/$1.out" 2>&1 </dev/null &
}

# The daemons are children of this one, which ends them when it is told to or its owner is gone.
supervise() {
  local node tries
  # Forced, since it does not like a folder that is its user's alone.
  mark - munged --foreground --force --key-file="$dir/munge.key" --socket="$dir/munge.socket" --pid-file="$dir/munged.pid" \
    --log-file="$dir/munged.log" --seed-file="$dir/munged.seed" &
  for ((tries = 0; tries < 100; ++tries)); do
    [[ ! -S $dir/munge.socket ]] || break
    sleep 0.1
  done
  mark - slurmctld -D -f "$SLURM_CONF" &
  for node in "${nodes[@]}"; do start_node "$node"; done
  while [[ ! -e $dir/stop ]] && { [[ -z ${CLUSTER_OWNER:-} ]] || kill -0 "$CLUSTER_OWNER" 2>/dev/null; }; do sleep 0.5; done
  end_all
}

# Jobs are told first; what does not go by itself is killed.
end_all() {
  local tries
  timeout 5 scancel --user="$(id -un)" --signal=KILL --full 2>/dev/null
  timeout 5 scancel --user="$(id -un)" 2>/dev/null
  kill_processes TERM
  for ((tries = 0; tries < 30; ++tries)); do
    [[ -n $(processes) ]] || break
    sleep 0.1
  done
  kill_processes KILL
}

start() { # NODES CPUS
  local node until=$((SECONDS + ${START_TIMEOUT:-60}))
  nodes=()
  for ((node = 1; node <= $1; ++node)); do nodes+=("n$node"); done
  [[ ! -d $dir || -z $(ls -A "$dir") ]] || die "folder '$dir' is not empty"
  (($1 == 1)) || namespaces || die "namespaces are not allowed here: a cluster of several nodes cannot be made" 4
  mkdir -p "$dir/state" "$dir/pmix"
  (umask 077 && head -c 128 /dev/urandom >"$dir/munge.key")
  write_conf "$2"
  echo "PMIxCliTmpDirBase=$dir/pmix" >"$dir/mpi.conf"
  (trap '' INT HUP; supervise >"$dir/supervisor.log" 2>&1 </dev/null) &
  while ((SECONDS < until)); do
    (($(timeout 5 sinfo -h -N -p main -t idle -o %N 2>/dev/null | wc -l) == $1)) && return
    sleep 0.2
  done
  tail -n 5 "$dir"/*.log "$dir"/*.out >&2 || true
  stop || true
  die "the nodes did not become idle in time"
}

stop() {
  local tries left
  [[ -d $dir ]] || return 0
  touch "$dir/stop"
  for ((tries = 0; tries < 60; ++tries)); do
    left=$(processes)
    [[ -n $left ]] || return 0
    sleep 0.25
  done
  end_all  # without a supervisor
  left=$(processes)
  [[ -z $left ]] || die "these processes stay: $left"
}

print_env() {
  local name
  for name in PATH LD_LIBRARY_PATH SLURM_CONF; do
    printf 'export %s=%q\n' "$name" "${!name:-}"
  done
}

main() {
  local action=${1:-} plugins stepd
  (($# >= 2)) || { sed -n '2,/^set /{/^# \{0,1\}/s///p}' "${BASH_SOURCE[0]}" >&2; exit 2; }
  dir=$(realpath -m "$2")
  use_slurm
  case $action in
    start) start "${3:-1}" "${4:-8}" ;;
    stop) stop ;;
    env) print_env ;;
    shell) PS1="slurm \w\$ " "${SHELL:-bash}" ;;
    # The daemons first: they would report that a process died.
    kill-node) kill_processes KILL "${3:?which node?}" slurm; kill_processes KILL "$3" ;;
    freeze-node) kill_processes STOP "${3:?which node?}" ;;
    # As after a boot its temporary folders are empty: PMIx would take offence at what a step left that was killed.
    start-node)
      kill_processes KILL "${3:?which node?}" job
      kill_processes KILL "$3"
      rm -rf "$dir/pmix-$3" "$dir/spool/$3"
      start_node "$3" ;;
    processes) processes ;;
    *) die "unknown action '$action': start, stop, shell, env, kill-node, freeze-node, start-node or processes" 2 ;;
  esac
}
main "$@"
