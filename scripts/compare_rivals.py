"""Every method in one setting: tuned with the same small budget on validation images, then run with other seeds.

    python scripts/compare_rivals.py --out outputs/rivals/mnist-1200 model.widths=[1200,1200]
    python scripts/compare_rivals.py --out outputs/rivals/fashion-4000 --processes 2 dataset=fashion_mnist

What is tuned of each method is in scripts/rivals.yaml. Finished trials and runs are not run again. The tables (accuracy,
forgetting, what is stored, seconds, differences to SRC) go into --out.
"""

import argparse
import multiprocessing
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pandas as pd
import yaml
from tqdm import tqdm

from src_lab.aggregate import find_runs
from src_lab.config import explain, parse
from src_lab.experiment import ensure
from src_lab.settings import ConfigError
from src_lab.tables import write_tables

HERE = Path(__file__).resolve().parent
TUNED_ON = 0
SEEDS = range(10, 15)
"""Not the seed that was tuned on."""
LEARNING_RATE = "train.learning_rate=tag(log,interval(0.003,0.3))"


def main() -> int:
    """Exit status: 0 when every method was compared, 1 when one failed; the tables are about the others then."""
    arguments = parse_arguments()
    ranges = yaml.safe_load((HERE / "rivals.yaml").read_text(encoding="utf-8"))
    chosen = arguments.methods.split(",") if arguments.methods else list(ranges)
    unknown = [name for name in chosen if name not in ranges]
    if unknown:
        print(f"--methods={unknown[0]} is not in scripts/rivals.yaml: allowed are {', '.join(ranges)}", file=sys.stderr)
        return 2
    with ProcessPoolExecutor(arguments.processes, multiprocessing.get_context("spawn")) as pool:
        started = [
            pool.submit(compare, name, ranges[name], arguments.out, arguments.trials, arguments.setting) for name in chosen
        ]
        failed = [line for each in tqdm(started, "methods", disable=None) if (line := each.result())]
    print(write_tables(find_runs([arguments.out / "runs"]), arguments.out, against="SRC" if "src" in chosen else None))
    print("\n".join(failed))
    return 1 if failed else 0


def compare(method: str, ranges: list[str], out: Path, trials: int, setting: list[str]) -> str:
    """Tune `method`, then run its best trial's settings with every seed; returns what went wrong, or nothing."""
    try:
        best = tune(method, ranges, out.absolute() / "tune" / method, trials, setting)
        for seed in SEEDS:
            config = parse(best | {"seed": seed, "evaluate": "each_stage", "name": method})
            ensure(config, out / "runs" / config.run_id)
    except Exception as error:  # one method that fails must not stop the others
        return f"{method}: {explain(error) or repr(error)}"
    return ""


def tune(method: str, ranges: list[str], folder: Path, trials: int, setting: list[str]) -> dict[str, object]:
    """The settings of the trial with the highest validation accuracy."""
    preset = "src" if method == "src" else "rival"
    search = [f"search={preset}", f"search.n_trials={trials}", f"search.seeds=[{TUNED_ON}]", "search.prune_after=null"]
    command = [sys.executable, str(HERE.parent / "run.py"), "-m", *search, f"method={method}", LEARNING_RATE, *ranges]
    log = folder.with_suffix(".log")
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a", encoding="utf-8") as said:
        done = subprocess.run([*command, *setting, "threads=1", f"hydra.sweep.dir={folder}"], stdout=said, stderr=said)
    if done.returncode:
        raise ConfigError(f"the search failed, see {log}")
    table = pd.read_csv(folder / "trials.csv")
    best = table.loc[table["value"].idxmax(), "number"]
    settings = yaml.safe_load((folder / f"trial-{best}" / f"s{TUNED_ON}" / "config.yaml").read_text(encoding="utf-8"))
    return dict(settings)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("setting", nargs="*", help="overrides of every run, e.g. model.widths=[1200,1200]")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="where trials, runs and tables go")
    parser.add_argument("--methods", help="some of scripts/rivals.yaml, separated by commas (default: all)")
    parser.add_argument("--trials", type=int, default=8, help="of each method's search, its defaults first (default: 8)")
    parser.add_argument("--processes", type=int, default=1, help="methods side by side (default: 1)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
