"""What is known of every method in one setting: two committed CSV files, from which the comparison goes on anywhere."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from src_lab.aggregate import NAMES, find_runs
from src_lab.config import RunConfig, composed
from src_lab.ledger import Ledger, Row, day_of
from src_lab.results import finished
from src_lab.run_folder import PHASES, SHARES, SIGNED_SHARES, STORED
from src_lab.settings import ConfigError

ALIKE = ("threads=1", "evaluate=each_stage")
"""Sums of PyTorch depend on the number of threads: with one, runs side by side give the same numbers as alone."""
NUMBERS = (
    *SHARES,
    *SIGNED_SHARES,
    *(f"{phase}_seconds" for phase in PHASES),
    *(f"stored_{what}" for what in STORED),
    "cpu_seconds",
)
TUNED = ("method", "setting", "tuned_in", "validation_accuracy", "trials", "seed", "overrides", "commit", "date")
RUNS = ("run_id", "setting", "overrides", "approach", *NAMES, "seed", *NUMBERS, "commit", "torch", "date")


@dataclass(frozen=True)
class Record:
    """A folder with the two ledgers. Its name is what the page calls the setting.

    tuned.csv   a row per method: the overrides by which its best trial differs from the method's defaults in this setting,
                their validation accuracy, how many trials there were with which seed, and in which other record they were
                tuned, if not here
    runs.csv    a row per finished run: setting and overrides, and the row that `scripts/aggregate.py` makes of it
    """

    folder: Path

    @property
    def name(self) -> str:
        return self.folder.resolve().name

    @property
    def tuned(self) -> Ledger:
        return Ledger(self.folder / "tuned.csv", "method", TUNED, ("method",), ("validation_accuracy", "trials", "seed"))

    @property
    def runs(self) -> Ledger:
        filled = ("run_id", "approach", "method", "seed", "final_accuracy")
        return Ledger(self.folder / "runs.csv", "run_id", RUNS, filled, ("seed", *NUMBERS))

    def setting(self, given: str = "") -> str:
        """The overrides of every run: those `given`, or what the rows say. Raises ConfigError where these differ."""
        said = {row["setting"] for rows in (self.tuned.rows(), self.runs.rows()) for row in rows.values()}
        if len(said) > 1:
            raise ConfigError(f"{self.folder} has rows of several settings, {' | '.join(sorted(said))}: a record is of one")
        known = next(iter(said), given)
        if given and given != known:
            raise ConfigError(
                f"{self.folder} is of the setting {known or '(defaults)'}, not {given}: leave the setting out to go on "
                "with it, or name another folder, --record FOLDER"
            )
        return known

    def config(self, method: str, seed: int) -> RunConfig:
        """The run of a tuned method. Raises ConfigError for settings that are no longer possible."""
        row = self.tuned.rows()[method]
        try:
            return configured(method, row["setting"], row["overrides"], seed)
        except ConfigError as error:
            raise ConfigError(f"{self.tuned.path}: {method}: {error}") from error

    def counted(self) -> dict[str, Row]:
        """The rows of runs whose settings are what tuned.csv and the program say now."""
        methods = {method: self.config(method, 0) for method in self.tuned.rows()}
        rows = self.runs.rows()
        return {name: row for name, row in rows.items() if _is_of(methods.get(row["method"]), row)}


def configured(method: str, setting: str, overrides: str, seed: int) -> RunConfig:
    """The run of `method` with the settings chosen for it. Raises ConfigError."""
    own = [f"method={method}", *setting.split(), *overrides.split()]
    return composed([*own, *ALIKE, f"name={method}", f"seed={seed}"])


def run_row(folder: Path, setting: str, overrides: str) -> dict[str, Any]:
    """The finished run in `folder` as a row of runs.csv."""
    (found,) = find_runs([folder]).table.to_dict("records")
    metrics: Mapping[str, Any] = finished(folder) or {}
    about = {
        "commit": metrics.get("git_commit"),
        "torch": metrics["versions"]["torch"],
        "date": day_of(folder / "metrics.json"),
    }
    return {"setting": setting, "overrides": overrides} | {str(k): v for k, v in found.items() if k in RUNS} | about


def _is_of(config: RunConfig | None, row: Row) -> bool:
    return config is not None and replace(config, seed=int(row["seed"])).run_id == row["run_id"]
