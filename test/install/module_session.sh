# A login shell's session with the installed module, for install_test.sh: prints "ok WHAT" for each thing
# that is as it should be.
#
#   CUBOID_MODULEPATH=... bash module_session.sh PREFIX VERSION
# shellcheck shell=bash
set -uo pipefail
prefix=$1 version=$2
is() { # WHAT WANTED FOUND
  if [[ $3 == *$2* ]]; then echo "ok $1"; else echo "not ok $1: wanted $2, found $3"; fi
}
# Lmod takes doubled folders out of PATH and adds colons to MANPATH, whatever the module.
PATH=$(tr : '\n' <<<"$PATH" | awk '!seen[$0]++' | paste -sd:)
variables() { env | grep -E '^(PATH|MANPATH|PKG_CONFIG_PATH|CUBOID_ROOT|LOADEDMODULES)=' | sed 's/:*$//' | sort; }

# Defines `module` and puts the folders on its path; only then the state to come back to.
# shellcheck source=/dev/null
CUBOID_MODULES=testmpi source "$prefix/share/cuboid/env/modules.sh" || exit
set +u
module unload testmpi
before=$(variables)
module load cuboid
is loads "cuboid/$version" "${LOADEDMODULES:-}"
is "needs testmpi" testmpi "${LOADEDMODULES:-}"
is PATH "$prefix/bin/cuboid" "$(command -v cuboid)"
is MANPATH "$prefix/share/man" "${MANPATH:-}"
is "man finds cuboid" "$prefix/share/man/man1/cuboid.1" "$(man -w cuboid 2>&1)"
is "man still finds others" /usr/share/man "$(manpath -q 2>&1)"
is PKG_CONFIG_PATH "$prefix/lib/pkgconfig" "${PKG_CONFIG_PATH:-}"
is CUBOID_ROOT "$prefix/share/cuboid" "${CUBOID_ROOT:-}"
is help "Cuboid $version" "$(module help cuboid 2>&1)"
is whatis "pretraining of transformers" "$(module whatis cuboid 2>&1)"
module unload cuboid
module unload testmpi 2>/dev/null
if [[ $(variables) == "$before" ]]; then echo "ok unload takes all back"; else diff <(echo "$before") <(variables); fi
