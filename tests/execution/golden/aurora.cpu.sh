#!/bin/bash
#PBS -N NAME
#PBS -A YOUR_ACCOUNT
#PBS -q prod
#PBS -l select=1:system=aurora
#PBS -l walltime=02:00:00
#PBS -r n
#PBS -j oe
#PBS -o NAME.log
#PBS -l filesystems=home:flare
#PBS -l place=scatter

export ALFLOW_BLOCK_END="$(($(date +%s) + 7200))"
mpiexec -n 1 --ppn 1 --cpu-bind none WORKERS
