#!/bin/bash
#PBS -N NAME
#PBS -A YOUR_ACCOUNT
#PBS -q preemptable
#PBS -l select=1:system=polaris
#PBS -l walltime=02:00:00
#PBS -r n
#PBS -j oe
#PBS -o NAME.log
#PBS -l filesystems=home:eagle
#PBS -l place=scatter

export ALFLOW_BLOCK_END="$(($(date +%s) + 7200))"
export CUDA_VISIBLE_DEVICES=0,1,2,3
mpiexec -n 1 --ppn 1 --cpu-bind none WORKERS
