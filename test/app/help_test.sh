#!/usr/bin/env bash
# What the program says about itself: every command and option that the guide and the manual page
# name exists, the completion completes, long texts go through a pager on terminals only, and
# colours appear where a person looks on and nowhere else.
# timeout: 180
source test/app/lib.sh

expect() { # NAME WANTED GOT
  if [[ $2 == "$3" ]]; then ok; else fail "$1" "wanted: $2" "got:    $3"; fi
}
contains() { # NAME TEXT FILE
  if grep -qF -- "$2" "$3"; then ok; else fail "$1" "no '$2' in:" "$(head -n 20 "$3")"; fi
}

# --- commands and chapters ---------------------------------------------------------------------
"$program" --help >"$work/help"
commands=$(sed -nE 's/^  cuboid ([a-z]+) .*/\1/p' "$work/help" | sort -u | paste -sd' ')
expect "commands" "bench checkpoint completion evaluate help man presets pretrain" "$commands"
run 1 foo
expect "an unknown command" "2" "$rc"
contains "legal commands" "legal are pretrain, evaluate, checkpoint" "$work/err"
run 1 help paralelism
expect "an unknown chapter" "2" "$rc"
contains "a near chapter" "did you mean 'parallelism'?" "$work/err"
for command in presets man completion; do
  run 1 "$command" superfluous
  expect "$command with an argument" "2" "$rc"
done

# Every option, script, file and command that a chapter names.
"$program" pretrain --help >"$work/options"
for command in "checkpoint info" "checkpoint verify" "checkpoint diff" "checkpoint prune"; do
  # shellcheck disable=SC2086  # two words
  "$program" $command --help >>"$work/options"
done
"$program" bench collectives --help >"$work/bench_options"
for chapter in parallelism checkpoints data slurm performance; do
  run 1 help "$chapter"
  expect "chapter $chapter" "0" "$rc"
  cp "$work/out" "$work/chapter"
  long=$(awk 'length > 80' "$work/chapter")
  expect "lines of $chapter fit a terminal" "" "$long"
  mapfile -t options < <(grep -oE '(^|[^a-z])--[a-z][a-z-]+' "$work/chapter" | grep -oE -- '--.*' | sort -u)
  for option in "${options[@]}"; do
    case $option in
      # Of mpirun, srun and sbatch.
      --bind-to | --map-by | --mpi | --nodes | --signal) continue ;;
    esac
    grep -qF -- "$option" "$work/bench_options" && { ok; continue; }
    contains "option $option of chapter $chapter" "$option" "$work/options"
  done
  mapfile -t paths < <(grep -oE '(jobs|env|bench)/[a-z_/]+\.[a-z]+' "$work/chapter" | sort -u
    grep -oE '^  [a-z_]+\.sbatch' "$work/chapter" | sed 's|^  |jobs/|')
  for path in "${paths[@]}"; do
    expect "$path of chapter $chapter" "there" "$([[ -e $path ]] && echo there)"
  done
  mapfile -t others < <(sed -nE 's/.*cuboid help ([a-z]+).*/\1/p' "$work/chapter")
  for other in "${others[@]}"; do
    contains "chapter $other" "cuboid help $other" "$work/help"
  done
done

# --- manual page -------------------------------------------------------------------------------
"$program" man >"$work/cuboid.1"
if command -v groff >/dev/null; then
  expect "groff's warnings" "" "$(groff -man -ww -Tascii -rLL=200n "$work/cuboid.1" 2>&1 >"$work/page")"
  sed -i 's/.\x08//g; s/\x1b\[[0-9;]*m//g' "$work/page"
  mapfile -t options < <(grep -oE '^  --[a-z0-9-]+' "$work/options" | sort -u)
  for option in "${options[@]}"; do
    contains "option $option in the manual page" "$option" "$work/page"
  done
  mapfile -t options < <(sed -nE 's/^  (-[a-z] \[ )?(--[a-z0-9_-]+).*/\2/p' "$work/bench_options")
  ((${#options[@]} >= 19)) || fail "options of bench collectives" "${options[*]}"
  for option in "${options[@]}"; do
    contains "option $option of bench collectives in the manual page" "$option" "$work/page"
  done
  contains "exit codes in the manual page" "Stopped early" "$work/page"
else
  echo "SKIPPED rendering of the manual page: there is no groff"
fi

# --- completion --------------------------------------------------------------------------------
"$program" completion >"$work/completion"
# complete WORDS...: what bash would propose for the last word, in lines.
complete_words() {
  bash -c 'source "$1"; shift
    COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
    _cuboid && printf "%s\n" "${COMPREPLY[@]}"' _ "$work/completion" "$@"
}
proposed() { complete_words "$@" | paste -sd' '; }
expect "commands complete" "pretrain presets" "$(proposed cuboid pre)"
expect "options complete" "--tensor-parallel-size" "$(proposed cuboid pretrain --tens)"
expect "presets complete" "tiny-gpt2 tiny-llama" "$(proposed cuboid pretrain --preset tiny-)"
expect "choices complete" "gpipe 1f1b" "$(proposed cuboid pretrain --pipeline-schedule '')"
expect "choices after = complete" "bf16" "$(proposed cuboid pretrain --dtype = b)"
expect "all choices after =" "fp32 bf16" "$(proposed cuboid pretrain --dtype =)"
expect "aliases take their option's words" "cosine constant" "$(proposed cuboid pretrain --lr-decay-style co)"
expect "numbers are not proposed" "" "$(proposed cuboid pretrain --num-layers '')"
expect "evaluate takes no learning rate" "" "$(proposed cuboid evaluate --learn)"
expect "commands of checkpoint" "verify" "$(proposed cuboid checkpoint v)"
expect "options of checkpoint" "--keep-last --keep-every" "$(proposed cuboid checkpoint prune --keep)"
mapfile -t options < <(sed -nE 's/^  (-[a-z] \[ )?(--[a-z0-9_-]+).*/\2/p' "$work/bench_options")
for option in "${options[@]}"; do
  expect "$option of bench collectives completes" "$option" "$(complete_words cuboid bench collectives "$option" | grep -x -- "$option")"
done
expect "benchmarks complete" "collectives" "$(proposed cuboid bench c)"
expect "verbs complete" "all_reduce all_gather" "$(proposed cuboid bench collectives all_)"
expect "values of bench complete" "sum max min all" "$(proposed cuboid bench collectives --op '')"
expect "axes complete" "tp" "$(proposed cuboid bench collectives --axis t)"
expect "shared options complete" "mpi" "$(proposed cuboid bench collectives --comm-backend m)"
expect "bench takes no learning rate" "" "$(proposed cuboid bench collectives --learn)"
expect "chapters complete" "data" "$(proposed cuboid help d)"
mkdir "$work/folder"
touch "$work/folder/run.conf" "$work/folder/words.rsp"
expect "files complete" "$work/folder/run.conf" "$(proposed cuboid pretrain --config "$work/folder/r")"
expect "folders complete" "$work/folder" "$(proposed cuboid pretrain --output-dir "$work/fol")"
expect "response files complete" "@$work/folder/words.rsp" "$(proposed cuboid pretrain "@$work/folder/w")"
expect "files or words" "$work/folder/run.conf" "$(proposed cuboid pretrain --resume "$work/folder/r")"
mapfile -t options < <("$program" pretrain --help | grep -oE '^  --[a-z0-9-]+' | tr -d ' ' | sort -u)
for option in "${options[@]}"; do
  expect "$option completes" "$option" "$(complete_words cuboid pretrain "$option" | grep -x -- "$option")"
done
if command -v shellcheck >/dev/null; then
  expect "shellcheck of the completion" "" "$(shellcheck -s bash "$work/completion")"
fi

# --- pages and colours -------------------------------------------------------------------------
# on_terminal VARIABLE=VALUE... -- WORDS...: what the program shows on a terminal of its own.
on_terminal() {
  local variables=()
  while [[ $1 != -- ]]; do variables+=("$1"); shift; done
  shift
  timeout 20 env TERM=xterm "${variables[@]}" script -qec "$program $*" /dev/null </dev/null | tr -d '\r'
}
escape=$'\033'
printf '#!/bin/sh\nsed "s/^/paged: /"\n' >"$work/pager"
chmod +x "$work/pager"
if command -v script >/dev/null; then
  on_terminal PAGER="$work/pager" -- help data >"$work/out"
  contains "a terminal has pages" "paged: " "$work/out"
  contains "headings are bold" "${escape}[1mWhat --data-dir takes${escape}[0m" "$work/out"
  on_terminal PAGER="$work/pager" NO_COLOR=1 -- help data >"$work/out"
  expect "NO_COLOR" "" "$(grep -F "$escape" "$work/out")"
  on_terminal PAGER=/no/such/pager -- presets >"$work/out"
  contains "without a pager the text is shown" "tiny-gpt2" "$work/out"
  expect "and nothing else" "" "$(grep -i 'not found' "$work/out")"
  on_terminal PAGER= -- foo >"$work/out"
  contains "errors are red" "${escape}[31mcuboid: error:${escape}[0m" "$work/out"
  on_terminal TERM=dumb PAGER= -- foo >"$work/out"
  expect "a dumb terminal" "" "$(grep -F "$escape" "$work/out")"
  # mpirun gives its ranks a terminal: neither pages nor colours there.
  timeout 60 env TERM=xterm PAGER="$work/pager" mpirun -np 2 "$program" help data >"$work/out" 2>&1
  expect "no colours under mpirun" "" "$(grep -F "$escape" "$work/out")"
  expect "no pages under mpirun" "" "$(grep -F 'paged' "$work/out")"
  expect "one rank speaks" "1" "$(grep -cF 'What --data-dir takes' "$work/out")"
else
  echo "SKIPPED pages and colours on a terminal: there is no script(1)"
fi
PAGER="$work/pager" "$program" help data >"$work/out"
expect "a file has no pages" "" "$(grep -F 'paged: ' "$work/out")"
expect "a file has no colours" "" "$(grep -F "$escape" "$work/out")"

finish
