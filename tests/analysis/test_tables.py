"""Similarity, sparseness, weights and spikes on numbers that can be worked out on paper."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from src_lab.analysis import (
    class_correlation,
    hidden_difference,
    rate_histogram,
    reactivation,
    sparseness,
    weight_changes,
    weight_histogram,
)
from src_lab.settings import ConfigError

LABELS = torch.tensor([0, 0, 5, 5])


class TestHiddenDifference:
    @pytest.mark.parametrize(
        ("after", "difference"),
        [([1.0, 2, 0], 0), ([2.0, 4, 0], 0), ([-2.0, 1, 0], 1), ([0, 0, 3.0], 1), ([-1.0, -2, 0], 2)],
    )
    def test_known_directions(self, after: list[float], difference: float) -> None:
        before = torch.tensor([[1.0, 2, 0]]).repeat(4, 1)
        table = hidden_difference([before], [torch.tensor([after]).repeat(4, 1)], LABELS)
        assert list(table) == ["layer", "class_", "difference", "n"]
        assert table.round(12).to_numpy().tolist() == [[1, 0, difference, 2], [1, 5, difference, 2]]

    def test_identical_states_differ_by_nothing_at_all(self) -> None:
        x = torch.rand(4, 999, generator=torch.Generator().manual_seed(0))
        assert hidden_difference([x], [x.clone()], LABELS)["difference"].abs().max() < 1e-15

    def test_zero_states_are_left_out_and_counted_so(self) -> None:
        before = torch.tensor([[1.0, 0], [0, 0], [0, 0], [1, 1]])
        after = torch.tensor([[0, 1.0], [1, 0], [0, 0], [0, 0]])
        table = hidden_difference([before], [after], LABELS)
        assert table["n"].tolist() == [1, 0]
        assert table["difference"][0] == 1
        assert math.isnan(table["difference"][1])

    def test_other_shapes_are_refused(self) -> None:
        with pytest.raises(ConfigError, match="activations have shapes"):
            hidden_difference([torch.ones(4, 2)], [torch.ones(4, 3)], LABELS)
        with pytest.raises(ConfigError, match="a row each"):
            hidden_difference([torch.ones(3, 2)], [torch.ones(3, 2)], LABELS)


class TestClassCorrelation:
    def test_by_hand(self) -> None:
        """Means (1, 0, 0) and (0, 1, 0): covariance -1/9, variances 2/9."""
        acts = torch.tensor([[2.0, 0, 0], [0, 0, 0], [0, 2, 0], [0, 0, 0]])
        table = class_correlation([acts, torch.cat([acts[:2], acts[:2]])], LABELS)
        assert list(table) == ["layer", "class_a", "class_b", "correlation"]
        expected = [[1, 0, 0, 1], [1, 0, 5, -0.5], [1, 5, 0, -0.5], [1, 5, 5, 1]]
        expected += [[2, a, b, 1] for a in (0, 5) for b in (0, 5)]
        np.testing.assert_allclose(table.to_numpy(dtype=float), expected, atol=1e-12)

    def test_a_class_that_tells_nothing_apart_has_none(self) -> None:
        acts = torch.tensor([[1.0, 1, 1], [1, 1, 1], [0, 2, 0], [0, 0, 0]])
        assert class_correlation([acts], LABELS)["correlation"].isna().tolist() == [True, True, True, False]


class TestSparseness:
    @pytest.mark.parametrize(
        ("state", "active", "treves_rolls", "hoyer"),
        [
            ([0.0, 0, 7, 0], 0.25, 0.25, 1),
            ([2.0, 2, 2, 2], 1, 1, 0),
            ([3.0, 1, 0, -9], 0.5, 1 / 2.5, 2 - 4 / 10**0.5),
        ],
        ids=["one unit", "all alike", "negative is silent"],
    )
    def test_known_states(self, state: list[float], active: float, treves_rolls: float, hoyer: float) -> None:
        acts = torch.tensor([state]).repeat(4, 1)
        row = sparseness([acts], LABELS).iloc[1]
        assert row.tolist() == pytest.approx([1, 5, active, treves_rolls, hoyer, 2])

    def test_silent_images_count_for_the_share_alone(self) -> None:
        acts = torch.tensor([[0.0, 4], [0, 0], [0, 0], [0, 0]])
        table = sparseness([acts, acts[:, :1] + 1], LABELS)
        assert table["active_share"].tolist() == [0.25, 0, 1, 1]
        assert table["treves_rolls"].tolist() == pytest.approx([0.5, math.nan, 1, 1], nan_ok=True)
        assert table["hoyer"].tolist() == pytest.approx([1, math.nan, math.nan, math.nan], nan_ok=True)
        assert table["n"].tolist() == [2, 2, 2, 2]


class TestWeights:
    BEFORE = torch.tensor([[0.0, 1], [2, 3]])
    AFTER = torch.tensor([[3.0, 5], [2, 1]])

    def test_changes_by_hand(self) -> None:
        table = weight_changes([self.BEFORE, self.BEFORE], [self.AFTER, self.BEFORE])
        assert list(table)[:4] == ["layer", "increased", "decreased", "unchanged"]
        assert table.iloc[0].tolist()[:7] == [1, 0.5, 0.25, 0.25, 1.25, 5, 2]
        assert table.iloc[1].tolist()[:7] == [2, 0, 0, 1, 0, 0, 0]
        assert table.iloc[1][["change_rank", "uniform_share"]].isna().all(), "nothing changed"

    @pytest.mark.parametrize(
        ("change", "rank", "uniform"),
        [
            ([[-2.0, -2], [1, 1]], 1, 1),
            ([[1.0, -1], [0, 0]], 1, 0),
            ([[1.0, 0], [0, 1]], 2, 0.5),
        ],
        ids=["a number per unit", "no sum", "identity"],
    )
    def test_the_shape_of_a_change(self, change: list[list[float]], rank: float, uniform: float) -> None:
        row = weight_changes([self.BEFORE], [self.BEFORE + torch.tensor(change)]).iloc[0]
        assert row["change_rank"] == pytest.approx(rank)
        assert row["uniform_share"] == pytest.approx(uniform)

    def test_histogram_by_hand(self) -> None:
        table = weight_histogram([self.BEFORE], [self.AFTER], bins=5)
        assert table["left"].tolist() == pytest.approx([0, 1, 2, 3, 4] * 2)
        assert table["right"].tolist() == pytest.approx([1, 2, 3, 4, 5] * 2)
        assert table["when"].tolist() == ["before"] * 5 + ["after"] * 5
        assert table["count"].tolist() == [1, 1, 1, 1, 0, 0, 1, 1, 1, 1]

    def test_every_weight_is_in_a_bin(self) -> None:
        g = torch.Generator().manual_seed(0)
        before, after = torch.randn(60, 50, generator=g), torch.randn(60, 50, generator=g)
        kept = before.clone(), after.clone()
        table = weight_histogram([before, torch.zeros(2, 2)], [after, torch.zeros(2, 2)])
        assert table.groupby(["layer", "when"])["count"].sum().tolist() == [3000, 3000, 4, 4]
        assert len(table) == 4 * 101
        weight_changes([before], [after])
        assert torch.equal(before, kept[0])
        assert torch.equal(after, kept[1])

    def test_other_networks_are_refused(self) -> None:
        for measure in (weight_changes, weight_histogram):
            with pytest.raises(ConfigError, match="weights have shapes"):
                measure([self.BEFORE], [self.AFTER, self.AFTER])


class TestRates:
    def test_by_hand(self) -> None:
        """100 steps of 2 ms are 0.2 s, so a spike is 5 Hz."""
        table = rate_histogram([torch.tensor([0, 0, 1, 3])], 100, 0.002)
        assert table["left_hz"].tolist() == pytest.approx([0, 5, 10, 15])
        assert table["right_hz"].tolist() == pytest.approx([5, 10, 15, 20])
        assert table["units"].tolist() == [2, 1, 0, 1]

    @pytest.mark.parametrize("highest", [0, 49, 50, 99, 100, 1234])
    def test_every_unit_is_in_one_of_at_most_so_many_bins(self, highest: int) -> None:
        counts = torch.arange(highest + 1)
        table = rate_histogram([counts], 1000, 0.001, bins=50)
        assert len(table) <= 50
        assert table["units"].sum() == highest + 1
        assert table["units"][:-1].nunique() <= 1, "as many possible counts in every bin but the last"

    @pytest.mark.parametrize(("steps", "dt_s"), [(0, 0.001), (10, 0.0)])
    def test_no_time_has_no_rates(self, steps: int, dt_s: float) -> None:
        with pytest.raises(ConfigError, match="no time slept"):
            rate_histogram([torch.tensor([1])], steps, dt_s)


class TestReactivation:
    @staticmethod
    def acts() -> Tensor:
        """20 units; class 0 drives units 0 and 1 most, class 5 units 2 and 3."""
        acts = torch.full((4, 20), 0.1)
        acts[:2, :2] = 1
        acts[2:, 2:4] = 1
        return acts

    def test_by_hand(self) -> None:
        counts = torch.zeros(20, dtype=torch.int64)
        counts[[0, 1, 2, 10]] = torch.tensor([30, 10, 6, 12])
        table = reactivation([counts], 1000, 0.002, [self.acts()], LABELS, top=2)
        assert list(table) == ["layer", "class_", "top", "top_rate_hz", "other_rate_hz", "ratio", "overlap"]
        assert table.iloc[0].tolist() == pytest.approx([1, 0, 2, 10, 0.5, 20, 0.5]), "most active are units 0 and 10"
        assert table.iloc[1].tolist() == pytest.approx([1, 5, 2, 1.5, 52 / 2 / 18, 1.5 * 18 / 26, 0])

    def test_a_tenth_of_a_layer_at_most(self) -> None:
        counts, acts = torch.ones(20, dtype=torch.int64), self.acts()
        table = reactivation([counts, counts[:3]], 10, 0.001, [acts, acts[:, :3]], LABELS)
        assert table["top"].tolist() == [2, 2, 1, 1]
        assert table["ratio"].tolist() == [1, 1, 1, 1]

    def test_a_silent_layer_replays_nothing(self) -> None:
        table = reactivation([torch.zeros(20, dtype=torch.int64)], 10, 0.001, [self.acts()], LABELS)
        assert table["ratio"].isna().all()
        assert table["overlap"].tolist() == [0, 0]

    def test_counts_of_another_network(self) -> None:
        with pytest.raises(ConfigError, match="other units"):
            reactivation([torch.ones(19)], 10, 0.001, [self.acts()], LABELS)
