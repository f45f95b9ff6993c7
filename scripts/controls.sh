#!/usr/bin/env bash
# What of sleep's gain is replay, and what is rescaling or chance: SRC, its controls and sequential learning on split MNIST at
# two widths (docs/controls.md). Two to three hours of CPU time for five seeds, most of it at 4000.
#   scripts/controls.sh [SEEDS] [FOLDER] [WIDTHS]        e.g. scripts/controls.sh 'range(0,5)' outputs/controls '4000 1000'
# Finished runs are skipped, so it can be stopped and started again.
set -euo pipefail
cd "$(dirname "$0")/.."
seeds=${1:-'range(0,5)'}
folder=${2:-outputs/controls}
python=${PYTHON:-.venv/bin/python}

multirun() { "$python" run.py -m "seed=$seeds" threads=1 "$@"; }

for width in ${3:-4000 1000}; do
  here=("hydra.sweep.dir=$folder/width-$width" "model.widths=[$width,$width]")
  multirun "${here[@]}" method=sequential,cheat
  multirun "${here[@]}" control=none,decrement_only,increment_only,hidden_only,output_only
  multirun "${here[@]}" control=shuffled_image,uniform_noise,shuffled_change,matched_noise,per_unit_change,rank_one_change
  multirun "${here[@]}" control=row_norm,centred_current,centred_stimulus,standardised_current,standardised_stimulus
  multirun "${here[@]}" control=slept_row_norm,slept_standardised
  "$python" scripts/aggregate.py "$folder/width-$width" --against 'SRC, sleep python_mnist'
done
