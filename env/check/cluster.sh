# shellcheck shell=bash
# SLURM and PMIx: what `srun` needs to start MPI ranks.

check_cluster() {
  section "Cluster"
  local components types
  components=$(ompi_info --parsable 2>/dev/null | sed -nE 's/^mca:pmix:([^:]+):version:"?component.*/\1/p' | sort -u | grep -vx isolated | paste -sd' ')
  if ! command -v ompi_info >/dev/null; then
    row n/a "PMIx in MPI" - "no ompi_info: ask the MPI's own documentation"
  elif [[ $components == *ext* || $components == *pmix* ]]; then
    row ok "PMIx in MPI" "$components" "$(command -v ompi_info)"
  else
    row warn "PMIx in MPI" "none" "$(command -v ompi_info)" "srun cannot start ranks: use mpirun, or an Open MPI built --with-pmix"
  fi
  if ! command -v srun >/dev/null; then
    row n/a SLURM "not here" "mpirun starts ranks"
    return
  fi
  row ok SLURM "$(timeout 5 srun --version 2>/dev/null | cut -d' ' -f2)" "$(command -v srun)"
  types=$(timeout 5 srun --mpi=list 2>&1 | grep -vi 'plugin types' | grep -oE '[a-z][a-z0-9_]*' | sort -u | paste -sd' ')
  if [[ " $types " =~ \ pmix ]]; then
    row ok "srun --mpi" "$types" -
  else
    row warn "srun --mpi" "${types:-no answer}" - "no pmix: jobs start ranks with mpirun (LAUNCHER=mpirun)"
  fi
}
