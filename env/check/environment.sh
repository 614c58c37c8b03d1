# shellcheck shell=bash
# Variables that change, and often break, runs: shown where set, judged where that can be.
declare -A path  # of check.sh: where make looks

check_environment() {
  section "Environment"
  local name value shown=0
  while IFS= read -r name; do
    value=${!name}
    judge_variable "$name" "$value"
    shown=1
  done < <(compgen -e | grep -E '^(OMP|KMP|GOMP|MKL|CUDA|NCCL|OMPI_MCA|PMIX_MCA|UCX|FI|HDF5|TORCH|PYTORCH|CUBOID|SBATCH|SLURM_MPI)_|^(CPATH|LIBRARY_PATH|LD_LIBRARY_PATH|LD_PRELOAD|OMPI_CXX|SLURM_JOB_ID)$' | sort)
  ((shown)) || row ok variables "none set" "of those that change runs"
}

judge_variable() { # name value
  local advice="" cores status=ok value=$2
  cores=$(nproc)
  case $1=$2 in
    OMP_NUM_THREADS=*)
      if [[ ! $2 =~ ^[1-9][0-9]*$ ]]; then
        advice="not one number: unset OMP_NUM_THREADS"
      elif (($2 > cores)); then
        advice="more than the $cores cores: unset it; cuboid divides the cores among its ranks"
      fi ;;
    CUDA_VISIBLE_DEVICES= | CUDA_VISIBLE_DEVICES=-1) advice="hides every GPU: unset CUDA_VISIBLE_DEVICES to train on them" ;;
    CUDA_LAUNCH_BLOCKING=[1-9]*) advice="slow, for debugging only: unset CUDA_LAUNCH_BLOCKING" ;;
    NCCL_P2P_DISABLE=1 | NCCL_SHM_DISABLE=1 | NCCL_IB_DISABLE=1 | NCCL_NVLS_ENABLE=0)
      advice="turns a fast path off: unset it unless the site says otherwise" ;;
    NCCL_DEBUG=INFO | NCCL_DEBUG=TRACE) advice="every rank prints much: NCCL_DEBUG=WARN" ;;
    NCCL_SOCKET_IFNAME=[a-z]*)
      compgen -G "/sys/class/net/${2%%,*}*" >/dev/null || advice="no such interface on this node: ls /sys/class/net" ;;
    OMPI_MCA_btl=*self* | OMPI_MCA_btl=^*) ;;
    OMPI_MCA_btl=*) advice="without self no rank can talk to itself: add self" ;;
    OMP_PROC_BIND=[tTcCsS]* | KMP_AFFINITY=* | GOMP_CPU_AFFINITY=*)
      advice="may bind all ranks of a node to the same cores: unset it, mpirun and srun bind ranks" ;;
    LD_PRELOAD=?*) advice="is loaded into every rank: unset it unless meant" ;;
    LD_LIBRARY_PATH=*) advice=$(foreign_library "$2") ;;
    HDF5_DISABLE_VERSION_CHECK=[1-9]*) advice="hides an HDF5 whose headers and library differ: unset it" ;;
  esac
  [[ -n $advice ]] && status=warn
  ((${#value} > 60)) && value=${value:0:57}...
  row "$status" "$1" "${value:-(empty)}" - "$advice"
}

# LD_LIBRARY_PATH goes before the run paths in the program, so another LibTorch or NCCL there is the one loaded.
foreign_library() {
  local folder name
  while IFS= read -r -d: folder; do
    for name in libtorch_cpu.so libc10.so libnccl.so.2 libcudart.so.13; do
      if [[ -e $folder/$name && ! $folder/$name -ef ${path[torch]}/lib/$name && ! $folder/$name -ef ${path[nvidia]}/nccl/lib/$name &&
        ! $folder/$name -ef ${path[nvidia]}/cu13/lib/$name ]]; then
        echo "$folder/$name is loaded instead of the one that was built with: take the folder out"
        return
      fi
    done
  done <<<"$1:"
}
