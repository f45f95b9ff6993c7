#!/usr/bin/env bash
# One set of constants, sleep=one_set as it is, over widths, depths, biases and data sets, and beside it what a search of 20
# trials on validation images finds for each of these networks, and outputs treated alike without sleep (a control), all run with the same
# fresh seeds (docs/best_sleep.md).
#   scripts/one_setting.sh [SEEDS] [FOLDER]        e.g. scripts/one_setting.sh 'range(10,15)' outputs/one_setting
# Finished trials and runs are skipped, so it can be stopped and started again, and other seeds added: by what its runs took about five
# hours of CPU time for five seeds, of which the networks of 4000 units take three.
set -euo pipefail
cd "$(dirname "$0")/.."
seeds=${1:-'range(10,15)'}
folder=${2:-outputs/one_setting}
python=${PYTHON:-.venv/bin/python}

compare() { # NAME OVERRIDE...
  local searched=$folder/search/$1
  shift
  "$python" run.py -m search=one_set sleep=one_set method=src threads=1 "hydra.sweep.dir=$searched" "$@"
  local run=("$python" run.py -m "seed=$seeds" method=src threads=1 evaluate=final "hydra.sweep.dir=$folder/runs" "$@")
  "${run[@]}" sleep=one_set control=none,levelled_only
  "${run[@]}" "hydra.searchpath=[file://$searched/conf]" sleep=one_set_best
}

for bias in false true; do
  compare "digits-bias_$bias" experiment=digits "model.bias=$bias"
  for widths in 400,400 400 400,400,400 1000,1000 400,400,400,400 4000,4000; do
    for dataset in mnist fashion_mnist; do
      compare "$dataset-${widths//,/x}-bias_$bias" "dataset=$dataset" "model.widths=[$widths]" "model.bias=$bias"
    done
  done
done
"$python" scripts/aggregate.py "$folder/runs" --by dataset,model.widths,model.bias,sleep --out "$folder/tables"
