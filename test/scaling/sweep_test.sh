#!/usr/bin/env bash
# timeout: 240
# bench/scaling/sweep.sh: its figures derived a second time, known times, what it draws, an interruption, and what it refuses.
# shellcheck source=test/app/lib.sh disable=SC2015
source test/app/lib.sh
deps=$(realpath -m "${DEPS_DIR:-.deps}")
export CUBOID=$PWD/$program DEVICE=cpu DATA_DIR=$PWD/README.md NUM_THREADS=1 OMPI_MCA_mpi_yield_when_idle=1 DEPS_DIR=$deps BIND=none
unset OMP_NUM_THREADS PYTHONPATH
has_plots=
PYTHONPATH=$deps/plots python3 -c 'import matplotlib' 2>/dev/null && has_plots=1

sweep() { LC_ALL=C bench/scaling/sweep.sh "$@" >"$work/out" 2>"$work/err" </dev/null; }
says() { # NAME TEXT...: each in what was printed
  local name=$1 text
  shift
  for text in "$@"; do
    cat "$work/out" "$work/err" | grep -qF -- "$text" && ok || fail "$name" "wanted: $text" "$(tail -n 8 "$work/out" "$work/err")"
  done
}
refuses() { # NAME TEXT ARGS...: exit 2, one line
  local name=$1 text=$2 rc=0
  shift 2
  sweep "$@" || rc=$?
  if ((rc == 2)) && [[ $(wc -l <"$work/err") == 1 && $(<"$work/err") == "sweep: error: "*"$text"* ]]; then ok; else
    fail "$name" "exit $rc, wanted 2 and one line with: $text" "$(cat "$work/out" "$work/err")"
  fi
}
derived() { # NAME FOLDER
  local wrong
  wrong=$(python3 test/scaling/derive.py "$2" 2>&1)
  [[ -z $wrong ]] && ok || fail "$1: figures derived a second time" "$wrong"
}
cell() { awk -F, -v kind="$2" -v ranks="$3" -v grid="$4" -v column="$5" -v m="${6:-}" '
  NR == 1 { for (i = 1; i <= NF; i++) at[$i] = i; next }
  $at["kind"] == kind && $at["ranks"] == ranks && $at["grid"] == grid && (m == "" || $at["microbatches"] == m) { print $at[column]; exit }' "$1"; }

# ---- What it refuses, before anything runs
tiny=(--preset tiny-gpt2 --output-dir "$work/sweep" --peak-tflops 1)
refuses "steps" "--steps 'x' is not legal; legal: 1 or more" --steps x
refuses "octal" "--steps '08' is not legal" --steps=08
refuses "one word" "--plots 'auto yes' is not legal; legal: auto, yes, no" --plots 'auto yes'
refuses "warm-up" "--warmup 12 leaves nothing of --steps 12" --steps 12 --warmup 12
refuses "a grid" "--grids '2' is not legal; legal: TPxPP" --grids 2
refuses "a kind" "--kinds 'strng' is not legal; legal: strong, weak, bubble" --kinds strng
refuses "no value" "--repeats has no value" --repeats
refuses "what is the sweep's" "--max-steps is the sweep's own; legal: --steps" --max-steps 5
refuses "no point" "leave no point to measure" --ranks 1 --grids 2x1
refuses "a mistake of cuboid's" "'--hiden-size'" "${tiny[@]}" --hiden-size 4
refuses "no folder" "there is no folder '$work/none'" --report "$work/none"
mkdir "$work/empty"
refuses "nothing measured" "nothing was measured in '$work/empty'" --report "$work/empty"
[[ ! -e $work/sweep ]] && ok || fail "nothing was made" "$(find "$work/sweep")"
rc=0
sweep "${tiny[@]}" --ranks 3 --grids 3x1 || rc=$?
((rc == 2)) && ok || fail "a grid that the model has not" "exit $rc"
says "a grid that the model has not" "sweep: error: strong-3-1x3x1 cannot run: --num-attention-heads 4 is not divisible by --tensor-parallel-size 3"
rm -rf "$work/sweep"

# ---- The plan
sweep "${tiny[@]}" --dry-run --ranks '1 2' --schedules '1f1b gpipe' --microbatches '2 8' --repeats 2 && ok || fail "dry run" "$(cat "$work/err")"
says "dry run" "14 points x 2 runs" "28 runs to do, about "
[[ $(awk '/^(strong|weak|bubble)/ { printf "%s:%s:%s ", $1, $7, $8 }' "$work/out") == "strong-1-1x1x1:8:32 strong-2-2x1x1:4:32 strong-2-1x2x1:8:32 \
strong-2-1x1x2-1f1b:8:32 strong-2-1x1x2-gpipe:8:32 weak-1-1x1x1:4:16 "*" bubble-2-1x1x2-1f1b-m2:2:8 bubble-2-1x1x2-1f1b-m8:8:32 "* ]] && ok ||
  fail "plan: micro-batches and batches" "$(cat "$work/out")"
[[ ! -e $work/sweep ]] && ok || fail "a dry run makes nothing" "$(find "$work/sweep")"

# ---- Known times: efficiency, bubble, shares; report and plots
python3 test/scaling/fixture.py "$work/known"
sweep --report "$work/known" && ok || fail "a report of known times" "$(cat "$work/err")"
csv=$work/known/scaling.csv
derived "known times" "$work/known"
# The third turn's larger points are 2 % slower: minimum, median and maximum tell.
[[ $(for x in efficiency_min efficiency efficiency_max; do cell "$csv" strong 2 2x1x1 $x; done | paste -sd' ') == "0.882 0.9 0.9" ]] && ok ||
  fail "known efficiency" "$(cat "$csv")"
[[ $(cell "$csv" strong 8 4x2x1 efficiency) == 0.6 && $(cell "$csv" strong 8 4x2x1 shared_cores) == yes ]] && ok || fail "known efficiency of shared cores"
awk -v m2="$(cell "$csv" bubble 2 1x1x2 bubble 2)" -v m16="$(cell "$csv" bubble 2 1x1x2 bubble 16)" -v t16="$(cell "$csv" bubble 2 1x1x2 bubble_theory 16)" \
  'BEGIN { exit !(m2 > 0.3433 && m2 < 0.3434 && m16 > 0.06882 && m16 < 0.06883 && t16 > 0.05882 && t16 < 0.05883) }' && ok || fail "known bubbles"
grep -E '^strong +8\* +8x1x1' "$work/out" | grep -q 'no meaning' && ok || fail "efficiency of ranks that share cores" "$(cat "$work/out")"
grep -qF 'on 8 ranks the fastest grid is 8x1x1' "$work/known/report.md" && grep -qF '| strong | 8\* | 8x1x1 |' "$work/known/report.md" &&
  grep -qF '| memory of a node | 8.0 GiB |' "$work/known/report.md" && ok || fail "the report" "$(cat "$work/known/report.md")"
python3 -c 'import json, sys; sweep = json.load(open(sys.argv[1])); assert len(sweep["points"]) == 15 and len(sweep["points"][0]["runs"]) == 3' \
  "$work/known/scaling.json" && ok || fail "scaling.json"
if [[ -n $has_plots ]]; then
  for plot in 'throughput tokens/s|ranks|ideal|TP 2|ranks share cores' 'efficiency efficiency, %|ideal|DP alone' \
    'time exposed communication (TP, DP)|pipeline wait (bubble)|optimizer|4,180 ms|share of a step, %' \
    'bubble theory: (p - 1) / (m + p - 1)|micro-batches of a step, m|1x1x2, gpipe|p = 2'; do
    name=${plot%% *}
    [[ $(head -c 8 "$work/known/$name.png" | od -An -tx1 | tr -d ' ') == 89504e470d0a1a0a ]] && ok || fail "$name.png is a PNG"
    wrong=$(python3 - "$work/known/$name.svg" "${plot#* }" <<'CHECK' 2>&1
import sys
import xml.etree.ElementTree as tree
texts = ["".join(e.itertext()) for e in tree.parse(sys.argv[1]).getroot().iter("{http://www.w3.org/2000/svg}text")]
print("".join(f"{label!r} is not there\n" for label in sys.argv[2].split("|") if not any(label in text for text in texts)), end="")
CHECK
    )
    [[ -z $wrong ]] && ok || fail "$name.svg has its labels" "$wrong"
    grep -qF "($name.png)" "$work/known/report.md" && ok || fail "$name.png is in the report"
  done
else
  echo "SKIPPED the plots: no matplotlib for this Python"
fi
# Without matplotlib: one sentence, and all the rest.
rm -f "$work"/known/*.{png,svg,csv,md}
mkdir "$work/bin"
printf '#!/bin/sh\ncase "$*" in *matplotlib*) exit 1 ;; esac\nexec %s "$@"\n' "$(command -v python3)" >"$work/bin/python3"
chmod +x "$work/bin/python3"
PATH=$work/bin:$PATH sweep --report "$work/known" && ok || fail "no matplotlib" "$(cat "$work/err")"
says "no matplotlib" "no plots: python3 finds no matplotlib; env/setup.sh plots fetches it"
[[ -s $work/known/scaling.csv && -s $work/known/report.md && ! -e $work/known/time.png ]] && ok || fail "no matplotlib: the rest is there"

# ---- A real one: three points, twice, in turns; stopped in the middle (75), what is finished stays, and the same command goes on
real=("${tiny[@]}" --seq-length 16 --steps 8 --warmup 3 --repeats 2 --ranks '1 2' --grids '1x1 1x2' --kinds strong --micro-batch-size 2)
bench/scaling/sweep.sh "${real[@]}" >"$work/log" 2>&1 </dev/null &
child=$!
for _ in $(seq 1200); do [[ -e $work/sweep/points/strong-2-2x1x1/1 ]] && break; sleep 0.05; done
refuses "two at once" "another sweep runs in '$work/sweep'" "${real[@]}"
kill -TERM "$child"
rc=0
wait "$child" || rc=$?
((rc == 75)) && grep -q '^stopped at strong-2-2x1x1, run 1; the same command goes on with it$' "$work/log" && ok || fail "stopped" "exit $rc" "$(cat "$work/log")"
[[ $(find "$work/sweep/points" -name seconds | sed "s|$work/sweep/points/||") == strong-1-1x1x1/1/seconds && ! -e $work/sweep/points/strong-2-2x1x1/1 ]] && ok ||
  fail "stopped: the finished run stays" "$(find "$work/sweep/points")"
touch "$work/before"
sweep "${real[@]}" && ok || fail "gone on with" "$(tail -n 5 "$work/out" "$work/err")"
(($(find "$work/sweep/points" -name seconds -newer "$work/before" | wc -l) == 5)) && ok || fail "gone on with: the five that were missing"
[[ $(grep -hoE '^\[[0-9] of 6\] [a-z0-9-]+, run [12]' "$work/log" "$work/out" | paste -sd' ') == "[1 of 6] strong-1-1x1x1, run 1 \
[2 of 6] strong-2-2x1x1, run 1 [3 of 6] strong-2-1x1x2-1f1b, run 1 [4 of 6] strong-1-1x1x1, run 2 [5 of 6] strong-2-2x1x1, run 2 \
[6 of 6] strong-2-1x1x2-1f1b, run 2" ]] && ok || fail "in turns" "$(cat "$work/log" "$work/out")"
derived "a real sweep" "$work/sweep"
[[ $(cell "$work/sweep/scaling.csv" strong 2 2x1x1 global_batch) == 16 && $(cell "$work/sweep/scaling.csv" strong 1 1x1x1 microbatches) == 8 ]] && ok ||
  fail "a real sweep: batches" "$(cat "$work/sweep/scaling.csv")"
# What the program itself wrote has all parts, which add up to a step, and the theory of p = 2, m = 8.
awk -F, 'NR == 1 { for (i = 1; i <= NF; i++) at[$i] = i; next }
  { sum = 0; for (i = at["compute_ms"]; i <= at["other_ms"]; i++) sum += $i; if ($at["compute_ms"] <= 0 || sum <= 0) bad = 1
    if ($at["grid"] == "1x1x2" && ($at["bubble"] <= 0 || $at["bubble_theory"] < 0.1111 || $at["bubble_theory"] > 0.1112)) bad = 1 }
  END { exit bad }' "$work/sweep/scaling.csv" && ok || fail "a real sweep: parts and bubble" "$(cat "$work/sweep/scaling.csv")"
for line in '^\| processor \| .+ \|$' '^\| memory of a node \| [0-9.]+ GiB \|$' '^\| mpi \| Open MPI' '^\| libtorch \| 2\.' '^\| 2 ranks.* CPU( \([A-Za-z0-9, -]+\))?, 1 thread a rank.*peak 2 TFLOP/s' \
  "^    .*mpirun .* cuboid pretrain .*--output-dir points/strong-2-1x1x2-1f1b/1 .*--max-steps 8"; do
  grep -qE "$line" "$work/sweep/report.md" && ok || fail "the report of a real sweep: $line" "$(cat "$work/sweep/report.md")"
done
[[ -z $(find "$work/sweep" -name '*.h5') ]] && ok || fail "no checkpoint is kept"
find "$work/sweep/points" -name seconds -newer "$work/sweep/scaling.json" | grep -q . && fail "the summary is the last" || ok
# Finished: nothing runs. Another point: only that one. Other options: refused.
touch "$work/before"
sweep "${real[@]}" --repeats 2 && [[ -z $(find "$work/sweep/points" -name seconds -newer "$work/before") ]] && ok || fail "a finished sweep runs nothing"
refuses "other options" "holds figures of another steps ('8', now '9')" "${real[@]}" --steps 9
refuses "other words" "holds figures of another options" "${real[@]}" --dropout 0.1
derived "after refusals" "$work/sweep"

# A run that fails: named, exit 1, and the others are measured.
mv "$work/sweep/points/strong-2-2x1x1" "$work/away"
cat >"$work/cuboid" <<END
#!/bin/sh
[ -z "\$OMPI_COMM_WORLD_RANK" ] || { echo "cuboid: error: out of luck" >&2; exit 1; }
exec $CUBOID "\$@"
END
chmod +x "$work/cuboid"
sed -i '/^program = /d' "$work/sweep/options"
rc=0
CUBOID=$work/cuboid sweep "${real[@]}" || rc=$?
((rc == 1)) && ok || fail "a run that fails: exit 1" "exit $rc"
says "a run that fails" "strong-2-2x1x1 failed with exit code 1: cuboid: error: out of luck" "sweep: error: 1 run failed; the logs are"
finish
