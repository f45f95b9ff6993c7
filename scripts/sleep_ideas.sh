#!/usr/bin/env bash
# Ideas for a better sleep, one at a time beside the calibrated sleep (docs/best_sleep.md) with the constants that it had when they were
# tried: width 1000, where a run takes ten seconds, seeds that no search has seen.
#   scripts/sleep_ideas.sh [SEEDS] [FOLDER]        e.g. scripts/sleep_ideas.sh 'range(20,25)' outputs/ideas
# Finished runs are skipped, so it can be stopped and started again: forty minutes of CPU time for five seeds.
set -euo pipefail
cd "$(dirname "$0")/.."
seeds=${1:-'range(20,25)'}
folder=${2:-outputs/ideas}
python=${PYTHON:-.venv/bin/python}
base=(sleep=target_rate sleep.dissimilarity=1 sleep.dec=2 sleep.stimulus.spikes=25)

for dataset in mnist fashion_mnist; do
  idea() { # OVERRIDE...
    "$python" run.py -m "seed=$seeds" threads=1 evaluate=final "hydra.sweep.dir=$folder/$dataset" "dataset=$dataset" "${base[@]}" \
      'model.widths=[1000,1000]' method=src "$@"
  }
  idea
  idea 'sleep.alpha_scale=[1.4,1,1]'             # a first layer that spikes more
  idea sleep.homeostasis=none
  idea sleep.growth=0.8,1.25                     # strong early, strong late
  idea sleep.inc=1                               # Hebbian growth beside the decay
  idea sleep.plastic=all                         # the output layer learns as well
  idea sleep.change=rank_one,per_unit            # the mean field; one number per unit
  idea sleep.stimulus.images=seen,running_mean   # noise of all tasks
  idea sleep.stimulus.samples_per_step=1,null    # noise of single images, of the mean of all
  idea sleep.stimulus.shape=shuffled,uniform
  idea sleep.target_rate=0.003,0.03
  idea method.sleep_after=2,last_task
  idea method=running_average method.sleep_after=each_task method.power=0.2,0.5,0.75
  idea model.bias=true sleep.bias=scaled,adapt,ignore
  "$python" scripts/aggregate.py "$folder/$dataset" --out "$folder/tables/$dataset" --against "sleep=target_rate"
done
