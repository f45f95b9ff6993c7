#!/usr/bin/env bash
# The best sleep beside the published one, its parts alone and its rivals, on the default network and fresh seeds
# (docs/best_sleep.md): about 80 CPU seconds a run, OWM twice that, two hours of CPU time for five seeds of all.
#   scripts/best_sleep.sh [SEEDS] [FOLDER] [DATASETS]     e.g. scripts/best_sleep.sh 'range(10,20)' outputs/best 'mnist fashion_mnist'
# Finished runs are skipped, so it can be stopped and started again.
set -euo pipefail
cd "$(dirname "$0")/.."
seeds=${1:-'range(10,20)'}
folder=${2:-outputs/best}
python=${PYTHON:-.venv/bin/python}

for dataset in ${3:-mnist fashion_mnist}; do
  multirun() { "$python" run.py -m "seed=$seeds" threads=1 evaluate=final "hydra.sweep.dir=$folder/$dataset" "$@"; }
  multirun "experiment=best_${dataset%%_mnist}"
  multirun "experiment=summary_${dataset%%_mnist}" control=none,levelled_only
  multirun "experiment=discriminant_${dataset%%_mnist}" control=none,levelled_only
  multirun "dataset=$dataset" method=src control=none,levelled_only
  multirun "dataset=$dataset" method=merge
  case $dataset in # tuned at width 1200, docs/results/rivals/*_1200/tuned.csv
    mnist) owm=(train.learning_rate=0.27954732216218575 method.alpha=0.35674174994557456) ;;
    *) owm=(train.learning_rate=0.23258838143831592 method.alpha=0.06278001427016797) ;;
  esac
  multirun "dataset=$dataset" method=owm "${owm[@]}"
  "$python" scripts/aggregate.py "$folder/$dataset" --out "$folder/tables/$dataset" --against 'SRC, sleep python_mnist'
done
