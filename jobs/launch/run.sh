# Runs the command as a child and passes signals on to it.
# shellcheck shell=bash source=jobs/launch/command.sh
source "${BASH_SOURCE[0]%/*}/command.sh"

# The first signal, whichever it is, becomes USR1: mpirun would kill its ranks soon after TERM, and
# srun only reports on INT. Further ones become TERM, which ends the run at once.
pass_on() {
  signalled=1
  if ((signals++ == 0)); then
    [[ $1 == USR1 ]] || echo "launch_pretrain: $1: saving and stopping; once more ends at once" >&2
    kill -USR1 "$child" 2>/dev/null || true
  elif [[ $1 != USR1 ]]; then
    kill -TERM "$child" 2>/dev/null || true
  fi
}

# run_command: returns the command's exit code.
run_command() {
  local name rc prefix=() signals=0 signalled child=
  for name in "${!environment[@]}"; do export "$name=${environment[$name]}"; done
  # Should this script be killed with no chance to pass it on, the run still saves and ends.
  if setpriv --help 2>/dev/null | grep -q pdeathsig; then prefix=(setpriv --pdeathsig TERM --); fi
  # A process group of its own: a Ctrl-C of the terminal reaches the run through pass_on alone, once.
  set -m
  "${prefix[@]}" "${command[@]}" </dev/null &
  child=$!
  set +m
  for name in USR1 TERM INT HUP; do
    # shellcheck disable=SC2064  # the name is that of now
    trap "pass_on $name" "$name"
  done
  while true; do
    signalled=
    rc=0
    wait "$child" || rc=$?
    [[ -n $signalled ]] || break
  done
  # A rank that USR1 ended had not come as far as catching it: nothing was done that could be lost.
  if ((rc == 138 && signals == 1)); then rc=75; fi
  return "$rc"
}
