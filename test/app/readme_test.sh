# timeout: 400
# The commands in README.md's sh blocks run as they stand; targets, scripts and options that README.md names
# exist, as do the files that any README.md links to. To be quick, models are cut to two layers and short
# sequences, and runs to one step; nothing else of a command is changed.
# shellcheck shell=bash source=test/app/lib.sh disable=SC2034,SC2015,SC2016,SC2013
source test/app/lib.sh

mapfile -t commands < <(sed -n '/^```sh$/,/^```$/p' README.md | grep -v '^```' | sed 's/ *#.*//')
((${#commands[@]} >= 4)) && ok || fail "README.md has commands" "${commands[@]}"
for command in "${commands[@]}"; do
  short=$(sed -E "s#bin/cuboid pretrain#$program pretrain#; s/--max-steps [0-9]+/--max-steps 1/" <<<"$command")
  short+=" --num-layers 2 --seq-length 32 --eval-steps 1 --output-dir $work/out-dir"
  if timeout -k 5 150 bash -c "$short" >"$work/out" 2>"$work/err" </dev/null && grep -q '^Step 1 ' "$work/out"; then
    ok
  else
    fail "$command" "$(tail -n 5 "$work/err")"
  fi
  rm -rf "$work/out-dir"
done

# Targets that the text names exist, and so do the files that it links to.
for target in $(grep -oE '^ {4}make [a-z-]+|`make [a-z-]+`' README.md | tr -d '\`' | awk '{ print $2 }' | sort -u); do
  grep -qE "^$target:" Makefile && ok || fail "make $target" "no such target"
done
for file in $(git ls-files '*README.md'); do
  for link in $(grep -oE '\]\([A-Za-z_./-]+(\.md|\.sh|\.hpp|\.py|[a-z])\)' "$file" | sed -E 's/^\]\(|\)$//g'); do
    [[ -e $(dirname "$file")/$link ]] && ok || fail "link in $file" "$link does not exist"
  done
done
for file in $(grep -oE '^ {4}(sbatch( --[a-z]+ [0-9]+)? )?([A-Z_]+=[a-z0-9]+ )*(jobs|env)/[a-z_.]+' README.md | grep -oE '(jobs|env)/[a-z_.]+'); do
  [[ -x $file || $file == *.sbatch && -r $file ]] && ok || fail "$file" "README.md names it, and it cannot be run"
done
# The options that the table lists are options.
run 1 pretrain --help
for option in $(sed -n '/^## Options/,/^## Common/p' README.md | grep -oE -- '--[a-z][a-z0-9-]+' | sort -u); do
  grep -q -- "$option" "$work/out" && ok || fail "option $option" "not in --help"
done
finish
