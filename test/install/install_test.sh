# timeout: 300
# make install, what it gives, and that make uninstall leaves nothing: the installed program trains, a
# program of somebody else (outside.cpp) is built with pkg-config, the manual page and the completion
# work, Lmod loads and unloads the module.
# shellcheck shell=bash source=test/app/lib.sh disable=SC2015,SC2016,SC2154
source test/app/lib.sh
prefix=$work/prefix
checkout=$PWD

# make_install TARGET VARIABLES...: the build that is tested, without compiling anything anew.
make_install() { MODE=${MODE:-release} make --no-print-directory "$@" >"$work/out" 2>"$work/err" </dev/null; }
# Names, modes and contents of everything in a folder.
snapshot() { (cd "$1" && find . -printf '%P %M ' -type f -exec sha256sum {} \; -o -printf '%P %M\n' | sort); }
has() { # NAME PATTERN TEXT
  grep -qE -- "$2" <<<"$3" && ok || fail "$1" "wanted: $2" "$(head -n 12 <<<"$3")"
}

# ---- Install beside files of others
mkdir -p "$prefix/lib" "$prefix/share/man/man1" "$prefix/share/empty"
echo "of somebody else" | tee "$prefix/lib/libother.a" "$prefix/share/man/man1/other.1" >/dev/null
before=$(snapshot "$prefix")
make_install install PREFIX="$prefix" CUBOID_MODULES="testmpi" && ok || fail "make install" "$(cat "$work/err")"
has "says how much" '^install: [0-9]+ files in ' "$(cat "$work/out")"
version=$("$program" --version | sed -nE 's/^cuboid +//p')
for file in bin/cuboid lib/libcuboid.a lib/pkgconfig/cuboid.pc include/cuboid/config/parse.hpp share/man/man1/cuboid.1 \
  share/bash-completion/completions/cuboid share/cuboid/jobs/README.md share/cuboid/env/modules.sh share/doc/cuboid/README.md \
  share/doc/cuboid/LICENSE "share/modulefiles/cuboid/$version.lua" share/cuboid/manifest; do
  [[ -s $prefix/$file ]] && ok || fail "installed file" "$file"
done
[[ ! -e $prefix/include/cuboid/app ]] && ok || fail "the program's own headers stay out"
[[ -z $(find "$prefix" -name '*.new') ]] && ok || fail "no scraps" "$(find "$prefix" -name '*.new')"

# ---- Once more: the same. An upgrade takes away what an older version had brought, and keeps an edited site.env
first=$(snapshot "$prefix")
make_install install PREFIX="$prefix" CUBOID_MODULES="testmpi"
[[ $(snapshot "$prefix") == "$first" ]] && ok || fail "installing twice" "$(diff <(echo "$first") <(snapshot "$prefix"))"
mkdir "$prefix/include/cuboid/gone"
touch "$prefix/include/cuboid/gone/stale.hpp"
printf '%s\n' "file 0 include/cuboid/gone/stale.hpp" "folder $prefix/include/cuboid/gone" >>"$prefix/share/cuboid/manifest"
site=$prefix/share/cuboid/jobs/site.env
if [[ -f $site ]]; then echo "# ours" >>"$site"; fi
make_install install PREFIX="$prefix" CUBOID_MODULES="testmpi"
[[ ! -e $prefix/include/cuboid/gone ]] && ok || fail "a stale header" "$(ls "$prefix/include/cuboid/gone")"
if [[ -f $site ]]; then
  [[ $(tail -n 1 "$site") == "# ours" ]] && ok || fail "an edited site.env stays" "$(cat "$work/out")"
  cp jobs/site.env "$site"
fi
[[ $(snapshot "$prefix") == "$first" ]] && ok || fail "after an upgrade" "$(diff <(echo "$first") <(snapshot "$prefix"))"

# ---- DESTDIR, with a space in it: the same files; uninstall takes DESTDIR itself, which it had made
make_install install DESTDIR="$work/some stage" PREFIX="$prefix" CUBOID_MODULES="testmpi"
difference=$(diff -rq "$prefix" "$work/some stage$prefix" | grep -vE 'libother.a|other.1|empty|manifest')
[[ -z $difference && -x "$work/some stage$prefix/bin/cuboid" ]] && ok || fail "DESTDIR" "$difference" "$(cat "$work/err")"
make_install uninstall DESTDIR="$work/some stage" PREFIX="$prefix"
[[ ! -e "$work/some stage" ]] && ok || fail "uninstall from DESTDIR" "$(find "$work/some stage")"

# ---- The installed program, away from the checkout
cd "$work" || exit
# By the container's own test: two ranks learn the text that is there without --data-dir.
sed -n '/^%test$/,/^%/{/^%/d;p}' "$checkout/env/cuboid.def" >container_test.sh
(PATH=$prefix/bin:$PATH timeout -k 5 90 sh container_test.sh) >"$work/out" 2>"$work/err" </dev/null && ok ||
  fail "the test of the container" "$(tail -n 5 "$work/err")"
has "it trained" '^Step 2 ' "$(cat "$work/out")"
# By the installed launcher.
NPROC_PER_NODE=2 TP_SIZE=2 DEVICE=cpu PRESET=tiny-gpt2 MAX_STEPS=2 DATA_DIR=$checkout/README.md OUTPUT_DIR=$work/run \
  timeout -k 5 90 "$prefix/share/cuboid/jobs/launch_pretrain.sh" >"$work/out" 2>"$work/err" </dev/null && ok ||
  fail "the installed launcher" "$(tail -n 5 "$work/err")"
has "it runs the installed program" "$prefix/bin/cuboid pretrain" "$(cat "$work/out" "$work/err")"
has "it trained on two ranks" '^Step 2 ' "$(cat "$work/out")"
# What is left of the checkout in it is the folder of the dependencies.
torch=$(sed -nE 's/^torch_dir=//p' "$prefix/lib/pkgconfig/cuboid.pc")
left=$(grep -aoE "$checkout/[[:graph:]]*" "$prefix/bin/cuboid" "$prefix/lib/pkgconfig/cuboid.pc" | grep -vF "${torch%/libtorch/torch}/")
[[ -z $left ]] && ok || fail "nothing points into the checkout" "$(head -n 5 <<<"$left")"

# ---- A program of somebody else
export PKG_CONFIG_PATH=$prefix/lib/pkgconfig
read -ra flags < <(pkg-config --cflags --libs cuboid | tr '\n' ' ')
cp "$checkout/test/install/outside.cpp" .
mpicxx outside.cpp "${flags[@]}" -Wall -Wextra -Werror -o outside 2>"$work/err" && ok || fail "outside.cpp" "$(head -n 5 "$work/err")"
timeout -k 5 60 mpirun -np 2 ./outside run/checkpoint-2.h5 --preset 124m --tensor-parallel-size 2 >"$work/out" 2>"$work/err" </dev/null
has "its parameters" '^parameters 124439808$' "$(cat "$work/out" "$work/err")"
has "its sum over ranks" '^sum 3 on 1x2x1$' "$(cat "$work/out")"
has "its checkpoint" '^checkpoint with [1-9][0-9]* tensors$' "$(cat "$work/out")"
[[ $(pkg-config --modversion cuboid) == "$version" ]] && ok || fail "version in pkg-config" "$(pkg-config --modversion cuboid), not $version"

# ---- The manual page
if command -v groff >/dev/null; then
  warnings=$(groff -man -Tutf8 -ww -rLL=100n "$prefix/share/man/man1/cuboid.1" 2>&1 >"$work/page")
  [[ -z $warnings ]] && ok || fail "groff warns" "$warnings"
  has "the page" 'tensor-parallel-size' "$(cat "$work/page")"
else
  echo "SKIPPED the manual page's warnings: no groff"
fi
if command -v man >/dev/null; then
  [[ $(MANPATH=$prefix/share/man man -w cuboid 2>/dev/null) == "$prefix/share/man/man1/cuboid.1" ]] && ok || fail "man finds the page"
else
  echo "SKIPPED man finds the page: no man"
fi

# ---- Completion: loaded by bash-completion itself, then asked as bash asks
if [[ -r /usr/share/bash-completion/bash_completion ]]; then
  loaded=$(XDG_DATA_DIRS=$prefix/share bash -c 'source /usr/share/bash-completion/bash_completion
    _completion_loader cuboid; complete -p cuboid' 2>&1)
  has "bash-completion loads it" '^complete -F _cuboid cuboid$' "$loaded"
else
  echo "SKIPPED loading by bash-completion: it is not installed"
fi
# completes WORDS... : what is offered for the last word.
completes() {
  bash -c 'source "$1"; shift; COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)); _cuboid; printf "%s\n" "${COMPREPLY[@]}"' \
    - "$prefix/share/bash-completion/completions/cuboid" "$@" 2>&1
}
has "commands" '^pretrain$' "$(completes cuboid pre)"
[[ $(completes cuboid pretrain --tensor) == --tensor-parallel-size ]] && ok || fail "options" "$(completes cuboid pretrain --tensor)"
[[ $(completes cuboid pretrain --preset 12) == 124m ]] && ok || fail "presets" "$(completes cuboid pretrain --preset 12)"
[[ $(completes cuboid pretrain --preset = tiny-g) == tiny-gpt2 ]] && ok || fail "--preset=" "$(completes cuboid pretrain --preset = tiny-g)"
[[ $(completes cuboid pretrain --dtype '' | sort | paste -sd' ') == "bf16 fp32" ]] && ok || fail "values" "$(completes cuboid pretrain --dtype '')"
[[ $(completes cuboid checkpoint info run/check) == run/checkpoint-2.h5 ]] && ok || fail "files" "$(completes cuboid checkpoint info run/check)"

# ---- Modules: the Lua file, then the Tcl file, with one that they need before them
mkdir -p "$work/modules"
echo 'whatis("an MPI")' >"$work/modules/testmpi.lua"
if bash -c 'source /etc/profile.d/lmod.sh; type module' >/dev/null 2>&1; then
  for kind in share/modulefiles share/cuboid/modulefiles; do
    said=$(CUBOID_MODULEPATH="$prefix/$kind:$work/modules" bash "$checkout/test/install/module_session.sh" "$prefix" "$version" 2>&1)
    for line in "loads" "needs testmpi" "PATH" "MANPATH" "man finds cuboid" "man still finds others" "PKG_CONFIG_PATH" \
      "CUBOID_ROOT" "help" "whatis" "unload takes all back"; do
      grep -qx "ok $line" <<<"$said" && ok || fail "$kind: $line" "$said"
    done
  done
else
  echo "SKIPPED loading the module: no Lmod"
fi

# ---- Uninstall leaves what was there before; a second one says so
cd "$checkout" || exit
make_install uninstall PREFIX="$prefix" && [[ ! -s $work/out ]] && ok || fail "make uninstall" "$(cat "$work/out" "$work/err")"
[[ $(snapshot "$prefix") == "$before" ]] && ok || fail "uninstall leaves nothing" "$(diff <(echo "$before") <(snapshot "$prefix"))"
make_install uninstall PREFIX="$prefix"
has "nothing to uninstall" '^uninstall: nothing of Cuboid in ' "$(cat "$work/out")"

# ---- What cannot be installed is said in one sentence, and leaves nothing
make_install install PREFIX=/proc/cuboid && fail "a folder that cannot be written" || ok
has "it says so" '^install: error: /proc/cuboid cannot be written: .*PREFIX=' "$(cat "$work/err")"
make_install install PREFIX="$prefix/libother" DESTDIR="$prefix/lib/libother.a" && fail "a file as DESTDIR" || ok
has "it says so" '^install: error: .* cannot be written' "$(cat "$work/err")"
make_install install PREFIX="$work/with space" && fail "PREFIX with a space" || ok
has "it says so" "^install: error: PREFIX='.*' has a space in it" "$(cat "$work/err")"
# A disk that is full half way, with room for the program and not for the library: uninstall still takes
# all of it back.
mkdir "$work/small"
if unshare -rm true 2>/dev/null; then
  room=$(($(stat -c %s bin/cuboid) + (1 << 20)))
  MODE=${MODE:-release} unshare -rm bash -c 'mount -t tmpfs -o size="$2" none "$1" || exit
    make --no-print-directory install PREFIX="$1/p"; find "$1" -name cuboid -type f; make --no-print-directory uninstall PREFIX="$1/p"
    find "$1" -mindepth 1 | sed "s/^/left: /"' - "$work/small" "$room" >"$work/out" 2>"$work/err" </dev/null
  has "it says so" '^install: error: .* could not be written; make uninstall' "$(cat "$work/err")"
  has "it had begun" '/p/bin/cuboid$' "$(cat "$work/out")"
  grep '^left:' "$work/out" && fail "uninstall after half an install" || ok
else
  echo "SKIPPED installing on a full disk: unshare is not allowed here"
fi
[[ $(snapshot "$prefix") == "$before" && ! -e $work/with ]] && ok || fail "failures leave nothing"
finish
