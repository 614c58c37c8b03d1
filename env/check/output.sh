# shellcheck shell=bash
# The file system that checkpoints will be written to.

check_output() {
  section "Output folder"
  local folder=$1 existing=$1 type free target
  while [[ ! -d $existing ]]; do
    if [[ -e $existing ]]; then
      row warn folder "not a folder" "$existing" "name another with --output-dir"
      return
    fi
    existing=$(dirname "$existing")
  done
  if [[ -w $existing ]]; then
    row ok folder "$([[ -d $folder ]] && echo "is there" || echo "can be made")" "$folder"
  else
    row warn folder "cannot be written" "$existing" "name another with --output-dir"
  fi
  read -r type free target < <(df -k --output=fstype,avail,target "$existing" 2>/dev/null | tail -n 1)
  case $type in
    nfs | nfs4) row warn "file system" "$type" "$target" "slow and weakly locked where all ranks write one file: take a parallel or a local one" ;;
    tmpfs | ramfs) row warn "file system" "$type" "$target" "checkpoints take memory and are gone after a restart: take a disk" ;;
    overlay) row warn "file system" "$type" "$target" "goes with the container: bind a folder of the host" ;;
    fuse.sshfs | 9p | cifs | smb3) row warn "file system" "$type" "$target" "not made for many ranks in one file: take a parallel or a local one" ;;
    lustre) row ok "file system" "$type" "$target" "stripe the folder over several targets before the first save: lfs setstripe -c 8 $folder" ;;
    "") row n/a "file system" unknown "$existing" ;;
    *) row ok "file system" "$type" "$target" ;;
  esac
  if ((${free:-0} < 10 * 1048576)); then
    row warn "free space" "$(gib "${free:-0}")" "$target" "12 bytes a parameter and checkpoint (124m: 1.4 GiB): --keep-last 2 keeps few"
  else
    row ok "free space" "$(gib "$free")" "$target"
  fi
}
