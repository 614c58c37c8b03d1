# shellcheck shell=bash
# CUDA, NCCL and GPUs. The libraries are needed for every build, a driver and GPUs only to train on them.
declare -A path  # of check.sh: where make looks
declare work     # of check.sh: a folder for scraps

check_gpu() {
  section "GPU"
  check_nvcc
  check_library NCCL "${path[nvidia]}/nccl/lib/libnccl.so.2" "$(macros "${path[nvidia]}/nccl/include/nccl.h" NCCL MAJOR MINOR PATCH)" 2.28
  check_library "CUDA run time" "${path[nvidia]}/cu13/lib/libcudart.so.13" "$(cudart_version)" 13.0
  check_driver
}

# macros FILE PREFIX NAME...: "2.28.9" of #define NCCL_MAJOR 2 and so on.
macros() {
  local file=$1 prefix=$2 name
  shift 2
  for name in "$@"; do sed -nE "s/^#define ${prefix}_$name +([0-9]+).*/\1/p" "$file" 2>/dev/null; done | paste -sd.
}

cudart_version() {
  local number
  number=$(sed -nE 's/^#define CUDART_VERSION +([0-9]+).*/\1/p' "${path[nvidia]}/cu13/include/cuda_runtime_api.h" 2>/dev/null)
  [[ -n $number ]] && echo "$((number / 1000)).$((number % 1000 / 10))"
}

check_library() { # name file version wanted
  if [[ ! -f $2 ]]; then
    row MISSING "$1" - "$2" "make setup fetches it with LibTorch, or set NVIDIA_DIR to NVIDIA's wheels that are here"
  elif [[ $3 == "$4"* ]]; then
    row ok "$1" "$3" "$2"
  else
    row warn "$1" "${3:-unknown}" "$2" "$4 is what LibTorch 2.11 is built with: run make gpu-check on a GPU"
  fi
}

check_nvcc() {
  local nvcc=${path[nvcc]} release
  if [[ ! -x $nvcc ]]; then
    row MISSING nvcc - "${nvcc:--}" "make setup fetches one, or set CUDA_HOME to a CUDA Toolkit 13.0"
    return
  fi
  release=$("$nvcc" --version 2>/dev/null | sed -nE 's/.*release ([0-9.]+),.*/\1/p')
  if ! echo '#include <crt/host_defines.h>' | "${cxx:-g++}" -I"$(dirname "$(realpath "$nvcc")")/../include" -E -x c++ - >"$work/log" 2>&1; then
    row MISSING nvcc "$release, without headers" "$nvcc" "crt/host_defines.h is not in ../include: set CUDA_HOME to a whole CUDA Toolkit 13.0"
  elif [[ $release == 13.* ]]; then
    row ok nvcc "$release" "$nvcc"
  else
    row warn nvcc "${release:-unknown}" "$nvcc" "CUDA 13.0 is what LibTorch is built with: set CUDA_HOME, or take it off PATH and run make setup"
  fi
}

check_driver() {
  local driver index name memory
  if ! command -v nvidia-smi >/dev/null || ! timeout 10 nvidia-smi --query-gpu=index,name,memory.total,driver_version \
    --format=csv,noheader >"$work/gpus" 2>&1; then
    if compgen -G '/dev/nvidia[0-9]*' >/dev/null || [[ -d /proc/driver/nvidia ]]; then
      row warn "NVIDIA driver" "does not answer" - "run nvidia-smi; in a container, start it with --gpus all (Docker) or --nv (Apptainer)"
    else
      row n/a "NVIDIA driver" "no GPU here" "training runs on CPUs"
    fi
    return
  fi
  driver=$(sed -nE '1s/.*, *([0-9.]+)$/\1/p' "$work/gpus")
  if ((${driver%%.*} >= 580)) 2>/dev/null; then
    row ok "NVIDIA driver" "$driver" "$(command -v nvidia-smi)"
  else
    row warn "NVIDIA driver" "${driver:-unknown}" "$(command -v nvidia-smi)" "CUDA 13.0 needs driver 580 or newer: update it, or train with --device cpu"
  fi
  while IFS=, read -r index name memory _; do
    row ok "GPU ${index# }" "${name# }" "${memory# }"
  done <"$work/gpus"
}
