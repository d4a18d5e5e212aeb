#!/bin/bash
#BSUB -J NAME
#BSUB -P YOUR_PROJECT
#BSUB -q batch
#BSUB -nnodes 1
#BSUB -W 2:00
#BSUB -o NAME.log

export ALFLOW_BLOCK_END="$(($(date +%s) + 7200))"
jsrun -n 1 -r 1 -a 1 -c ALL_CPUS -g ALL_GPUS -b none WORKERS
