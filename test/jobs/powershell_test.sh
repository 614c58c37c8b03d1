#!/usr/bin/env bash
# timeout: 60
# launch_pretrain.ps1: its syntax, the variables it knows, and a run where PowerShell is present.
# shellcheck source=test/app/lib.sh disable=SC2015
source test/app/lib.sh
script=jobs/launch_pretrain.ps1

# parses FILE: by PowerShell's own parser where there is one, else by tree-sitter's grammar.
if command -v pwsh >/dev/null; then
  parses() {
    pwsh -NoProfile -Command "\$errors = \$null
      [void][System.Management.Automation.Language.Parser]::ParseFile('$1', [ref]\$null, [ref]\$errors); exit \$errors.Count"
  }
else
  parses() {
    python3 - "$1" <<'END'
import sys
import tree_sitter, tree_sitter_powershell
parser = tree_sitter.Parser(tree_sitter.Language(tree_sitter_powershell.language()))
sys.exit(parser.parse(open(sys.argv[1], "rb").read()).root_node.has_error)
END
  }
fi
if command -v pwsh >/dev/null || python3 -c 'import tree_sitter, tree_sitter_powershell' 2>/dev/null; then
  parses "$PWD/$script" && ok || fail "syntax"
  for mistake in 's/foreach (/foreach /' 's/^exit /} exit /' "s/'TP_SIZE', /'TP_SIZE /"; do
    sed "$mistake" "$script" >"$work/broken.ps1"
    cmp -s "$work/broken.ps1" "$script" && fail "$mistake changes nothing"
    parses "$work/broken.ps1" && fail "$mistake is not noticed" || ok
  done
else
  echo "SKIPPED syntax of $script: neither pwsh nor Python's tree-sitter-powershell is here"
fi

# It hands on what launch_pretrain.sh documents, and nothing else by name.
jobs/launch_pretrain.sh --help | grep -oE '^[A-Z]+_?[A-Z_]+  ' | tr -d ' ' | sort >"$work/documented"
sed -n '/^.variables = @(/,/^)/p' "$script" | grep -oE "'[A-Z_]+'" | tr -d "'" | sort >"$work/known"
(($(wc -l <"$work/documented") > 20)) && ok || fail "documented variables" "$(cat "$work/documented")"
cmp -s "$work/documented" "$work/known" && ok || fail "variables" "$(diff "$work/documented" "$work/known")"

if command -v pwsh >/dev/null; then
  export OUTPUT_DIR=$work/run DATA_DIR=README.md PRESET=tiny-gpt2 DEVICE=cpu MAX_STEPS=2 CUBOID=$PWD/$program
  pwsh -NoProfile -File "$script" --eval-steps 1 >"$work/out" 2>&1 && [[ -f $OUTPUT_DIR/checkpoint-2.h5 ]] && ok || fail "a run" "$(tail -n 5 "$work/out")"
  TP_SIZE=x pwsh -NoProfile -File "$script" >"$work/out" 2>&1
  rc=$?
  ((rc == 2)) && grep -q "TP_SIZE='x'" "$work/out" && ok || fail "its exit code" "exit $rc"
else
  echo "SKIPPED a run of $script: there is no pwsh"
fi
finish
