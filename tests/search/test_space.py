"""From text to distributions, from a point to overrides and back; what names a search."""

from dataclasses import replace

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from src_lab.search.config import identity
from src_lab.search.samplers import sampler_config
from src_lab.search.space import Space, build_space
from src_lab.search.sweeper import parse_sweep
from src_lab.settings import ConfigError
from tests.search.conftest import bare
from tests.test_config import SMALL, compose

TEXTS = [
    ("sleep.inc", "factor(0.1, 10)", FloatDistribution(1e-4, 1e-2, log=True)),
    ("sleep.inc", "interval(0.5, 2)", FloatDistribution(0.5, 2)),
    ("sleep.inc", "tag(log, interval(1, 10))", FloatDistribution(1, 10, log=True)),
    ("sleep.inc", "0.1,0.2", CategoricalDistribution([0.1, 0.2])),
    ("sleep.iterations", "factor(0.2, 4)", IntDistribution(100, 2000, log=True)),
    ("sleep.iterations", "interval(1, 9)", IntDistribution(1, 9)),
    ("sleep.iterations", "range(0, 9, 4)", IntDistribution(0, 8, step=4)),
    ("sleep.rule", "choice(tadros, sigmoid)", CategoricalDistribution(["tadros", "sigmoid"])),
]


@pytest.mark.parametrize(("key", "text", "distribution"), TEXTS, ids=[f"{key}={text}" for key, text, _ in TEXTS])
def test_texts_become_distributions(key: str, text: str, distribution: object) -> None:
    assert build_space({key: text}, compose(*SMALL), parse_sweep).distributions == {key: distribution}


def test_layers_become_one_list_around_what_each_has() -> None:
    base = compose(*SMALL, "sleep.beta_scale=[1,2,4]")
    space = build_space({"sleep.beta_scale.*": "factor(0.5, 2)", "sleep.inc": "interval(0, 1)"}, base, parse_sweep)
    assert [(d.low, d.high) for d in list(space.distributions.values())[:3]] == [(0.5, 2), (1, 4), (2, 8)]
    point = space.point_of(base)
    assert point == {**{f"sleep.beta_scale.{n}": 2.0**n for n in range(3)}, "sleep.inc": 0.001}
    assert space.overrides(point) == ["sleep.beta_scale=[1.0,2.0,4.0]", "sleep.inc=0.001"]
    shuffled = dict(reversed(point.items()))
    assert space.overrides(shuffled) == space.overrides(point), "a database may give them in another order"


def test_ten_layers_stay_in_order() -> None:
    base = compose("dataset=digits", f"model.widths={[20] * 11}", "sleep.scaling=data", f"sleep.beta={[1] * 12}")
    space = build_space({"sleep.beta_scale.*": "factor(0.5, 2)"}, base, parse_sweep)
    point = {f"sleep.beta_scale.{layer}": 1 + layer / 100 for layer in range(12)}
    (override,) = space.overrides(point)
    assert override == f"sleep.beta_scale=[{','.join(str(1 + layer / 100) for layer in range(12))}]"


def test_a_point_written_as_overrides_is_that_point() -> None:
    space = build_space({"sleep.inc": "factor(0.1, 10)", "sleep.iterations": "interval(1,9)"}, compose(*SMALL), parse_sweep)
    point = {"sleep.inc": 0.00012345678901234567, "sleep.iterations": 7}
    assert space.point_of(compose(*SMALL, *space.overrides(point))) == point


def test_settings_outside_of_the_space_are_no_point_of_it() -> None:
    space = build_space({"sleep.inc": "interval(0.5, 1)"}, compose(*SMALL), parse_sweep)
    assert space.point_of(compose(*SMALL)) is None


def test_corners_reach_every_end_and_every_choice() -> None:
    space = Space({"a": FloatDistribution(1, 2), "b": CategoricalDistribution(["x", "y", "z"])}, {})
    assert {corner["a"] for corner in space.corners()} == {1, 2}
    assert {corner["b"] for corner in space.corners()} == {"x", "y", "z"}


WRONG = [
    ({"sleep.incc": "factor(0.1, 10)"}, "sleep.incc is not a setting: did you mean sleep.inc?"),
    ({"sleep.inc": "factor(a, b)"}, "sleep.inc=factor.* is no range above 0"),
    ({"sleep.inc": "factor(10, 0.1)"}, "sleep.inc=factor.* is no range above 0"),
    ({"sleep.inhibition": "factor(0.1, 10)"}, "is no range above 0 for sleep.inhibition=0.0: give one"),
    ({"sleep.rule": "factor(0.1, 10)"}, "needs a number to multiply, not sleep.rule=sigmoid"),
    ({"sleep.inc": "interval(2, 1)"}, "sleep.inc=.* cannot be searched"),
    ({"sleep.inc": "tag(log, interval(0, 1))"}, "sleep.inc=.* cannot be searched: .*low > 0"),
    ({"sleep.inc": "0.1"}, "has nothing to search"),
    ({}, "has nothing to search"),
]


@pytest.mark.parametrize(("texts", "message"), WRONG)
def test_what_cannot_be_searched_is_refused(texts: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as refused:
        build_space(texts, compose(*SMALL), parse_sweep)
    assert "\n" not in str(refused.value)


def test_a_search_is_named_by_what_decides_its_trials(tmp_path) -> None:
    base, search = compose(*SMALL), bare(tmp_path)
    name = identity(search.config, base, search.space.as_json())
    for same in ({"n_trials": 99}, {"workers": 4}, {"storage": "sqlite:///x.db"}, {"trial": 3}, {"floors": [0.5]}):
        assert identity(replace(search.config, **same), base, search.space.as_json()) == name
    for other in ({"seeds": [4]}, {"seed": 9}, {"prune_after": None}, {"sampler": sampler_config({"name": "random"})}):
        assert identity(replace(search.config, **other), base, search.space.as_json()) != name
    assert identity(search.config, compose(*SMALL, "threads=2"), search.space.as_json()) == name
    assert identity(search.config, compose(*SMALL, "sleep.decay=0.5"), search.space.as_json()) != name
    assert identity(search.config, base, {"a": "other"}) != name
