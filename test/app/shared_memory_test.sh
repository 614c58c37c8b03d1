# timeout: 120
# A /dev/shm without room for the sums of a node's ranks is warned of, once, with figures and a remedy.
# shellcheck shell=bash source=test/app/lib.sh disable=SC2034,SC2015
source test/app/lib.sh
if ! unshare -m true 2>/dev/null; then
  echo "SKIPPED a small /dev/shm: mounting needs root"
  finish
  exit
fi
model=(--hidden-size 256 --num-layers 2 --num-attention-heads 4 --eval-steps 0 --device cpu --data-dir README.md
  --num-threads 1 --max-steps 1 --peak-tflops 1)

# Gradients want 26 MiB, results 32 MiB a half; MPI itself takes as much as 4 MiB a rank.
for case in 'gradients --data-parallel-size 4 --seq-length 32' \
  'tensor-parallel --tensor-parallel-size 4 --seq-length 1024 --micro-batch-size 8 --dry-run'; do
  read -r what options <<<"$case"
  read -ra args <<<"$options"
  run 4 pretrain "${model[@]}" "${args[@]}" --output-dir "$work/$what"
  { ((rc == 0)) && ! grep -q '^warning: .*shared memory' "$work/out"; } && ok || fail "$what, with room" "exit $rc" "$(grep warning "$work/out")"
  # shellcheck disable=SC2016  # the inner shell expands it
  timeout -k 5 60 unshare -m bash -c 'mount -t tmpfs -o size=17m none /dev/shm && exec "$@"' - \
    mpirun -np 4 "$program" pretrain "${model[@]}" "${args[@]}" --output-dir "$work/$what-none" >"$work/out" 2>"$work/err" </dev/null
  rc=$?
  warning=$(grep '^warning: .*shared memory' "$work/out" "$work/err")
  { ((rc == 0)) && (($(grep -c . <<<"$warning") == 1)) && grep -q "$what" <<<"$warning" &&
    grep -qE 'no room for [0-9.]+ MiB in /dev/shm of .*, where [0-9.]+ MiB of 17.0 MiB are free.*--shm-size' <<<"$warning"; } && ok ||
    fail "$what, without room" "exit $rc" "$warning" "$(tail -n 5 "$work/err")"
done
[[ -f $work/gradients-none/checkpoint-1.h5 ]] && ok || fail "it trains all the same" "$(ls "$work/gradients-none")"
finish
