#!/usr/bin/env bash
# One set of constants, sleep=target_rate, over widths, depths, biases and data sets, beside sequential learning (docs/best_sleep.md).
#   scripts/one_setting.sh [SEEDS] [FOLDER]        e.g. scripts/one_setting.sh 'range(0,5)' outputs/one_setting
# Finished runs are skipped, so it can be stopped and started again.
set -euo pipefail
cd "$(dirname "$0")/.."
seeds=${1:-'range(0,5)'}
folder=${2:-outputs/one_setting}
python=${PYTHON:-.venv/bin/python}

multirun() { "$python" run.py -m "seed=$seeds" threads=1 evaluate=final "hydra.sweep.dir=$folder" "$@"; }

multirun experiment=digits sleep=target_rate method=src model.bias=false,true
for dataset in mnist fashion_mnist; do
  multirun "dataset=$dataset" sleep=target_rate method=src model.bias=false,true \
    'model.widths=[400],[400,400],[400,400,400],[400,400,400,400],[1000,1000]'
done
"$python" scripts/aggregate.py "$folder" --by dataset,model.widths,model.bias,method --out "$folder/tables"
