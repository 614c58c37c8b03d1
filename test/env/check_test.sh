# timeout: 120
# env/check.sh: its table on this machine, and what it says of machines that lack something. What this
# machine does not have (NFS, an old driver, SLURM) is played by commands in front of PATH.
# shellcheck shell=bash source=test/app/lib.sh disable=SC2015,SC2016
source test/app/lib.sh
mkdir "$work/bin"

# check ENVIRONMENT... -- ARGS...: output in $work/out, exit code in $rc.
check() {
  local variables=()
  while [[ $1 != -- ]]; do variables+=("$1"); shift; done
  env "${variables[@]}" timeout 60 env/check.sh "${@:2}" >"$work/out" 2>"$work/err" </dev/null
  rc=$?
}

# says NAME STATUS ROW TEXT [ADVICE]: the row is there once, with that status and text, and the advice below it.
says() {
  local found
  found=$(grep -A 1 -E "^  $2 +$3  " "$work/out")
  if [[ $(head -n 1 <<<"$found") == *$4* && (-z ${5:-} || $(tail -n 1 <<<"$found") == *"-> "*$5*) ]]; then
    ok
  else
    fail "$1" "wanted: $2 $3 ... $4 ${5:+-> $5}" "$(grep -A 1 -F "$3" "$work/out")"
  fi
}

play() { # name: a command of that name, its script on standard input
  { echo '#!/bin/sh'; cat; } >"$work/bin/$1"
  chmod +x "$work/bin/$1"
}

# ---- This machine, on which the tests have just been built
check -- "$work"
((rc == 0)) && ok || fail "this machine" "exit $rc" "$(grep -A 1 MISSING "$work/out")"
[[ ! -s $work/err ]] && ok || fail "nothing goes to standard error" "$(cat "$work/err")"
for name in make git sha256sum flock ar "C\+\+ compiler" mpicxx mpirun "MPI library" "MPI threads" "parallel HDF5" Boost nlohmann-json xxHash \
  GoogleTest "Google Benchmark" LibTorch nvcc NCCL "CUDA run time" cores "folder"; do
  says "$name" ok "$name" ""
done
for name in "python3 with pip" "CUDA-aware MPI" "NVIDIA driver" SLURM "PMIx in MPI" instructions memory "huge pages" /dev/shm \
  "locked memory" "open files" stack "core files" clock "file system" "free space"; do
  says "$name" "(ok|warn|n/a)" "$name" ""
done
says "thread level" ok "MPI threads" MPI_THREAD_MULTIPLE
says "two ranks" ok mpirun "2 ranks talk"
says "version of LibTorch" ok LibTorch 2.11.0
says "HDF5 and MPI" ok "parallel HDF5" "same MPI"
other=$(grep -vE '^(Build|Libraries|GPU|Cluster|Machine|Output folder|Environment)$|^  (ok|warn|n/a) +[^ ]|^           -> [^ ]' "$work/out")
[[ $other == "Everything that a build"*. && $other != *$'\n'* ]] && ok || fail "the last line, and no other, is a sentence" "$other"
# A warning names what to do.
grep -A 1 '^  warn' "$work/out" | grep -qvE '^  warn|->|^--' && fail "each warning has an advice" "$(cat "$work/out")" || ok

# ---- A machine without mpicxx and LibTorch, with an old driver, NFS, SLURM without PMIx and unlucky variables
mkdir "$work/farm" "$work/libraries"
IFS=: read -ra folders <<<"$PATH"
for folder in "${folders[@]}"; do ln -s "$folder"/* "$work/farm/" 2>/dev/null; done
rm -f "$work/farm/"{mpicxx,mpic++,mpiCC,srun}
play df <<<'case $* in *fstype*) echo "Type Avail Mounted"; echo "nfs4 99999999 /home";; *) exec /bin/df "$@";; esac'
play nvidia-smi <<<'echo "0, NVIDIA A100-SXM4-40GB, 40960 MiB, 550.54.15"'
play srun <<<'case $1 in --version) echo "slurm 22.05.8";; *) printf "MPI plugin types are...\n\tnone\n\tpmi2\n" >&2;; esac'
touch "$work/libraries/libnccl.so.2"
check PATH="$work/bin:$work/farm" TORCH_DIR=/nowhere/torch OMP_NUM_THREADS=many CUDA_VISIBLE_DEVICES=-1 NCCL_DEBUG=INFO \
  LD_LIBRARY_PATH="$work/libraries" -- "$work/missing/deep"
((rc == 1)) && ok || fail "something is missing" "exit $rc"
says "no mpicxx" MISSING mpicxx "" "apt-get install libopenmpi-dev"
says "no LibTorch" MISSING LibTorch /nowhere/torch TORCH_DIR
says "old driver" warn "NVIDIA driver" 550.54.15 580
says "the GPU" ok "GPU 0" "NVIDIA A100-SXM4-40GB"
says "NFS" warn "file system" nfs4 "parallel or a local"
says "a folder to be made" ok folder "can be made"
says "SLURM" ok SLURM 22.05.8
says "SLURM without PMIx" warn "srun --mpi" "none pmi2" LAUNCHER=mpirun
says "threads" warn OMP_NUM_THREADS many unset
says "hidden GPUs" warn CUDA_VISIBLE_DEVICES -1 unset
says "NCCL prints" warn NCCL_DEBUG INFO WARN
says "another NCCL" warn LD_LIBRARY_PATH "" "$work/libraries/libnccl.so.2"
count=$(grep -c '^  MISSING' "$work/out")
[[ $(tail -n 1 "$work/out") == "Missing for a build: $count (marked above). "*. ]] && ok || fail "the count" "$(tail -n 1 "$work/out")"

# ---- A serial HDF5, a newer driver, PMIx, a file where the folder should be
mkdir "$work/serial"
echo '#define H5_VERS_MAJOR 1' >"$work/serial/hdf5.h"
play nvidia-smi <<<'printf "%s\n" "0, NVIDIA H100, 81559 MiB, 580.65.06" "1, NVIDIA H100, 81559 MiB, 580.65.06"'
play srun <<<'case $1 in --version) echo "slurm 22.05.8";; *) printf "MPI plugin types are...\n\tnone\n\tpmix\n\tpmix_v4\n";; esac'
rm "$work/bin/df"
check PATH="$work/bin:$PATH" HDF5="$work/serial" -- "$work/out"
((rc == 1)) && ok || fail "a serial HDF5" "exit $rc"
says "a serial HDF5" MISSING "parallel HDF5" "this one is serial" libhdf5-openmpi-dev
says "new driver" ok "NVIDIA driver" 580.65.06
says "two GPUs" ok "GPU 1" "81559 MiB"
says "PMIx" ok "srun --mpi" "none pmix pmix_v4"
says "a file" warn folder "not a folder"

# ---- Through make, with its paths; colours on a terminal only, and not where NO_COLOR is set. Without mpicxx,
# which makes it quick.
quick=(env PATH="$work/farm")
if [[ $(stat -f -c %T /dev/shm) == tmpfs ]]; then
  folder=$(mktemp -d /dev/shm/cuboid-check.XXXXXX)
  NO_COLOR=1 "${quick[@]}" script -qec "make check-env NVIDIA_DIR=/nowhere ARGS='$folder'" "$work/out" >/dev/null
  rmdir "$folder"
  sed -i 's/\r$//' "$work/out"
  says "tmpfs" warn "file system" tmpfs "take a disk"
  grep -q $'\033' "$work/out" && fail "NO_COLOR" || ok
else
  echo "SKIPPED the warning of a tmpfs: /dev/shm is none"
  "${quick[@]}" make check-env NVIDIA_DIR=/nowhere >"$work/out" 2>&1
fi
says "make's own paths" MISSING NCCL /nowhere/nccl/lib/libnccl.so.2 NVIDIA_DIR
TERM=xterm "${quick[@]}" script -qec "env/check.sh" "$work/out" >/dev/null
grep -q $'\033\[32mok ' "$work/out" && ok || fail "colours on a terminal"
env/check.sh --wrong >"$work/out" 2>&1
(($? == 2)) && grep -q "unknown option '--wrong'" "$work/out" && ok || fail "unknown option" "$(cat "$work/out")"
finish
