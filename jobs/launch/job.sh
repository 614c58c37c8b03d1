# What every batch script does first, sourced with `root` set: site settings, modules, the output folder. A sweep,
# which makes a folder for each point, sets `many_folders` before.
# shellcheck shell=bash disable=SC2034,SC2317
stop() {
  echo "$(basename "${SLURM_JOB_NAME:-job}"): error: $1" >&2
  exit "${2:-2}"
}

[[ -n ${SLURM_JOB_ID:-} ]] || stop "this is a batch script; submit it: sbatch jobs/NAME.sbatch"
[[ -r $root/jobs/launch_pretrain.sh ]] || stop "CUBOID_ROOT='$root' is not Cuboid's folder; submit from the checkout, or set CUBOID_ROOT to it"
# shellcheck source=jobs/site.env
source "${CUBOID_SITE:-$root/jobs/site.env}"
if [[ -n ${CUBOID_MODULES:-} ]]; then
  # shellcheck source=env/modules.sh
  source "$root/env/modules.sh" || stop "the modules of jobs/site.env cannot be loaded" 1
fi

# sbatch had to know of the GPUs: inside the job it is too late to ask for them.
if [[ -n ${SBATCH_GPUS_PER_NODE:-} && -z ${SLURM_GPUS_ON_NODE:-${SLURM_GPUS_PER_NODE:-}} && ${DEVICE:-auto} != cpu ]]; then
  stop "jobs/site.env asks for $SBATCH_GPUS_PER_NODE GPUs a node, and this job has none; run: source jobs/site.env, and submit again"
fi

# This script has to know the folder, too.
for ((i = 1; i <= $#; ++i)); do
  case ${!i} in
    --output-dir | --save) j=$((i + 1)) OUTPUT_DIR=${!j-} ;;
    --output-dir=* | --save=*) OUTPUT_DIR=${!i#*=} ;;
    *) continue ;;
  esac
  [[ -z ${many_folders:-} ]] || stop "--output-dir would be the folder of every point; set OUTPUT_DIR before sbatch instead"
done
# A folder that stays the same when the job goes back into the queue.
export OUTPUT_DIR=${OUTPUT_DIR:-${CUBOID_RUNS:-$SLURM_SUBMIT_DIR/runs}/$SLURM_JOB_NAME-${SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID}}
# NCCL says what went wrong before it fails; nothing else.
export NCCL_DEBUG=${NCCL_DEBUG:-WARN}
launcher=$root/jobs/launch_pretrain.sh

echo "$(date -u +%FT%TZ) job $SLURM_JOB_ID (start $((${SLURM_RESTART_COUNT:-0} + 1))) on ${SLURM_JOB_NODELIST:-$(hostname)}, output in $OUTPUT_DIR"
