#!/usr/bin/env bash
# timeout: 120
# launch_pretrain.sh: the command line that settings and machine lead to, and what is refused. SLURM is
# an environment and stand-ins for srun and squeue here; test/slurm has the real one.
# shellcheck source=test/app/lib.sh disable=SC2015
source test/app/lib.sh
launcher=$PWD/jobs/launch_pretrain.sh
real=$PWD/$program

# ---- Stand-ins: a cuboid that reads options without LibTorch's start-up, a SLURM, GPUs
mkdir "$work/slurm" "$work/gpus"
cat >"$work/cuboid" <<'END'
#!/usr/bin/env bash
# The last value of an option is the one that counts, as in --print-config.
printf '%s = %s\n' tensor-parallel-size 1 pipeline-parallel-size 1 data-parallel-size auto micro-batch-size 4 \
  num-microbatches auto global-batch-size auto data-dir auto device auto num-threads auto
while (($#)); do
  case $1 in
    --*=*) name=${1#--}; echo "${name%%=*} = ${1#*=}" ;;
    --[a-z]*) [[ ${2:---} == --* ]] || echo "${1#--} = $2" ;;
  esac
  shift
done
END
cat >"$work/slurm/srun" <<'END'
#!/usr/bin/env bash
[[ $* == --mpi=list ]] || exit 99
printf 'MPI plugin types are...\n\tnone\n\tpmi2\n\t%s\n' "${PLUGIN:-pmix}" >&2
END
printf '#!/bin/sh\necho 2030-01-02T03:04:05\n' >"$work/slurm/squeue"
printf '#!/bin/sh\nseq -f "GPU %%g: NVIDIA H100" 0 3\n' >"$work/gpus/nvidia-smi"
chmod +x "$work/cuboid" "$work"/*/*
job=(PATH="$work/slurm:$PATH" SLURM_JOB_ID=12 SLURM_JOB_NUM_NODES=2 SLURM_TASKS_PER_NODE='4(x2)'
  'SLURM_JOB_CPUS_PER_NODE=8(x2)' SLURM_JOB_END_TIME=1)
gpus=(PATH="$work/gpus:$PATH")
hidden=(HOME="$work" TERM=dumb CUBOID="$work/cuboid" LD_LIBRARY_PATH=)

# launch VARIABLES... -- ARGS...: in an environment of its own.
launch() {
  local variables=()
  while [[ $1 != -- ]]; do
    variables+=("$1")
    shift
  done
  shift
  (cd "$work" && env -i PATH="$PATH" "${hidden[@]}" "${variables[@]}" "$launcher" "$@") >"$work/out" 2>"$work/err" </dev/null
  rc=$?
}
# gives NAME TEXT... / VARIABLES... -- ARGS...: a dry run prints each text in one line, and no more.
gives() {
  local name=$1 texts=() text
  shift
  while [[ $1 != / ]]; do
    texts+=("$1")
    shift
  done
  shift
  launch "$@" --dry-run
  for text in "${texts[@]}"; do
    if ((rc != 0)) || [[ $text != !* && " $(<"$work/out") " != *"$text"* ]] || [[ $text == !* && " $(<"$work/out") " == *"${text#!}"* ]]; then
      fail "$name" "wanted: $text" "exit $rc: $(cat "$work/out" "$work/err")"
      return
    fi
  done
  (($(wc -l <"$work/out") == 1)) && [[ ! -s $work/err ]] && ok || fail "$name: one line" "$(cat "$work/out" "$work/err")"
}
# refuses NAME TEXT... / VARIABLES... -- ARGS...: exit 2, each text in a line of its own, nothing else.
refuses() {
  local name=$1 texts=() text
  shift
  while [[ $1 != / ]]; do
    texts+=("$1")
    shift
  done
  shift
  launch "$@"
  for text in "${texts[@]}"; do
    if (($(grep -cF -- "$text" "$work/err") != 1)); then
      fail "$name" "wanted once: $text" "exit $rc: $(cat "$work/err")"
      return
    fi
  done
  ((rc == 2 && $(wc -l <"$work/err") == ${#texts[@]})) && [[ ! -s $work/out ]] && ok || fail "$name: only that" "exit $rc" "$(cat "$work/err")"
}

# ---- A workstation
gives "one rank runs alone" " $work/cuboid pretrain --num-threads" '!mpirun' / --
gives "one rank under mpirun" 'mpirun -np 1 --map-by ppr:1:node --bind-to none' / LAUNCHER=mpirun --
gives "more ranks than cores" 'mpirun -np 500 --map-by ppr:500:node --bind-to none --oversubscribe' 'OMP_NUM_THREADS=1 ' '--num-threads 1' / NPROC_PER_NODE=500 --
cores=$(lscpu -p=core,socket | grep -v '#' | sort -u | wc -l)
if ((cores >= 2 && $(env -u OMP_NUM_THREADS nproc) >= cores)); then
  gives "cores for each rank" "mpirun -np 2 --map-by ppr:2:node:PE=$((cores / 2)) --bind-to core $work" "OMP_NUM_THREADS=$((cores / 2)) " '!--oversubscribe' / NPROC_PER_NODE=2 --
else
  echo "SKIPPED cores for each rank: there is one core"
fi
gives "no binding" '--map-by ppr:2:node --bind-to none' / NPROC_PER_NODE=2 BIND=none --
if ((EUID == 0)); then
  gives "root" 'OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 ' / NPROC_PER_NODE=2 --
fi
gives "every variable" "--tensor-parallel-size 2 --pipeline-parallel-size 2 --data-parallel-size 2 --preset demo --data-dir $work --output-dir o --max-steps 5 --micro-batch-size 1 --num-microbatches 3 --learning-rate 1e-3 --seed 0 --save-interval 2 --resume auto --time-limit 1:00 --dtype bf16 --device cpu --num-threads 3" 'OMP_NUM_THREADS=3 ' / \
  NPROC_PER_NODE=8 TP_SIZE=2 PP_SIZE=2 DP_SIZE=2 PRESET=demo DATA_DIR="$work" OUTPUT_DIR=o MAX_STEPS=5 MICRO_BATCH_SIZE=1 NUM_MICROBATCHES=3 \
  LEARNING_RATE=1e-3 SEED=0 SAVE_INTERVAL=2 RESUME=auto TIME_LIMIT=1:00 DTYPE=bf16 DEVICE=cpu NUM_THREADS=3 --
gives "options win" '--seed 2 ' '!--seed 1' '!--learning-rate' '--lr=0.1' '!--dtype' '--bf16' / SEED=1 LEARNING_RATE=3 DTYPE=fp32 -- --seed 2 --lr=0.1 --bf16
gives "a batch option wins over the other variable" '--global-batch-size 8' '!--num-microbatches' / NUM_MICROBATCHES=3 -- --global-batch-size 8
printf -- '--max-steps 7\n' >"$work/words"
gives "options of a file win" '!--max-steps' '@words' / MAX_STEPS=5 -- @words
gives "empty is unset" '!--tensor' / TP_SIZE= --
mkdir "$work/a b"
gives "words are quoted" "--data-dir '$work/a b'" / DATA_DIR="$work/a b" --

# ---- GPUs: a rank for each; all are seen by every rank
gives "a rank for each GPU" 'mpirun -np 4 ' '!CUDA_VISIBLE_DEVICES' / "${gpus[@]}" --
gives "visible GPUs" 'mpirun -np 2 ' / "${gpus[@]}" CUDA_VISIBLE_DEVICES=1,3 --
gives "no visible GPU" '!mpirun' / "${gpus[@]}" CUDA_VISIBLE_DEVICES= --
gives "CPUs beside GPUs" '!mpirun' / "${gpus[@]}" DEVICE=cpu --
gives "GPUs are shared" 'mpirun -np 8 ' / "${gpus[@]}" DEVICE=cuda NPROC_PER_NODE=8 OVERSUBSCRIBE=1 --
refuses "more ranks than GPUs" 'NPROC_PER_NODE=8 is more than the 4 GPUs' / "${gpus[@]}" DEVICE=cuda NPROC_PER_NODE=8 --
refuses "no GPU" 'DEVICE=cuda: no GPU is visible' / "${gpus[@]}" CUDA_VISIBLE_DEVICES=-1 DEVICE=cuda --

# ---- Several hosts
two=('HOSTS=a:2,b:2' NCCL_DEBUG=INFO 'OMPI_MCA_btl=tcp,self')
gives "hosts" "$(command -v mpirun) -np 4 " '--host a:2,b:2' "--wdir $work" '-x NCCL_DEBUG' '-x OMP_NUM_THREADS' '!-x OMPI' '!--oversubscribe' / "${two[@]}" --
gives "some of the hosts" '-np 2 ' '--host a:2 ' / "${two[@]}" NUM_NODES=1 --
gives "slots by NPROC_PER_NODE" '-np 6 ' '--host a:3,b:3 ' / HOSTS=a,b NPROC_PER_NODE=3 OVERSUBSCRIBE=1 --
printf '# hosts\na slots=2\nb slots = 4 # fat\n\n' >"$work/hosts"
gives "a file of hosts" '-np 4 ' "--hostfile $work/hosts" / HOSTFILE=hosts --
refuses "a host without slots" "host 'b' has no slots" / HOSTS=a:2,b --
refuses "too few slots" 'NPROC_PER_NODE=3 is more than the 2 cores or slots' / "${two[@]}" NPROC_PER_NODE=3 --
refuses "no such file" "HOSTFILE='none'" / HOSTFILE=none --
refuses "hosts twice" 'HOSTS and HOSTFILE are both set' / HOSTS=a:1 HOSTFILE=hosts --
refuses "more nodes than hosts" 'NUM_NODES=3 is more than the 2 hosts' / "${two[@]}" NUM_NODES=3 --
refuses "nodes from nowhere" 'NUM_NODES=2 is more than this machine' / NUM_NODES=2 --

# ---- A SLURM job
gives "srun" 'srun --mpi=pmix --nodes=2 --ntasks=8 --ntasks-per-node=4 --cpus-per-task=2 ' '--cpu-bind=cores' '--kill-on-bad-exit=0 --wait=60' '--num-threads 2' '!gpu-bind' / "${job[@]}" --
gives "cores that the job asked for" '--cpus-per-task=1 ' / "${job[@]}" SLURM_CPUS_PER_TASK=1 --
gives "tasks that the job asked for" '--ntasks=4 --ntasks-per-node=2' '--gpu-bind=none' / "${job[@]}" SLURM_NTASKS_PER_NODE=2 SLURM_GPUS_ON_NODE=4 --
gives "GPUs of the job" '--ntasks=16 --ntasks-per-node=8' '--gpu-bind=none' / "${job[@]}" SLURM_GPUS_PER_NODE=h100:8 --
gives "one rank in a job" 'srun ' '--ntasks=1 ' / "${job[@]}" NUM_NODES=1 NPROC_PER_NODE=1 --
gives "another PMIx" 'srun --mpi=pmix_v4 ' / "${job[@]}" PLUGIN=pmix_v4 SRUN_MPI=pmix_v4 --
gives "a step inside a step" ' --overlap ' / "${job[@]}" SLURM_STEP_ID=0 --
gives "no PMIx" 'mpirun -np 8 ' '-x SLURM_JOB_END_TIME' / "${job[@]}" PLUGIN=pmi1 --
gives "the end of the job" "SLURM_JOB_END_TIME=$(date -d 2030-01-02T03:04:05 +%s) " / "${job[@]}" SLURM_JOB_END_TIME= --
refuses "srun without PMIx" "srun has no 'pmix'" / "${job[@]}" PLUGIN=pmi1 LAUNCHER=srun --
refuses "srun outside" 'LAUNCHER=srun outside a SLURM allocation' / PATH="$work/slurm:$PATH" LAUNCHER=srun --
refuses "more nodes than the job has" 'NUM_NODES=3 is more than SLURM job 12 with 2 nodes' / "${job[@]}" NUM_NODES=3 --
refuses "more ranks than the job has cores" 'NPROC_PER_NODE=9 is more than the 8 cores' / "${job[@]}" NPROC_PER_NODE=9 --
gives "more ranks than cores, on purpose" ' --overcommit ' / "${job[@]}" NPROC_PER_NODE=9 OVERSUBSCRIBE=1 --

# ---- What cannot work, all at once, and cuboid's own words
refuses "all at once" "TP_SIZE='x' is not legal; legal: 1 or more" "SEED='-1'" "DEVICE='gpu' is not legal; legal: auto|cpu|cuda" "BIND='core'" "DATA_DIR='/none'" / \
  TP_SIZE=x SEED=-1 DEVICE=gpu BIND=core DATA_DIR=/none --
refuses "grid" 'TP_SIZE=2 x PP_SIZE=1 does not divide 3 ranks' / NPROC_PER_NODE=3 TP_SIZE=2 --
refuses "grid of an option" 'PP_SIZE=2 does not divide 3 ranks' / NPROC_PER_NODE=3 -- --pipeline-parallel-size=2
refuses "replicas" 'DP_SIZE=4 x TP_SIZE=2 x PP_SIZE=1 is 8 ranks, but there are 4 ranks; legal: DP_SIZE=2' / NPROC_PER_NODE=4 TP_SIZE=2 DP_SIZE=4 --
refuses "batches" 'GLOBAL_BATCH_SIZE=7 contradicts MICRO_BATCH_SIZE x NUM_MICROBATCHES x DP = 12' / MICRO_BATCH_SIZE=4 NUM_MICROBATCHES=3 GLOBAL_BATCH_SIZE=7 --
refuses "no program" "CUBOID='$work/none'" / CUBOID="$work/none" --
refuses "cuboid's own" '--num-layers 0' '--hidden-siz' '--preset nix' / CUBOID="$real" NPROC_PER_NODE=2 TP_SIZE=2 PRESET=nix -- --num-layers 0 --hidden-siz 3
refuses "oversubscribing" 'NPROC_PER_NODE=500 is more than' / NPROC_PER_NODE=500 OVERSUBSCRIBE=0 --

# ---- Warnings
launch TP=2 LR=3 MICROBATCH_SIZE=3 -- --dry-run
for text in "TP='2' is not read; did you mean TP_SIZE?" "LR='3' is not read; did you mean LEARNING_RATE?" 'did you mean MICRO_BATCH_SIZE?'; do
  grep -qF "$text" "$work/err" && ok || fail "a near name" "wanted: $text" "$(cat "$work/err")"
done
launch "${two[@]}" TP_SIZE=4 -- --dry-run
grep -q 'TP_SIZE=4 is more than the 2 ranks of a node' "$work/err" && ok || fail "TP over nodes" "$(cat "$work/err")"

# ---- The printed line is a command; the names of options are cuboid's
launch CUBOID="$real" NPROC_PER_NODE=2 TP_SIZE=2 OUTPUT_DIR="$work/a b/run" -- --preset tiny-gpt2 --dry-run
bash -c "$(sed 's/$/ --dry-run/' "$work/out")" >"$work/run" 2>&1 && grep -q '^Dry run' "$work/run" && ok || fail "the line can be pasted" "$(cat "$work/out" "$work/run")"
"$program" pretrain --help >"$work/help"
read -rd '' -a names < <(sed -nE '/^settings=/,/^\)/s/^ .*\|(--[^|]*)\|.*/\1/p' jobs/launch/settings.sh) || true
((${#names[@]} > 15)) && ok || fail "the table's options" "${names[@]}"
for name in "${names[@]}"; do
  grep -qE -- "(^ +|: |, |^ +.*)$name([ ,.]|$)" "$work/help" && ok || fail "option $name" "not in cuboid pretrain --help"
done
"$launcher" --help >"$work/out" && grep -q '^MICRO_BATCH_SIZE ' "$work/out" && ok || fail "--help"
# Installed: PREFIX/share/cuboid/jobs beside PREFIX/bin, through a link and from another folder.
mkdir -p "$work/prefix/share/cuboid" "$work/prefix/bin"
cp -r jobs "$work/prefix/share/cuboid/"
cp "$work/cuboid" "$work/prefix/bin/cuboid"
ln -s "../share/cuboid/jobs/launch_pretrain.sh" "$work/prefix/bin/launch"
launcher=$work/prefix/bin/launch
gives "installed" " $work/prefix/bin/cuboid pretrain" / CUBOID= --
finish
