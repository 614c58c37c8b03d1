#include "cuboid/app/guide.hpp"

namespace cuboid {

const char* const kSlurmChapter =
    R"(Batch scripts

  They lie in jobs/ of a checkout and PREFIX/share/cuboid/jobs of an
  installation. Account, partition and modules go into jobs/site.env, once.
  Options after the script's name go to cuboid pretrain.

  single_node.sbatch     one node
  multi_node.sbatch      TP inside nodes, DP or PP across
  preemptible.sbatch     saves, is requeued, goes on
  scaling_sweep.sbatch   strong and weak scaling: report, plots, CSV
  array_sweep.sbatch     hyper-parameters, a job for each

    sbatch --nodes 4 jobs/multi_node.sbatch --preset 7b
    sbatch jobs/preemptible.sbatch --preset 1.5b

  Each begins with what it is for and what to change. All of them, and
  workstations, use one launcher, driven by variables that its --help lists:

  NPROC_PER_NODE=8 TP_SIZE=4 PRESET=1.5b jobs/launch_pretrain.sh --dry-run

  --dry-run prints the command and starts nothing.

How ranks start

  srun --mpi=pmix starts one process for each rank; mpirun does inside an
  allocation where SLURM has no PMIx (srun --mpi=list says). The run prints the
  grid with its ranks by node before the first step: look there first.

A job that goes on

  A run in a SLURM job saves before SLURM_JOB_END_TIME, and on SIGUSR1 and
  SIGTERM, and exits with 75. preemptible.sbatch has SLURM send SIGUSR1 ahead
  of the limit (--signal=B:USR1@SECONDS), passes it on, waits, and requeues
  itself on 75; with --resume auto the next one goes on. After a node failure
  or preemption SLURM itself requeues it. scancel ends it for good, with a last
  checkpoint.

A job that hangs

  A rank that waits for others longer than --comm-timeout (5 minutes, or ten
  steps if those take longer; half an hour until the first step is done) ends
  all ranks with exit code 6, and a report says which rank on which node did
  not come to which operation. preemptible.sbatch starts such a job again.

Looking at it

  jobs/monitor.sh OUTPUT_DIR      step, loss, tokens/s, and each rank's load
  tail -f NAME_JOBID.out          what the run prints
  env/check.sh                    what the machine lacks, and what to do

  See also: cuboid help checkpoints, cuboid help parallelism
)";

}  // namespace cuboid
