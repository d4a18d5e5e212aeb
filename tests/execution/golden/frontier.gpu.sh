#!/bin/bash
#SBATCH --job-name=NAME
#SBATCH --output=NAME.log
#SBATCH --partition=batch
#SBATCH --account=YOUR_ACCOUNT
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=56
#SBATCH --gpus-per-node=8
#SBATCH --time=02:00:00
#SBATCH --no-requeue

export ALFLOW_BLOCK_END=${SLURM_JOB_END_TIME:-$(( $(date +%s) + 7200 ))}

exec srun --ntasks=1 --ntasks-per-node=1 --cpus-per-task=56 --kill-on-bad-exit=0 --no-kill --label bash -c 'exec WORKERS'
