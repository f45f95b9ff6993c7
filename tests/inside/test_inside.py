"""What a run leaves in `analysis/`: every table and picture that its words speak of, the same after an interruption."""

import json
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from src_lab.analysis import stable_rank
from src_lab.checkpoint import Checkpoints
from src_lab.config import RunConfig
from src_lab.experiment import ensure
from src_lab.inside.names import NAMES, analysed
from src_lab.networks import FOLDER, drop, kept
from src_lab.settings import ConfigError
from tests.test_experiment import AWAKE, configured

QUICK = "analysis=[ranks,hidden_difference,weights,sparseness]"


def small(*overrides: str) -> RunConfig:
    return configured("dataset.num_tasks=2", "train.epochs=2", *overrides)


def tables(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((folder / "analysis").glob("*.csv"))}


@pytest.fixture(scope="module")
def looked_into(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    ensure(small("method=src", "analysis=all", *AWAKE), folder)
    return folder


def test_all_of_it_is_there(looked_into: Path) -> None:
    made = looked_into / "analysis"
    assert analysed(looked_into) == frozenset(NAMES)
    figures, films = (json.loads((made / name).read_text()) for name in ("figures.json", "animations.json"))
    sections = {entry["section"] for entry in figures}
    assert sections >= {"Ranks", "Activity", "Spikes", "Weights", "Use of the layers by tasks"}
    for entry in (*figures, *films):
        assert all(entry[key].strip() for key in ("title", "section", "alt", "how_to_read"))
        assert len(pd.read_csv(made / entry["csv"]))
    for entry in figures:
        Image.open(made / "figures" / entry["file"]).verify()
    assert len(films) == 4, "the mean and the strongest unit, in each of two sleeps"
    for film in films:
        assert film["steps"] == sorted(film["steps"])
        assert film["steps"][0] == 0
        assert len(film["frames"]) == len(film["steps"])
        assert all((made / "figures" / frame).exists() for frame in film["frames"])
    assert not (looked_into / FOLDER).exists(), "networks go once they have been looked at"


def test_tables_tell_every_stage_and_sleep(looked_into: Path) -> None:
    ranks = pd.read_csv(looked_into / "analysis" / "weight_ranks.csv")
    stages = ["Initial", "After Task 0", "After Sleep 0", "After Task 1", "After Sleep 1"]
    assert list(ranks["stage_name"].unique()) == stages
    assert list(ranks["layer"].unique()) == [1, 2, 3]
    for name in ("weight_changes", "reactivation", "hidden_difference"):
        assert list(pd.read_csv(looked_into / "analysis" / f"{name}.csv")["trained_task"].unique()) == [0, 1]


def test_the_numbers_are_those_of_the_networks(tmp_path: Path) -> None:
    ensure(small("method=src", "analysis=[ranks]", "keep_networks=true", *AWAKE), tmp_path)
    moments = list(kept(tmp_path))
    assert [moment.phase for moment in moments] == ["initial", "train", "sleep", "train", "sleep"]
    ranks = pd.read_csv(tmp_path / "analysis" / "weight_ranks.csv").set_index(["stage", "layer"])["stable_rank"]
    first, last = (stable_rank(moment.state["network.1.weight"]) for moment in (moments[0], moments[-1]))
    assert ranks.loc[0, 1] == pytest.approx(first, rel=1e-3)
    assert ranks.loc[4, 1] == pytest.approx(last, rel=1e-3)
    assert first != last


def test_an_interruption_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = small("method=src", QUICK, *AWAKE)
    ensure(config, tmp_path / "whole")
    save = Checkpoints.save

    def save_and_stop(self: Checkpoints, *arguments: object) -> None:
        save(self, *arguments)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    monkeypatch.setattr(Checkpoints, "save", save_and_stop)
    for _ in range(4):
        with pytest.raises(KeyboardInterrupt):
            ensure(config, tmp_path / "broken")
    ensure(config, tmp_path / "broken")
    assert tables(tmp_path / "broken") == tables(tmp_path / "whole")


def test_a_network_with_biases_is_looked_into_in_every_way(tmp_path: Path) -> None:
    ensure(small("method=src", "model.bias=true", "sleep.bias=adapt", "analysis=all", *AWAKE), tmp_path)
    assert analysed(tmp_path) == set(NAMES)
    changes = pd.read_csv(tmp_path / "analysis" / "weight_changes.csv")
    assert list(changes["trained_task"].unique()) == [0, 1]


@pytest.mark.parametrize(
    ("method", "rows"),
    [
        (["method=sequential"], ["Task 0", "Task 1"]),
        (["method=sequential", "model.bias=true"], ["Task 0", "Task 1"]),
        (["method=merge"], ["Task 0", "Task 1", "Merged"]),
        (["method=lowrank_merge", "model.rank=4"], ["Task 0", "Task 1", "Merged"]),
        (["method=parallel"], ["All tasks"]),
    ],
    ids=["sequential", "biased", "merge", "lowrank_merge", "parallel"],
)
def test_activity_without_sleep_has_a_row_for_each_network(method: list[str], rows: list[str], tmp_path: Path) -> None:
    ensure(small(*method, "analysis=[activity,ranks]"), tmp_path)
    means = pd.read_csv(tmp_path / "analysis" / "activity_means.csv")
    assert list(means["network"].unique()) == rows
    assert (tmp_path / "analysis" / "figures" / "activity.png").exists()


def test_an_analysis_may_be_asked_for_later_where_the_networks_are(tmp_path: Path) -> None:
    first = ensure(small("method=sequential", "keep_networks=true"), tmp_path)
    assert not analysed(tmp_path)
    again = ensure(small("method=sequential", "analysis=[sparseness]"), tmp_path)
    assert analysed(tmp_path) == {"sparseness"}
    assert again == first, "the run itself is not run again"
    assert (tmp_path / FOLDER).exists(), "they were kept on purpose"
    drop(tmp_path)
    with pytest.raises(ConfigError, match="run it again with analysis=all force=true"):
        ensure(small("method=sequential", "analysis=[ranks]"), tmp_path)
    ensure(small("method=sequential", "analysis=[ranks]", "force=true"), tmp_path)
    assert analysed(tmp_path) == {"ranks"}, "what force=true discards includes the analysis"


def test_what_is_looked_at_does_not_make_another_run() -> None:
    assert small("method=src", "analysis=all", "keep_networks=true").run_id == small("method=src").run_id
