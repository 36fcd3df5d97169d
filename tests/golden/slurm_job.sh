#!/usr/bin/env bash

#SBATCH -J nmsim
#SBATCH -p short
#SBATCH -n 1
#SBATCH --cpus-per-task=1
#SBATCH --mem=4G
#SBATCH -t 01:00:00

python -m distributed.cli.dask_worker tcp://HOST:PORT --name dummy-name --nthreads 1 --memory-limit 4.00GiB --nanny --death-timeout 60
