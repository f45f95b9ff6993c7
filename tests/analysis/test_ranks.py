"""Ranks of matrices whose ranks are known."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from src_lab.analysis import activation_ranks, components_for, effective_rank, stable_rank, weight_ranks
from src_lab.settings import ConfigError


def with_singular_values(sigma: list[float], rows: int, columns: int, seed: int = 0) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    left, right = (torch.linalg.qr(torch.randn(n, len(sigma), generator=g, dtype=torch.float64))[0] for n in (rows, columns))
    return (left * torch.tensor(sigma, dtype=torch.float64)) @ right.T


ONE = torch.outer(torch.arange(1.0, 6), torch.arange(2.0, 10))


@pytest.mark.parametrize(
    ("matrix", "stable", "effective"),
    [
        (ONE, 1, 1),
        (torch.eye(7), 7, 7),
        (torch.cat([torch.eye(3), torch.zeros(3, 9)], dim=1), 3, 3),
        (torch.tensor([[-5.0]]), 1, 1),
        (with_singular_values([4, 2, 2], 30, 20), 24 / 16, math.exp(0.5 * math.log(2) + 0.5 * math.log(4))),
    ],
    ids=["rank one", "identity", "wide", "one number", "4 2 2"],
)
def test_known_ranks(matrix: Tensor, stable: float, effective: float) -> None:
    for a in (matrix, matrix.T):
        assert stable_rank(a) == pytest.approx(stable, rel=1e-6)
        assert effective_rank(a) == pytest.approx(effective, rel=1e-6)


@pytest.mark.parametrize("shape", [(300, 400), (400, 300)])
def test_the_iterative_norm_is_the_exact_one(shape: tuple[int, int]) -> None:
    """Clustered singular values, as of a random matrix, are its hard case."""
    w = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    kept = w.clone()
    table = weight_ranks([w, ONE])
    assert table["layer"].tolist() == [1, 2]
    exact = torch.linalg.matrix_norm(w.double(), 2).item()
    assert table["spectral"][0] == pytest.approx(exact, rel=1e-4)
    assert table["frobenius"][0] == pytest.approx(w.double().norm().item(), rel=1e-9)
    assert table["stable_rank"][0] == stable_rank(w) == pytest.approx((w.double().norm().item() / exact) ** 2, rel=2e-4)
    assert torch.equal(w, kept)


def test_zeros_have_no_rank() -> None:
    assert math.isnan(stable_rank(torch.zeros(3, 4)))
    assert math.isnan(stable_rank(torch.zeros(300, 300)))
    assert math.isnan(effective_rank(torch.zeros(3, 4)))
    assert weight_ranks([torch.zeros(3, 4)])["stable_rank"].isna().all()
    assert components_for(torch.zeros(3, 4)) == 0


@pytest.mark.parametrize("shape", [(200, 20), (20, 200)])
def test_components_hold_the_share_of_a_planted_variance(shape: tuple[int, int]) -> None:
    """Squared singular values 60, 30, 6, 4 after centring; a common offset must not count."""
    sigma = np.sqrt([60.0, 30, 6, 4])
    g = torch.Generator().manual_seed(3)
    scores = torch.randn(shape[0], 5, generator=g, dtype=torch.float64)
    scores[:, 0] = 1
    left = torch.linalg.qr(scores)[0][:, 1:]  # orthogonal to the constant: already centred
    right = torch.linalg.qr(torch.randn(shape[1], 4, generator=g, dtype=torch.float64))[0]
    a = (left * torch.from_numpy(sigma)) @ right.T + 5
    assert [components_for(a, share) for share in (0.5, 0.601, 0.9, 0.95, 1.0)] == [1, 2, 2, 3, 4]


def test_rows_that_are_all_alike_have_no_components() -> None:
    assert components_for(torch.full((50, 30), 0.1)) == 0


def test_activation_ranks_take_each_tasks_own_images_and_as_many() -> None:
    labels = torch.tensor([0, 1, 2, 3]).repeat(10)
    acts = [torch.zeros(40, 6), torch.zeros(40, 2)]
    acts[0][labels == 0, 0] = 1
    acts[0][labels == 1, 1] = 1
    acts[0][labels >= 2, 2] = 1
    acts[1][:, 1] = 1
    table = activation_ranks(acts, labels, ((0, 1), (2, 3)), per_task=16).round(6)
    assert list(table) == ["layer", "eval_task", "effective_rank", "components_90", "n"]
    assert table.to_numpy().tolist() == [[1, 0, 2, 1, 16], [1, 1, 1, 0, 16], [2, 0, 1, 0, 16], [2, 1, 1, 0, 16]]


@pytest.mark.parametrize("matrix", [torch.ones(3), torch.ones(0, 3), torch.tensor([[1.0, float("nan")], [0, 1]])])
def test_what_has_no_rank_is_refused(matrix: Tensor) -> None:
    for measure in (stable_rank, effective_rank, components_for):
        with pytest.raises(ConfigError, match="needs a finite matrix"):
            measure(matrix)


@pytest.mark.parametrize("share", [0.0, 1.5, float("nan")])
def test_a_share_that_is_none(share: float) -> None:
    with pytest.raises(ConfigError, match="share="):
        components_for(ONE, share)


def test_labels_that_do_not_fit() -> None:
    with pytest.raises(ConfigError, match=r"layer 1 have shape \(4, 2\): give \(3, units\)"):
        activation_ranks([torch.ones(4, 2)], torch.tensor([0, 1, 2]), ((0,),))
    with pytest.raises(ConfigError, match="layer 1 are not finite"):
        activation_ranks([torch.full((3, 2), torch.inf)], torch.tensor([0, 1, 2]), ((0,),))
