"""A setting that came later leaves the runs of before as they were called."""

from dataclasses import dataclass, field

import pytest
import yaml

from src_lab.results import write_config
from src_lab.settings import as_plain, setting
from tests.test_config import compose

KNOWN = {
    ("method=src", "threads=1"): "src-be1d9910-s0",
    ("experiment=tadros_mnist", "threads=1"): "tadros_mnist-src-cbd93471-s0",
    ("experiment=tadros_fashion",): "tadros_fashion-src-d8cf6331-s0",
    ("experiment=digits",): "digits-src-2ae8300f-s0",
    ("method=lowrank_merge",): "lowrank_merge-3fdcf140-s0",
    ("method=sequential", "dataset=permuted_mnist"): "sequential-b0052556-s0",
}
"""What runs were called before any setting was marked as added later."""


@pytest.mark.parametrize("overrides", KNOWN, ids=" ".join)
def test_runs_keep_their_names(overrides: tuple[str, ...]) -> None:
    assert compose(*overrides).run_id == KNOWN[overrides]


def test_a_later_setting_counts_once_it_is_used(tmp_path) -> None:
    plain, tailed = compose("dataset=digits"), compose("dataset=digits", "dataset.imbalance=10")
    assert plain.hash != tailed.hash
    assert compose("dataset=digits", "dataset.imbalance=null").hash == plain.hash
    for config, written in ((plain, None), (tailed, 10)):
        write_config(config, tmp_path)
        assert yaml.safe_load((tmp_path / "config.yaml").read_text())["dataset"].get("imbalance") == written


@dataclass(frozen=True)
class Inner:
    new: list[int] = setting([1], later=True)


@dataclass(frozen=True)
class Outer:
    old: int = setting(3)
    new: float | None = setting(None, later=True)
    inner: Inner = field(default_factory=Inner)


@pytest.mark.parametrize(
    ("given", "plain"),
    [
        (Outer(), {"old": 3, "inner": {}}),
        (Outer(new=0.0), {"old": 3, "new": 0.0, "inner": {}}),
        (Outer(old=4, inner=Inner([])), {"old": 4, "inner": {"new": []}}),
    ],
)
def test_only_defaults_of_later_settings_are_left_out(given: Outer, plain: dict[str, object]) -> None:
    assert as_plain(given) == plain
