# shellcheck shell=bash
# Processor, memory and limits of this machine and this shell.

check_machine() {
  section "Machine"
  check_processor
  check_memory
  check_limits
  check_clock
}

check_processor() {
  local flags sockets nodes name features=() flag cores quota period
  cores=$(nproc)
  flags=" $(sed -nE '/^flags/{s/.*: //p;q}' /proc/cpuinfo) "
  name=$(sed -nE '/^model name/{s/.*: //p;q}' /proc/cpuinfo)
  sockets=$(sed -nE 's/^physical id.*: //p' /proc/cpuinfo | sort -u | wc -l)
  nodes=$(compgen -G '/sys/devices/system/node/node[0-9]*' | wc -l)
  row ok cores "$cores of $(nproc --all), $((sockets ? sockets : 1)) socket(s), $((nodes ? nodes : 1)) NUMA node(s)" "$name"
  # A container's share of the processors, which nproc does not know of.
  if read -r quota period 2>/dev/null </sys/fs/cgroup/cpu.max && [[ $quota != max ]] && ((quota < cores * period)); then
    row warn "core quota" "$(awk "BEGIN { print $quota / $period }") cores" "/sys/fs/cgroup/cpu.max" "start no more ranks x threads than that"
  fi
  for flag in avx2 avx512f avx512_bf16 amx_bf16; do [[ $flags == *" $flag "* ]] && features+=("$flag"); done
  if [[ $(uname -m) == x86_64 && $flags != *" avx2 "* ]]; then
    row warn instructions "no AVX2" - "LibTorch is several times slower without it: take another machine"
  else
    row ok instructions "${features[*]}" "$([[ ${features[*]} == *bf16* ]] && echo "bf16 in hardware")"
  fi
}

gib() { awk -v kib="$1" 'BEGIN { printf "%.1f GiB", kib / 1048576 }'; }

check_memory() {
  local total available limit thp shm
  total=$(awk '/^MemTotal/ { print $2 }' /proc/meminfo)
  available=$(awk '/^MemAvailable/ { print $2 }' /proc/meminfo)
  limit=$(cat /sys/fs/cgroup/memory.max 2>/dev/null)
  if [[ $limit =~ ^[0-9]+$ ]] && ((limit / 1024 < total)); then total=$((limit / 1024)); fi
  ((available > total)) && available=$total
  if ((available < 4 * 1048576)); then
    row warn memory "$(gib "$available") free of $(gib "$total")" - "a compiler takes 0.6 GiB and a rank 0.3 GiB before its model: JOBS=1, fewer ranks"
  else
    row ok memory "$(gib "$available") free of $(gib "$total")" -
  fi
  thp=$(sed -nE 's/.*\[(.*)\].*/\1/p' /sys/kernel/mm/transparent_hugepage/enabled 2>/dev/null)
  case $thp in
    always | madvise) row ok "huge pages" "transparent: $thp" - ;;
    never) row warn "huge pages" "transparent: never" - "large buffers are faster with: echo madvise >/sys/kernel/mm/transparent_hugepage/enabled" ;;
    *) row n/a "huge pages" "unknown" - ;;
  esac
  shm=$(df --output=size -k /dev/shm 2>/dev/null | tail -n 1)
  if ((${shm:-0} < 1048576)); then
    row warn /dev/shm "$(gib "${shm:-0}")" - "ranks and GPUs of a node exchange through it: docker run --shm-size=8g or --ipc=host"
  else
    row ok /dev/shm "$(gib "$shm")" -
  fi
}

check_limits() {
  local value
  value=$(ulimit -l)
  if [[ $value != unlimited ]] && compgen -G '/sys/class/infiniband/*' >/dev/null; then
    row warn "locked memory" "$value kB" "ulimit -l" "InfiniBand needs unlimited: memlock in /etc/security/limits.conf, LimitMEMLOCK of slurmd"
  else
    row ok "locked memory" "$value$([[ $value == unlimited ]] || echo " kB")" "ulimit -l"
  fi
  value=$(ulimit -n)
  if [[ $value != unlimited ]] && ((value < 1024)); then
    row warn "open files" "$value" "ulimit -n" "connections of many ranks need more: ulimit -n 4096"
  else
    row ok "open files" "$value" "ulimit -n"
  fi
  value=$(ulimit -s)
  if [[ $value != unlimited ]] && ((value < 8192)); then
    row warn stack "$value kB" "ulimit -s" "ulimit -s 8192"
  else
    row ok stack "$value$([[ $value == unlimited ]] || echo " kB")" "ulimit -s"
  fi
  row ok "core files" "$(ulimit -c)" "ulimit -c"
}

check_clock() {
  local synchronized=""
  synchronized=$(timedatectl show -p NTPSynchronized --value 2>/dev/null)
  [[ -z $synchronized ]] && timeout 3 chronyc -n tracking 2>/dev/null | grep -q 'Leap status *: Normal' && synchronized=yes
  case $synchronized in
    yes) row ok clock synchronised - ;;
    no) row warn clock "not synchronised" - "times in logs of several nodes will differ: timedatectl set-ntp true" ;;
    *) row n/a clock "nobody to ask" "neither timedatectl nor chronyc answers" ;;
  esac
}
