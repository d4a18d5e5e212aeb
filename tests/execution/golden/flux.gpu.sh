#!/bin/bash
#flux: --job-name=NAME
#flux: --bank=mine
#flux: --queue=pbatch
#flux: --nodes=2
#flux: --exclusive
#flux: --time-limit=3600s
#flux: --output=NAME.log
#flux: --dependency=x

export ALFLOW_BLOCK_END="$(($(date +%s) + 3600))"
flux run -N 2 -n 2 --exclusive WORKERS
