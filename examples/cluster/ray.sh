#!/usr/bin/env bash
# A study on a Ray cluster. --runs lies on a disk that all machines of the cluster see.
# On the first machine:   ray start --head --port=6379
# On each other machine:  ray start --address=FIRST:6379
# Then, on the first:     RAY_ADDRESS=FIRST:6379 examples/cluster/ray.sh table2-small /shared/runs/table2-small
# A run whose machine is lost is given to another one, which goes on from its last checkpoint.
set -euo pipefail

exec bertx study "${1:?usage: ray.sh STUDY RUNS}" --runs "${2:?usage: ray.sh STUDY RUNS}" --executor ray "${@:3}"
