# The variables of launch_pretrain.sh, from one table: --help prints it, read_variables reads by it.
# shellcheck shell=bash
problems=()  # what keeps the run from starting
warn() { printf 'launch_pretrain: warning: %s\n' "$1" >&2; }

# group | name | legal | default | option of cuboid pretrain, and its other names | what it is
# legal: count (1 or more), count0 (0 or more), text, or the words themselves, parted by blanks.
settings=(
  'Ranks|NPROC_PER_NODE|count|see below||ranks on each node'
  "Ranks|NUM_NODES|count|all there are||nodes: of the SLURM job, of HOSTS or of HOSTFILE"
  'Ranks|TP_SIZE|count|1|--tensor-parallel-size --tensor-model-parallel-size|ranks that share each layer'
  'Ranks|PP_SIZE|count|1|--pipeline-parallel-size --pipeline-model-parallel-size|stages that the layers are cut into'
  'Ranks|DP_SIZE|count|ranks / (TP x PP)|--data-parallel-size|replicas; only checked, since the ranks decide'
  'Run|PRESET|text|none|--preset|named model shape, of cuboid presets'
  'Run|DATA_DIR|text|C++ headers|--data-dir|text file, folder of text, or token files'
  'Run|OUTPUT_DIR|text|./checkpoints|--output-dir --save|folder for checkpoints and metrics.jsonl'
  'Run|MAX_STEPS|count|1000|--max-steps --train-iters|optimizer steps of the run'
  'Run|MICRO_BATCH_SIZE|count|4|--micro-batch-size|sequences of one forward pass on one replica'
  'Run|NUM_MICROBATCHES|count|1|--num-microbatches|micro-batches of one step on each replica'
  'Run|GLOBAL_BATCH_SIZE|count|follows|--global-batch-size|sequences of one step over all replicas'
  'Run|LEARNING_RATE|text|3e-04|--learning-rate --lr|highest learning rate'
  'Run|SEED|count0|1234|--seed|of weights, sample order and dropout'
  'Run|SAVE_INTERVAL|count0|0|--save-interval|steps between checkpoints; 0: only at the end'
  'Run|RESUME|text|none|--resume|auto (the newest whole one), none, or a file'
  'Run|TIME_LIMIT|text|end of the job|--time-limit --exit-duration-in-mins|save before it, exit 75; as SLURM writes times'
  'Run|DTYPE|text|fp32|--dtype --bf16|fp32 or bf16'
  'Run|DEVICE|auto cpu cuda|auto|--device|where tensors live; auto: GPUs where there are any'
  'Run|NUM_THREADS|count|cores of a rank|--num-threads|threads of one rank'
  'Launch|LAUNCHER|auto srun mpirun|auto||auto: srun inside a SLURM job where it has PMIx, else mpirun'
  'Launch|SRUN_MPI|text|pmix||what srun --mpi= gets'
  'Launch|BIND|auto none|auto||auto: cores of its own for each rank where there are enough'
  'Launch|OVERSUBSCRIBE|auto 0 1|auto||more ranks than cores or GPUs; auto: on one workstation only'
  'Launch|HOSTS|text|this machine||hosts for mpirun with their slots: a:8,b:8'
  'Launch|HOSTFILE|text|none||the same as a file of mpirun: a slots=8'
  'Launch|CUBOID|text|of this checkout||the program'
)
# Names that other launchers use, and what they are called here; option names are added by the table.
other_names=(TP:TP_SIZE PP:PP_SIZE DP:DP_SIZE NPROC:NPROC_PER_NODE GPUS_PER_NODE:NPROC_PER_NODE
  RANKS_PER_NODE:NPROC_PER_NODE NNODES:NUM_NODES MBS:MICRO_BATCH_SIZE GBS:GLOBAL_BATCH_SIZE
  BATCH_SIZE:MICRO_BATCH_SIZE NUM_MICRO_BATCHES:NUM_MICROBATCHES DATA_PATH:DATA_DIR)

declare -A variable=()  # what is set, by name
declare -A on_command_line=()

print_help() {
  cat <<'END'
Starts `cuboid pretrain` on this machine, on several hosts or inside a SLURM allocation.

  jobs/launch_pretrain.sh [--dry-run] [--help] [any option of cuboid pretrain]

  --dry-run   check everything, print the command that would run, and stop
  --help      this text
  --          what follows goes to cuboid pretrain, --dry-run and --help included

Variables, all optional; one that is empty counts as unset. Options win over them.
END
  local row group name legal default options what last=
  for row in "${settings[@]}"; do
    IFS='|' read -r group name legal default options what <<<"$row"
    [[ $group == "$last" ]] || printf '\n%-18s %-16s %-17s %s\n' "$group" legal default what
    last=$group
    printf '%-18s %-16s %-17s %s\n' "$name" "$(say_legal "$legal")" "$default" "$what${options:+ (${options%% *})}"
  done
  cat <<'END'

NPROC_PER_NODE by default: --ntasks-per-node of the SLURM job; else the GPUs of a node, unless DEVICE is
cpu; else the job's tasks on a node; else the slots of HOSTS; else 1.
Every rank sees all GPUs of its node and takes the one of its number on the node; CUDA_VISIBLE_DEVICES
is heeded. Settings of Open MPI, NCCL and SLURM (OMPI_MCA_*, NCCL_*, SRUN_*, SLURM_*) are passed on.

USR1, TERM, INT (Ctrl-C) and HUP save and stop: exit 75, and the same command with RESUME=auto goes on.
A second one ends the run at once. Exit code: cuboid's own; 2 where something cannot work.

  NPROC_PER_NODE=8 TP_SIZE=2 PP_SIZE=2 NUM_MICROBATCHES=4 PRESET=demo MAX_STEPS=50 jobs/launch_pretrain.sh
  HOSTS=node1:4,node2:4 TP_SIZE=4 PRESET=124m DATA_DIR=/data jobs/launch_pretrain.sh --warmup-steps 100
END
}

say_legal() {
  case $1 in
    count) echo '1 or more' ;;
    count0) echo '0 or more' ;;
    text) echo text ;;
    *) echo "$1" | tr ' ' '|' ;;
  esac
}

is_legal() { # VALUE LEGAL
  case $2 in
    count) [[ $1 =~ ^0*[1-9][0-9]{0,8}$ ]] ;;
    count0) [[ $1 =~ ^[0-9]{1,18}$ ]] ;;
    text) [[ $1 != *$'\n'* ]] ;;
    *) [[ " $2 " == *" $1 "* ]] ;;
  esac
}

read_variables() {
  local row name legal value
  for row in "${settings[@]}"; do
    IFS='|' read -r _ name legal _ <<<"$row"
    value=${!name-}
    [[ -n $value ]] || continue
    if is_legal "$value" "$legal"; then
      [[ $legal == count ]] && value=$((10#$value))
      variable[$name]=$value
    else
      problems+=("$name='$value' is not legal; legal: $(say_legal "$legal")")
    fi
  done
}

# note_options WORD...: which options stand on the command line or in its @FILEs.
note_options() {
  local word
  for word in "$@"; do
    case $word in
      --*) on_command_line[${word%%=*}]=1 ;;
      @?*)
        [[ -r ${word#@} ]] || continue
        while read -r word; do on_command_line[$word]=1; done < <(grep -oE -- '--[a-z][a-z0-9-]*' "${word#@}") ;;
    esac
  done
}

# Options of cuboid for the variables that no option of the command line overrules, into `options`.
options_of_variables() {
  local row name names option
  # Options win over variables, and either of these two decides the other.
  [[ -v on_command_line[--num-microbatches] ]] && unset 'variable[GLOBAL_BATCH_SIZE]'
  [[ -v on_command_line[--global-batch-size] ]] && unset 'variable[NUM_MICROBATCHES]'
  options=()
  for row in "${settings[@]}"; do
    IFS='|' read -r _ name _ _ names _ <<<"$row"
    [[ -n $names && -v variable[$name] ]] || continue
    for option in $names; do
      [[ -v on_command_line[$option] ]] && continue 2
    done
    options+=("${names%% *}" "${variable[$name]}")
  done
}

# A variable that nobody reads is a wish that is not granted: says so where its name is near, whatever
# its underscores.
warn_of_near_names() {
  local row name names option pair
  local -A near=() known=()
  for pair in "${other_names[@]}"; do
    name=${pair%:*}
    near[${name//_/}]=${pair#*:}
  done
  for row in "${settings[@]}"; do
    IFS='|' read -r _ name _ _ names _ <<<"$row"
    known[$name]=1 near[${name//_/}]=$name
    for option in $names; do
      option=${option^^}
      near[${option//-/}]=$name
    done
  done
  for name in $(compgen -e); do
    [[ -n ${!name} && ! -v known[$name] && -v near[${name//_/}] ]] || continue
    warn "$name='${!name}' is not read; did you mean ${near[${name//_/}]}?"
  done
}
