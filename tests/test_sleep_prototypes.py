"""Prototypes of ideas: beside the very sleep that a run has, each doing what its row in the table says."""

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from scripts import sleep_prototypes as prototypes
from src_lab.config import RunConfig, composed
from src_lab.data import load_stream
from src_lab.experiment import run
from src_lab.sleeper import Night, Sleeper

SMALL = ["dataset=digits", "model.widths=[30,20]", "train.learning_rate=0.1"]


@pytest.fixture(scope="module")
def config() -> RunConfig:
    return composed([*prototypes.BASE, *SMALL, "cache=off"])


@pytest.fixture
def trained(config: RunConfig) -> Iterator[tuple[nn.Sequential, Night, Sleeper]]:
    """A network that has learned two tasks, and the night after them."""
    stream = load_stream(config.dataset, config.seed)
    network, trainer = prototypes.network_of(config, stream)
    sleeper = Sleeper(config, stream, len(stream.tasks))
    for task in stream.tasks[:2]:
        sleeper.see(task)
        trainer.fit(task.train, task.index)
    with torch.no_grad():
        yield network, sleeper.night(1), sleeper


@pytest.mark.parametrize(
    "merging", [[], ["method=running_average", "method.power=0.4", "method.sleep_after=each_task", "sleep.summary=3"]]
)
def test_the_standard_of_comparison_is_the_sleep_of_a_run(merging: list[str], tmp_path: Path) -> None:
    config = composed([*prototypes.BASE, *SMALL, "cache=off", *merging, "evaluate=final"])
    _, metrics = run(config, tmp_path)
    measured = prototypes.measure(prototypes.IDEAS["base"], config)
    assert measured == (metrics["validation_accuracy"], metrics["final_accuracy"])


def test_every_idea_is_measured_once_and_shown_beside_the_standard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    record = tmp_path / "record.csv"
    arguments = ["sleep_prototypes.py", "--seeds", "0", "1", "--datasets", "digits", "--record", str(record), *SMALL[1:]]
    monkeypatch.setattr(sys, "argv", arguments)
    assert prototypes.main() == 0
    table, written = capsys.readouterr().out, record.read_text()
    rows = prototypes.Ledger(record, "run", prototypes.COLUMNS, (), ()).rows().values()
    assert len(rows) == len(prototypes.IDEAS)
    found = {row["idea"]: (row["validation_accuracy"], row["test_accuracy"]) for row in rows}
    for idea in prototypes.IDEAS:
        assert f"| {idea} | " in table
        assert (found[idea] == found["base"]) == (idea == "base"), f"{idea} changes nothing"
    monkeypatch.setattr(prototypes, "measure", None)  # whoever measures again fails
    assert prototypes.main() == 0
    assert (capsys.readouterr().out, record.read_text()) == (table, written)


@pytest.mark.parametrize("setting", ["sleep.dec=-1", "method=merge", "sleep.discriminant_lasts=false"])
def test_an_impossible_setting_is_one_line(
    setting: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    record = tmp_path / "record.csv"
    monkeypatch.setattr(sys, "argv", ["sleep_prototypes.py", "--record", str(record), setting])
    assert prototypes.main() == 2
    assert capsys.readouterr().err.startswith(setting)
    assert not record.exists()


def test_the_paired_difference_has_students_interval() -> None:
    assert prototypes.difference([1.0, 3.0]) == "+2.0 (-10.7 to 14.7)"  # t(0.975, 1) = 12.706, sd / sqrt(2) = 1
    assert prototypes.moments([1.0, 3.0]) == "2.0 ± 1.4 (2)"


def test_what_spiked_most_keeps_its_weights_in_training(config: RunConfig) -> None:
    stream = load_stream(config.dataset, config.seed)
    network, trainer = prototypes.network_of(config, stream)
    idea = prototypes.Frozen(network, config, share=0.2)
    sleeper = Sleeper(config, stream, len(stream.tasks))
    for task in stream.tasks[:2]:
        sleeper.see(task)
        before = idea.layers[0].weight().clone()
        idea.learn(trainer, task, sleeper)
        still = (idea.layers[0].weight() == before).all(dim=1)
        assert still[idea.frozen[0]].all()
        assert (still & ~idea.frozen[0]).sum() <= 3  # that are silent
        idea.sleep(sleeper.night(task.index))
    assert 6 <= int(idea.frozen[0].sum()) <= 12


def test_chance_freezes_other_units_in_every_sleep(config: RunConfig, trained: tuple[nn.Sequential, Night, Sleeper]) -> None:
    network, _, sleeper = trained
    idea = prototypes.Frozen(network, config, share=0.2, ordered=False)
    idea.sleep(sleeper.night(1))
    assert int(idea.frozen[0].sum()) == 6
    idea.sleep(sleeper.night(1))
    assert 6 < int(idea.frozen[0].sum()) <= 12


def test_hidden_units_have_their_answers_back(config: RunConfig, trained: tuple[nn.Sequential, Night, Sleeper]) -> None:
    network, night, _ = trained
    idea = prototypes.HiddenRestored(network, config)
    shown = idea.shown(night)
    strength = [idea.answers(shown, index).square().mean(dim=0) for index in range(2)]
    weights = idea.layers[0].weight().clone()
    idea.sleep(night)
    assert not torch.allclose(idea.layers[0].weight(), weights, rtol=0.01)
    for index, before in enumerate(strength):
        after = idea.answers(shown, index).square().mean(dim=0)
        torch.testing.assert_close(after[after > 0], before[after > 0], rtol=1e-4, atol=0)
    spread = prototypes.HiddenLevelled(network, config)
    shown = spread.shown(night)
    spread.sleep(night)
    active = spread.answers(shown, 0).std(dim=0)
    active = active[active > 0]
    torch.testing.assert_close(active, active.mean().expand_as(active), rtol=1e-4, atol=0)


def test_the_mean_field_takes_its_share_of_what_excites(
    config: RunConfig, trained: tuple[nn.Sequential, Night, Sleeper]
) -> None:
    network, night, _ = trained
    share = 0.25
    idea = prototypes.MeanField(network, config)
    mean = idea.noise(night).flatten(1).double().mean(dim=0)
    before = idea.layers[0].weight().double() @ mean
    idea.sleep(replace(night, config=replace(night.config, dec=share, dissimilarity=0.0)))
    after = idea.layers[0].weight().double() @ mean
    torch.testing.assert_close(after, before.where(before < 0, (1 - share) * before), rtol=1e-4, atol=1e-6)


def test_what_is_imagined_is_like_what_was_seen(config: RunConfig, trained: tuple[nn.Sequential, Night, Sleeper]) -> None:
    network, night, _ = trained
    draw = torch.Generator().manual_seed(0)
    own = prototypes.Inverted(network, config).imagine(night, draw)
    wanted = torch.tensor(night.outputs).repeat(prototypes.Inverted.PER_CLASS)
    assert (network(own)[:, night.outputs].argmax(dim=1) == wanted).float().mean() > 0.95
    assert 0 <= own.min() <= own.max() <= 1
    seen = torch.cat([task.train.images for task in load_stream(config.dataset, config.seed).tasks[:2]]).double()
    covariance = prototypes.RunningCovariance(network, config)
    for part in seen.split(100):
        covariance.keep(part)
    drawn = covariance.imagine(night, draw)
    assert (drawn.mean(dim=0) - seen.mean(dim=0)).abs().max() < 0.05
    assert (drawn.T.cov() - seen.T.cov(correction=0)).abs().max() < 0.03
