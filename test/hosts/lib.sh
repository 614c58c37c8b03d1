# Two hosts made of network namespaces, joined by a link that can be slow or cut, and runs over them.
# Sourced by the scripts of this folder, which run from the repository's top folder.
# shellcheck shell=bash

# enter_namespaces "$@": runs the calling script again in namespaces of its own, in which it may make
# networks and mounts. They, and all that was made in them, are gone with the last process.
enter_namespaces() {
  local how=(unshare --net --mount --uts --propagation private)
  [[ -z ${IN_NAMESPACES:-} ]] || return 0
  ((EUID == 0)) || how+=(--user --map-root-user)
  for tool in ip tc nsenter; do
    command -v "$tool" >/dev/null || skip "there is no $tool on PATH"
  done
  "${how[@]}" sh -c 'mount -t tmpfs none /run && ip netns add try && ip netns exec try ip link set lo up' 2>/dev/null ||
    skip 'this machine allows no network namespaces'
  IN_NAMESPACES=1 exec "${how[@]}" bash "$0" "$@"
}
skip() {
  echo "SKIPPED two hosts: $1"
  echo '0 passed, 0 failed'
  exit 0
}

network=10.77.0.0/24
address() { case $1 in a) echo 10.77.0.1 ;; b) echo 10.77.0.2 ;; esac; }

start_hosts() { # needs $work of test/app/lib.sh
  local host work=$work
  mount -t tmpfs none /run
  for host in a b; do ip netns add "$host"; done
  ip link add link-a netns a type veth peer name link-b netns b
  for host in a b; do
    ip -n "$host" addr add "$(address $host)/24" dev "link-$host"
    ip -n "$host" link set "link-$host" up
    ip -n "$host" link set lo up
  done
  # What mpirun takes for ssh: host, command.
  cat >"$work/agent" <<'END'
#!/bin/sh
case $1 in 10.77.0.1) host=a ;; 10.77.0.2) host=b ;; *) exit 255 ;; esac
shift
# A name of its own, as a host has; mpirun keeps its files by it.
exec ip netns exec $host unshare --uts sh -c "hostname host-$host && exec sh -c '$*'"
END
  chmod +x "$work/agent"
  export OMPI_MCA_plm_rsh_agent=$work/agent OMPI_MCA_btl=tcp,vader,self
  # Both hosts have the same cores: who waits gives way.
  export OMPI_MCA_mpi_yield_when_idle=1
  # Where mpirun keeps its files: in a folder that goes with the test.
  export OMPI_MCA_orte_tmpdir_base=$work
  export OMPI_MCA_btl_tcp_if_include=$network OMPI_MCA_oob_tcp_if_include=$network
}

# link SETTING...: of tc on both ends, such as "tbf rate 50mbit burst 32k latency 400ms"; none: fast.
# Fails where the kernel has no such kind.
link() {
  local host
  for host in a b; do
    if (($#)); then
      ip netns exec "$host" tc qdisc replace dev "link-$host" root "$@" 2>/dev/null || return
    else
      ip netns exec "$host" tc qdisc del dev "link-$host" root 2>/dev/null || true
    fi
  done
}
# A cable that is pulled: b has no network, and what a sends is lost without a word.
cut_link() { ip -n b link set link-b down; }
mend_link() { ip -n b link set link-b up; }
# Bytes that host a has sent through what `link` set.
sent() { ip netns exec a tc -s qdisc show dev link-a | sed -nE 's/ *Sent ([0-9]+) bytes.*/\1/p' | head -n 1; }

export PRESET=tiny-gpt2 DEVICE=cpu DATA_DIR=README.md MICRO_BATCH_SIZE=2 GLOBAL_BATCH_SIZE=8 NUM_THREADS=1 BIND=none
export CUBOID=$PWD/build/${MODE:-release}/bin/cuboid
# train OUTPUT ARGS...: through the launcher; the grid is in the environment. $rc, $work/out, $work/err.
train() {
  local output=$1
  shift
  OUTPUT_DIR=$work/$output timeout -k 5 "${LIMIT:-120}" "${on_a[@]}" jobs/launch_pretrain.sh --eval-steps 0 "$@" >"$work/out" 2>"$work/err" </dev/null
  rc=$?
}
on_a=(ip netns exec a unshare --uts sh -c 'hostname host-a && exec "$@"' sh)
one_host() { unset HOSTS NPROC_PER_NODE TP_SIZE PP_SIZE; }
# two_hosts RANKS TP PP: RANKS on each.
two_hosts() {
  export HOSTS=10.77.0.1:$1,10.77.0.2:$1 NPROC_PER_NODE=$1 TP_SIZE=$2 PP_SIZE=$3
}

losses() { sed -nE 's/^\{"step":([0-9]+),"loss":([^,]*),.*"sample_digest":"([^"]*)".*/\1 \2 \3/p' "$1"; }
# same_losses NAME OUTPUT STEPS: those of one rank: the samples exactly, the losses within 1e-5, since
# sums are taken in another order.
same_losses() {
  local reason
  reason=$(paste -d ' ' <(losses "$work/one/metrics.jsonl" | head -n "$3") <(losses "$work/$2/metrics.jsonl") | awk -v steps="$3" '
    NF != 6 || $1 != $4 || $3 != $6 || ($2 - $5) ^ 2 > (1e-5 * $2) ^ 2 { print "differs: " $0; exit }
    END { if (NR != steps) print NR " steps" }')
  if ((rc == 0)) && [[ -z $reason ]]; then ok; else fail "$1" "exit $rc" "$reason" "$(tail -n 5 "$work/err")"; fi
}
# placed NAME HOST RANK COORDINATES: as the run's table of the grid says. Other tables name ranks too,
# but no coordinates behind them.
placed() {
  if awk -v host="$2" -v rank="$3" -v at="$4" '$1 ~ /^host-/ { on = $1 } $0 ~ "rank +" rank " +dp " && on == host { gsub(/ +/, " "); found = index($0, at) }
    END { exit !found }' "$work/out"; then ok; else fail "$1: rank $3 is not $4 on $2" "$(grep -A6 '^Grid' "$work/out")"; fi
}
