#!/usr/bin/env bash
# The comparison of docs/results/: every method on split MNIST, then the paper's setting. About 90 minutes of CPU time.
#   scripts/compare_methods.sh [SEEDS] [FOLDER]        e.g. scripts/compare_methods.sh 'range(0,5)' outputs
# Finished runs are skipped, so it can be stopped and started again.
set -euo pipefail
cd "$(dirname "$0")/.."
seeds=${1:-'range(0,5)'}
folder=${2:-outputs}
python=${PYTHON:-.venv/bin/python}

multirun() { "$python" run.py -m "seed=$seeds" threads=1 "hydra.sweep.dir=$folder" "$@"; }

multirun method=lowrank_merge method.combine=average,concat
multirun method=parallel model=lowrank dataset.samples_per_task=5000,null
multirun method=src,sequential,cheat,merge
multirun method=cheat method.compat=true
multirun method=parallel dataset.samples_per_task=5000,null
multirun experiment=tadros_mnist method=src,sequential
multirun experiment=tadros_mnist method=parallel dataset.samples_per_task=5000,null
"$python" scripts/aggregate.py "$folder"
