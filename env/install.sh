#!/usr/bin/env bash
# What `make install` and `make uninstall` run; make gives the paths and flags.
#
#   env/install.sh install|uninstall     under $DESTDIR$PREFIX
#
# Everything is put together in a folder of its own first, so that a failure there touches nothing. A list
# of the files and of the folders that had to be made (share/cuboid/manifest) is written before the first
# file is copied, so uninstall also undoes an install that failed half way. An upgrade removes what the
# last version brought and this one does not; a site.env that was edited stays.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
die() { printf 'install: error: %s\n' "$*" >&2; exit 1; }

prefix=$(realpath -ms "${PREFIX:?}")
# pkg-config, module files and man split at spaces.
[[ $prefix =~ [[:space:]] ]] && die "PREFIX='$prefix' has a space in it: take a folder without"
root=${DESTDIR:+$(realpath -ms "$DESTDIR")}
target=$root${prefix%/}
manifest=share/cuboid/manifest
cannot_write="$target cannot be written: run it as root (sudo make $1), or elsewhere (make $1 PREFIX=\$HOME/.local)"

# ---- What is installed ------------------------------------------------------------------------

# put MODE SOURCE TARGET: into the staging folder.
put() { install -D -m "$1" "$2" "$stage/$3"; }

# fill TEMPLATE TARGET: @NAME@ becomes the value of the variable NAME.
fill() {
  local text name
  text=$(<"$1")
  for name in PREFIX VERSION TORCH PC_CFLAGS PC_LIBS DEPENDS; do
    text=${text//@$name@/${!name}}
  done
  mkdir -p "$stage/$(dirname "$2")"
  printf '%s\n' "$text" >"$stage/$2"
}

# from_program TARGET ARGUMENTS...: a file that the program prints.
from_program() {
  mkdir -p "$stage/$(dirname "$1")"
  bin/cuboid "${@:2}" >"$stage/$1" || die "bin/cuboid ${*:2} failed"
}

make_stage() {
  local file module
  local PREFIX=$prefix DEPENDS=""
  [[ -x bin/cuboid && -f ${LIBRARY:?} ]] || die "bin/cuboid or $LIBRARY is missing: run make, as who owns this checkout"
  # Not from git, which tells strangers nothing of somebody else's checkout.
  VERSION=$(bin/cuboid --version | sed -nE 's/^cuboid +//p')
  put 755 bin/cuboid bin/cuboid
  put 644 "$LIBRARY" lib/libcuboid.a
  while IFS= read -r file; do put 644 "$file" "$file"; done < <(
    find include/cuboid -name '*.hpp' ! -path 'include/cuboid/app/*' | sort)
  fill env/cuboid.pc.in lib/pkgconfig/cuboid.pc
  from_program share/man/man1/cuboid.1 man
  from_program share/bash-completion/completions/cuboid completion
  put 644 README.md share/doc/cuboid/README.md
  put 644 LICENSE share/doc/cuboid/LICENSE
  # What belongs there: a site's job logs may lie beside it. demo.sh is the job of `make train`.
  while IFS= read -r file; do
    put "$([[ -x $file ]] && echo 755 || echo 644)" "$file" "share/cuboid/$file"
  done < <({ git ls-files -co --exclude-standard jobs bench/scaling 2>/dev/null || find jobs bench/scaling -type f | sort; } |
    grep -vE '/demo\.sh$|\.(out|err|log|pyc)$')
  put 644 env/modules.sh share/cuboid/env/modules.sh
  for module in ${CUBOID_MODULES:-}; do DEPENDS+="depends_on(\"$module\")"$'\n'; done
  fill env/cuboid.lua.in "share/modulefiles/cuboid/$VERSION.lua"
  DEPENDS=""
  for module in ${CUBOID_MODULES:-}; do DEPENDS+="depends-on $module"$'\n'; done
  fill env/cuboid.tcl.in "share/cuboid/modulefiles/cuboid/$VERSION"
}

# ---- The manifest: "file DIGEST PATH" below the prefix, "folder PATH" below DESTDIR -----------------

listed() { sed -nE "s/^$1 //p" "$2"; } # file|folder MANIFEST

# The folder and those above it that are not there, highest first; "/" is DESTDIR itself.
missing_folders() {
  local folder=$1 missing=()
  while [[ ! -d $root$folder ]]; do
    missing=("$folder" "${missing[@]}")
    [[ $folder == / ]] && break
    folder=$(dirname "$folder")
  done
  printf '%s\n' "${missing[@]}"
}

# Deepest first, those that hold nothing.
remove_empty() {
  local folder
  while IFS= read -r folder; do
    rmdir "$root$folder" 2>/dev/null || true
  done < <(listed folder "$1" | sort -r)
}

write_manifest() { # FILE
  { echo "# Cuboid $VERSION: what make install put here, for make uninstall." && cat "$1"; } >"$work/manifest"
  copy 644 "$work/manifest" "$manifest"
}

# copy MODE SOURCE TARGET: by rename, for a program that is running keeps its own file.
copy() { { install -m "$1" "$2" "$target/$3.new" && mv -f "$target/$3.new" "$target/$3"; } 2>/dev/null; }

# Whether the installed FILE is the site's own by now: neither this version's nor the last one's.
is_edited() {
  [[ $1 == */site.env && -f $target/$1 ]] && ! cmp -s "$stage/$1" "$target/$1" &&
    ! grep -qxF "file $(sha256sum <"$target/$1" | cut -d' ' -f1) $1" "$work/old"
}

install_all() {
  local file folder
  make_stage
  cat "$target/$manifest" >"$work/old" 2>/dev/null || true
  (cd "$stage" && find . -type f -printf '%P\0' | sort -z | xargs -0 sha256sum) | sed -E 's/^([0-9a-f]+)  /file \1 /' >"$work/files"
  { listed folder "$work/old" && (cd "$stage" && find . -type d -printf '%P\n' | sort) | while IFS= read -r folder; do
    missing_folders "${prefix%/}${folder:+/$folder}"
  done; } | awk 'NF && !seen[$0]++ { print "folder " $0 }' >"$work/folders"

  while IFS= read -r folder; do
    [[ -d $root$folder ]] || install -d -m 755 "$root$folder" 2>/dev/null ||
      { remove_empty "$work/folders" && die "$cannot_write"; }
  done < <(listed folder "$work/folders")
  # Of both versions, until this one is complete.
  grep '^file ' "$work/old" | sort -u - "$work/files" "$work/folders" >"$work/both" || true
  write_manifest "$work/both" || { remove_empty "$work/folders" && die "$cannot_write"; }

  while read -r _ file; do
    if is_edited "$file"; then
      echo "install: $target/$file was edited and stays; the new one is ${file#share/cuboid/} here"
    else
      copy "$(stat -c %a "$stage/$file")" "$stage/$file" "$file" ||
        die "$target/$file could not be written; make uninstall removes what was"
    fi
  done < <(listed file "$work/files")
  while read -r _ file; do
    [[ -f $stage/$file ]] || rm -f "$target/$file"
  done < <(listed file "$work/old")
  remove_empty "$work/folders"
  { cat "$work/files" && listed folder "$work/folders" | while IFS= read -r folder; do
    [[ ! -d $root$folder ]] || echo "folder $folder"
  done; } >"$work/new"
  write_manifest "$work/new" || die "$target/$manifest could not be written"
  echo "install: $(wc -l <"$work/files") files in $target"
}

uninstall_all() {
  local file
  if ! cat "$target/$manifest" >"$work/old" 2>/dev/null; then
    echo "uninstall: nothing of Cuboid in $target: there is no $manifest"
    return
  fi
  [[ -w $(dirname "$target/$manifest") ]] || die "$cannot_write"
  while read -r _ file; do rm -f "$target/$file" "$target/$file.new"; done < <(listed file "$work/old")
  rm -f "$target/$manifest" "$target/$manifest.new"
  remove_empty "$work/old"
}

work=$(mktemp -d)
stage=$work/tree
trap 'rm -rf "$work"' EXIT
case ${1:-} in
  install) install_all ;;
  uninstall) uninstall_all ;;
  *) die "tell me install or uninstall" ;;
esac
