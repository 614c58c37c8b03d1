#!/usr/bin/env bash
# The main job of `make train`: a byte-level GPT-2 learns real text on a 2x2x2 grid of eight CPU
# ranks. Options given here go to `cuboid pretrain` and win over the preset.
#
#   jobs/demo.sh [--data-dir PATH] [--max-steps N] [any option of cuboid pretrain]
set -euo pipefail
cd "$(dirname "$0")/.."

# Eight ranks may share fewer cores; containers often run as root, which Open MPI wants confirmed.
export OMPI_MCA_rmaps_base_oversubscribe=1
if ((EUID == 0)); then
  export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
fi
# SIGTERM (Ctrl-C, too) lets the ranks save; mpirun would kill them one second later.
export OMPI_MCA_odls_base_sigkill_timeout=${OMPI_MCA_odls_base_sigkill_timeout:-3}
# mpirun hides the terminal from its ranks.
if [[ -t 2 ]]; then export CUBOID_PROGRESS=${CUBOID_PROGRESS:-1}; fi

exec mpirun -np 8 bin/cuboid pretrain --preset demo \
  --tensor-parallel-size 2 --pipeline-parallel-size 2 --device cpu "$@"
