# shellcheck shell=bash
# The table of env/check.sh: rows are collected first, so that columns can be as wide as they must.
rows=() missing=0 warnings=0  # counted: rows of these kinds

section() { rows+=("section"$'\t'"$1"); }

# row STATUS NAME VALUE WHERE [ADVICE]: STATUS is ok, warn, MISSING or n/a; what is MISSING decides the exit
# code. The advice, a next command where there is one, is printed below the row.
row() {
  local field fields=() cell
  for field in "$1" "$2" "${3:--}" "${4:--}" "${5:-}"; do
    cell=${field//$'\t'/ }
    fields+=("${cell//$'\n'/ }")
  done
  rows+=("$(printf '%s\t' "${fields[@]}")")
  case $1 in
    MISSING) missing=$((missing + 1)) ;;
    warn) warnings=$((warnings + 1)) ;;
  esac
}

# install_with PACKAGE: how to get it on this machine.
install_with() {
  if command -v dpkg-query >/dev/null; then
    command -v make >/dev/null && echo -n "make setup, or "
    echo "apt-get install $1"
  else
    echo "load the site's module for it, or install it with Spack (env/README.md)"
  fi
}

color_of() {
  case $1 in
    ok) printf '\033[32m' ;;
    warn) printf '\033[33m' ;;
    MISSING) printf '\033[1;31m' ;;
    *) printf '\033[2m' ;;
  esac
}

print_table() {
  local line status name value where advice name_width=0 value_width=0 colors=0
  [[ -t 1 && -z ${NO_COLOR:-} && ${TERM:-dumb} != dumb ]] && colors=1
  for line in "${rows[@]}"; do
    IFS=$'\t' read -r status name value where advice <<<"$line"
    [[ $status == section ]] && continue
    ((${#name} > name_width)) && name_width=${#name}
    ((${#value} > value_width && ${#value} <= 44)) && value_width=${#value}
  done
  for line in "${rows[@]}"; do
    IFS=$'\t' read -r status name value where advice <<<"$line"
    if [[ $status == section ]]; then
      printf '%s\n' "$name"
      continue
    fi
    [[ $where == - ]] && where=
    printf -v line '%-*s  %-*s  %s' "$name_width" "$name" "$value_width" "$value" "$where"
    line=${line%"${line##*[! ]}"}
    if ((colors)); then
      printf '  %s%-7s\033[0m  %s\n' "$(color_of "$status")" "$status" "$line"
    else
      printf '  %-7s  %s\n' "$status" "$line"
    fi
    [[ -n $advice ]] && printf '           -> %s\n' "$advice"
  done
}
