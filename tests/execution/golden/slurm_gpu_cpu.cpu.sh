#!/bin/bash
#SBATCH --job-name=NAME
#SBATCH --output=NAME.log
#SBATCH --partition=YOUR_CPU_PARTITION
#SBATCH --account=YOUR_ACCOUNT
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=32
#SBATCH --time=04:00:00
#SBATCH --no-requeue

export ALFLOW_BLOCK_END=${SLURM_JOB_END_TIME:-$(( $(date +%s) + 14400 ))}

exec srun --ntasks=1 --ntasks-per-node=1 --cpus-per-task=32 --kill-on-bad-exit=0 --no-kill --label bash -c 'exec WORKERS'
