#!/usr/bin/env bash
# shellcheck disable=SC2015  # ok fails never, so `A && ok || fail` is what it looks like
# Training over two hosts with mpirun: `make test-hosts`. Every kind of grid over a fast and a slow link,
# against one rank; stopping and going on; a link that is cut and a host that dies in the middle of a run.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit
# shellcheck source=test/hosts/lib.sh
source test/hosts/lib.sh
enter_namespaces "$@"
# shellcheck source=test/app/lib.sh
source test/app/lib.sh
start_hosts

export MAX_STEPS=6
one_host
train one

# RANKS-OF-A-HOST TP PP: stages across; replicas across; TP across; all three; eight ranks of each kind
grids=('2 2 2' '2 2 1' '2 1 1' '1 2 1' '1 1 2' '1 1 1' '2 1 2' '2 4 1' '4 2 2' '4 4 2')
cases() { # NAME
  local grid ranks tp pp
  for grid in "${grids[@]}"; do
    read -r ranks tp pp <<<"$grid"
    two_hosts "$ranks" "$tp" "$pp"
    GLOBAL_BATCH_SIZE=8 train grid
    same_losses "$1, $ranks ranks a host, TP $tp, PP $pp" grid 6
    rm -rf "$work/grid"
  done
}
cases "fast link"
if link tbf rate 200mbit burst 64k latency 400ms; then cases "200 Mbit/s"; else echo "SKIPPED a link of 200 Mbit/s: this kernel has no tbf"; fi
link
if link netem delay 5ms rate 200mbit; then cases "5 ms of delay"; else echo "SKIPPED a link with a delay: this kernel has no netem"; fi
link

# ---- A run that is stopped, by its launcher's signal; a link that is cut; a host that dies. In each case
# the same command goes on and ends as one rank does that was never stopped.
export MAX_STEPS=100 OMPI_MCA_oob_tcp_keepalive_time=2 OMPI_MCA_oob_tcp_keepalive_intvl=1 OMPI_MCA_oob_tcp_keepalive_probes=3
one_host
train one
two_hosts 2 2 2
checkpoints() { find "$work/$1" -name 'checkpoint-*.h5' 2>/dev/null | wc -l; }
# Processes of a host: those in its network.
processes() { ip netns pids "$1"; }
disturb() { # NAME FOLDER EXIT-CODE COMMAND...
  local name=$1 folder=$2 wanted=$3 child launched
  shift 3
  OUTPUT_DIR=$work/$folder timeout -k 5 150 "${on_a[@]}" jobs/launch_pretrain.sh --eval-steps 0 --save-interval 10 --resume auto >"$work/out" 2>"$work/err" </dev/null &
  child=$!
  for _ in $(seq 600); do (($(checkpoints "$folder") >= 2)) && break; sleep 0.05; done
  launched=$(pgrep -P "$child" -f launch_pretrain | head -n 1)
  "$@" "$launched"
  rc=0
  wait "$child" || rc=$?
  mend_link
  case $wanted in
    failed) ((rc != 0 && rc != 75 && rc != 124 && rc != 137)) ;;
    *) ((rc == wanted)) ;;
  esac && ok || fail "$name: its end" "exit $rc" "$(tail -n 5 "$work/err")"
  for _ in $(seq 100); do [[ -n $(processes a; processes b) ]] || break; sleep 0.1; done
  [[ -z $(processes a; processes b) ]] && ok || fail "$name: processes left" "$(processes a; processes b)"
  "$program" checkpoint verify "$work/$folder" >"$work/verified" 2>&1 && ok || fail "$name: checkpoints" "$(cat "$work/verified")"
  train "$folder" --save-interval 10 --resume auto
  grep -q '^Resumed from' "$work/out" && ok || fail "$name: going on" "$(tail -n 5 "$work/out" "$work/err")"
  same_losses "$name: and the rest" "$folder" 100
}
stop_it() { kill -USR1 "$1"; }
cut_it() { cut_link; }
kill_b() { processes b | xargs kill -KILL; }
disturb "USR1" stopped 75 stop_it
disturb "a link that is cut" cut failed cut_it
disturb "a host that dies" dead failed kill_b
finish
