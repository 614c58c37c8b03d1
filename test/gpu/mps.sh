# Ranks that share a GPU: without NVIDIA's MPS their processes take turns on it, a time slice each, and each NCCL kernel
# that waits for another rank's spins through its slice. Sourced by test/gpu/check.sh.
# shellcheck shell=bash disable=SC2154,SC2034

# start_mps: once; $mps_said is what the results say of it, mps_words what goes before a program that is to use it.
# The folders are private: nobody else's programs come to this server, and it ends with this script.
mps_said='' mps_words=()
start_mps() {
  [[ -z $mps_said ]] || return 0
  local words=(CUDA_MPS_PIPE_DIRECTORY="$work/mps" CUDA_MPS_LOG_DIRECTORY="$work/mps-log")
  if ! command -v nvidia-cuda-mps-control >/dev/null; then
    mps_said="no: nvidia-cuda-mps-control is not installed"
  elif timeout 10 nvidia-cuda-mps-control <<<get_server_list >/dev/null 2>&1; then
    mps_said="yes: a server that ran before"
  elif ! { mkdir -p "$work/mps" "$work/mps-log" && env "${words[@]}" timeout 30 nvidia-cuda-mps-control -d >/dev/null 2>&1; }; then
    mps_said="no: nvidia-cuda-mps-control does not start"
  else
    mps_words=("${words[@]}")
    # In a container a control may start whose server serves nobody: programs then see no GPU.
    if timeout 60 env "${words[@]}" "$cuboid" pretrain --preset tiny-gpt2 --device cuda --dry-run --data-dir README.md \
      --output-dir "$work/mps-try" >/dev/null 2>&1; then
      mps_said="yes"
    else
      stop_mps
      mps_said="no: its server serves no program"
    fi
  fi
  echo "MPS for ranks that share a GPU: $mps_said"
}

stop_mps() {
  ((${#mps_words[@]})) && timeout 30 env "${mps_words[@]}" nvidia-cuda-mps-control <<<quit >/dev/null 2>&1
  mps_words=()
}
