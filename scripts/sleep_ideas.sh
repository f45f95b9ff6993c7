#!/usr/bin/env bash
# Ideas for a better sleep, one at a time beside the calibrated sleep (docs/best_sleep.md) with the constants that it had when they were
# tried: width 1000, where a run takes ten seconds, seeds that no search has seen. At the end parts of sleep=one_set beside all of it, with
# two layers of 400.
#   scripts/sleep_ideas.sh [SEEDS] [FOLDER]        e.g. scripts/sleep_ideas.sh 'range(20,25)' outputs/ideas
# Finished runs are skipped, so it can be stopped and started again: fifty minutes of CPU time for five seeds.
set -euo pipefail
cd "$(dirname "$0")/.."
seeds=${1:-'range(20,25)'}
folder=${2:-outputs/ideas}
python=${PYTHON:-.venv/bin/python}
base=(sleep=target_rate sleep.dissimilarity=1 sleep.dec=2 sleep.stimulus.spikes=25 'model.widths=[1000,1000]' method=src)

for dataset in mnist fashion_mnist; do
  idea() { # NAME OVERRIDE...
    "$python" run.py -m "seed=$seeds" threads=1 evaluate=final "hydra.sweep.dir=$folder/$dataset" "dataset=$dataset" "${base[@]}" \
      "sleep.name=$1" "${@:2}"
  }
  average() { idea "$1" method=running_average method.sleep_after=each_task "${@:2}"; }

  idea base
  idea first_layer_spikes_more 'sleep.alpha_scale=[1.4,1,1]'
  idea outputs_not_levelled sleep.homeostasis=none
  idea strong_early sleep.growth=0.8
  idea strong_late sleep.growth=1.25
  idea hebbian sleep.inc=1
  idea levelled_on_summaries sleep.summary=3
  idea outputs_decorrelated sleep.decorrelation=0.25
  idea both sleep.summary=3 sleep.decorrelation=0.25
  idea discriminant_0.25 sleep.summary=3 sleep.discriminant=0.25
  idea discriminant_0.75 sleep.summary=3 sleep.discriminant=0.75
  idea discriminant_0.25_residual sleep.summary=3 sleep.summary_residual=true sleep.discriminant=0.25
  idea discriminant_0.75_residual sleep.summary=3 sleep.summary_residual=true sleep.discriminant=0.75
  idea outputs_plastic sleep.plastic=all
  idea mean_field sleep.change=rank_one
  idea one_number_per_unit sleep.change=per_unit
  idea images_of_all_tasks sleep.stimulus.images=seen
  idea one_running_mean sleep.stimulus.images=running_mean
  idea single_images sleep.stimulus.samples_per_step=1
  idea one_mean_image sleep.stimulus.samples_per_step=null
  idea shuffled_image sleep.stimulus.shape=shuffled
  idea uniform_noise sleep.stimulus.shape=uniform
  idea rate_0.003 sleep.target_rate=0.003
  idea rate_0.03 sleep.target_rate=0.03
  idea every_second_task method.sleep_after=2
  idea last_task_only method.sleep_after=last_task
  average averaged_0.2 method.power=0.2
  average averaged_0.5 method.power=0.5
  average averaged_0.75 method.power=0.75
  idea biases model.bias=true
  idea biases_adapt model.bias=true sleep.bias=adapt
  idea biases_ignored model.bias=true sleep.bias=ignore
  "$python" scripts/aggregate.py "$folder/$dataset" --by sleep --against base --out "$folder/tables/$dataset"

  part() { # NAME OVERRIDE...
    "$python" run.py -m "seed=$seeds" threads=1 evaluate=final "hydra.sweep.dir=$folder/one_set/$dataset" "dataset=$dataset" \
      sleep=one_set 'model.widths=[400,400]' method=src "sleep.name=$1" "${@:2}"
  }

  part one_set
  part learned_on sleep.discriminant_lasts=true
  part as_before sleep.discriminant_lasts=true sleep.summary_images=1000 sleep.discriminant_ridge=0.1 sleep.discriminant=0.5
  part nothing_learned_asleep sleep.inc=0 sleep.dec=0
  "$python" scripts/aggregate.py "$folder/one_set/$dataset" --by sleep --against one_set --out "$folder/tables/one_set_$dataset"
done
