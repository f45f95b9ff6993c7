"""Principal components planted by hand, and what sleep moves in common coordinates."""

import numpy as np
import pytest
import torch
from torch import Tensor

from src_lab.analysis import class_ordered_pca, pca_importance, task_overlap
from src_lab.analysis.pca import REST
from src_lab.settings import ConfigError

LABELS = torch.arange(4).repeat_interleave(50)
TASKS = ((0, 1), (2, 3))


def planted() -> Tensor:
    """Task 0 varies along unit 0 (variance 9 per image) and a little along 2 (1), task 1 along unit 1 (4)."""
    a = torch.zeros(200, 400)
    sign = torch.tensor([1.0, -1]).repeat(100)
    first, second = LABELS < 2, LABELS >= 2
    a[first, 0] = 3 * sign[first]
    a[second, 1] = 2 * sign[second]
    a[first, 2] = torch.tensor([1.0, 1, -1, -1]).repeat(25)
    return a + 0.5


def smeared(n: int = 200, units: int = 30, seed: int = 2) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    return torch.randn(n, units, generator=g) * torch.logspace(1, -2, units)


class TestImportance:
    def test_a_planted_layer(self) -> None:
        table = pca_importance([planted()], LABELS, TASKS, components=2)
        share = table.set_index(["eval_task", "component"])["share"]
        assert list(table) == ["layer", "eval_task", "component", "share"]
        expected = {(0, 1): 9 / 14, (0, 2): 0, (0, REST): 1 / 14, (1, 1): 0, (1, 2): 4 / 14, (1, REST): 0}
        assert share.to_dict() == pytest.approx(expected, abs=1e-6)

    @pytest.mark.parametrize("components", [1, 7, 30, 99])
    def test_shares_of_a_layer_add_up_to_one(self, components: int) -> None:
        table = pca_importance([smeared(), smeared(units=4)], LABELS, TASKS, components)
        assert table.groupby("layer")["share"].sum().to_list() == pytest.approx([1, 1])
        assert (table["share"] >= 0).all()
        assert table["component"].max() == min(components, 30)

    def test_along_a_component_the_tasks_shares_are_its_share_of_the_variance(self) -> None:
        x = smeared()
        table = pca_importance([x], LABELS, TASKS, components=5)
        variance = np.linalg.svd((x - x.mean(dim=0)).double().numpy(), compute_uv=False) ** 2
        listed = table[table["component"] != REST].groupby("component")["share"].sum()
        assert listed.to_list() == pytest.approx(variance[:5] / variance.sum(), rel=1e-4)

    def test_images_of_other_classes_and_beyond_the_limit_do_not_count(self) -> None:
        x, labels = smeared(), LABELS.clone()
        labels[labels == 3] = 9
        kept = torch.cat([torch.arange(0, 50, 2), torch.arange(50, 100, 2), torch.arange(100, 150, 2)])
        few = pca_importance([x], labels, ((0, 1), (2,)), 3, per_class=25)
        alone = pca_importance([x[kept]], labels[kept], ((0, 1), (2,)), 3)
        np.testing.assert_array_equal(few.to_numpy(), alone.to_numpy())

    def test_a_dead_layer_has_no_shares(self) -> None:
        assert pca_importance([torch.full((200, 5), 0.1)], LABELS, TASKS)["share"].isna().all()

    def test_repeats_exactly_and_changes_nothing(self) -> None:
        x = smeared(units=400)
        kept = x.clone()
        tables = []
        for _ in range(2):
            np.random.rand()
            tables.append(pca_importance([x], LABELS, TASKS))
        assert tables[0].equals(tables[1])
        assert torch.equal(x, kept)


class TestOverlap:
    def test_the_same_orthogonal_and_half_shared_spaces(self) -> None:
        x = torch.zeros(150, 12)
        labels = torch.arange(3).repeat_interleave(50)
        noise = torch.randn(50, 3, 2, generator=torch.Generator().manual_seed(0))
        for task, units in enumerate(([0, 1], [1, 2], [3, 4])):
            x[task * 50 : task * 50 + 50, units] = noise[:, task] + 10 * task
        table = task_overlap([x], labels, ((0,), (1,), (2,)), components=5)
        found = table.set_index(["task_a", "task_b"])["overlap"]
        assert set(table["dimension"]) == {2}, "of five asked for, as the tasks have no more"
        assert set(table["chance"]) == {2 / 12}
        expected = {(a, a): 1.0 for a in range(3)} | {(0, 1): 0.5, (0, 2): 0.0, (1, 2): 0.0}
        for (a, b), overlap in expected.items():
            assert found[a, b] == pytest.approx(overlap, abs=1e-6)
            assert found[b, a] == found[a, b]

    def test_unrelated_spaces_overlap_by_chance(self) -> None:
        table = task_overlap([torch.randn(200, 50, generator=torch.Generator().manual_seed(0))], LABELS, TASKS)
        assert table["overlap"][1] == pytest.approx(10 / 50, abs=0.08)

    def test_a_narrow_layer_is_not_shared_as_a_whole(self) -> None:
        table = task_overlap([smeared(units=10)], LABELS, TASKS)
        assert set(table["dimension"]) == {5}

    def test_a_dead_task_shares_nothing(self) -> None:
        x = smeared(units=8)
        x[:100] = 1
        overlap = task_overlap([x], LABELS, TASKS).set_index(["task_a", "task_b"])["overlap"]
        assert overlap.isna().to_dict() == {(0, 0): True, (0, 1): True, (1, 0): True, (1, 1): False}


class TestClassOrdered:
    def test_one_projection_for_both_and_images_in_the_order_of_classes(self) -> None:
        order = torch.randperm(200, generator=torch.Generator().manual_seed(0))
        before, labels = smeared()[order], LABELS[order]
        after = before + 1
        hidden, output = class_ordered_pca([before, before[:, :3]], [after, after[:, :3]], labels, components=30)
        assert (hidden.layer, output.layer) == (1, 2)
        assert hidden.labels.tolist() == LABELS.tolist()
        assert hidden.classes.tolist() == [0, 1, 2, 3]
        rows = labels.argsort(stable=True)
        np.testing.assert_array_equal(output.before, before[rows, :3].numpy(), "raw, not reduced")
        assert output.variance_share.size == 0
        distance = np.linalg.norm(hidden.after - hidden.before, axis=1)
        np.testing.assert_allclose(distance, 30**0.5, rtol=1e-4, err_msg="all components keep distances")
        gap = np.linalg.norm(hidden.before[0] - hidden.before[150])
        assert gap == pytest.approx((before[rows[0]] - before[rows[150]]).norm().item(), rel=1e-4)
        np.testing.assert_allclose(hidden.class_after[2], hidden.after[100:150].mean(axis=0), rtol=1e-6)

    def test_a_planted_component_and_its_sign(self) -> None:
        before = torch.zeros(200, 6)
        before[:, 4] = LABELS.float()
        after = before.clone()
        after[:, 4] += 4
        hidden, _ = class_ordered_pca([before, before], [after, after], LABELS, components=1)
        assert hidden.variance_share == pytest.approx([1])
        np.testing.assert_allclose(hidden.class_before[:, 0], np.arange(4) - 3.5, atol=1e-5)
        np.testing.assert_allclose(hidden.class_after[:, 0], np.arange(4) + 0.5, atol=1e-5)

    def test_at_most_so_many_images_per_class(self) -> None:
        hidden, output = class_ordered_pca([smeared()] * 2, [smeared(seed=3)] * 2, LABELS, 4, per_class=20, fit_per_class=5)
        assert hidden.before.shape == hidden.after.shape == (80, 4)
        assert output.before.shape == (80, 30)
        assert np.bincount(hidden.labels).tolist() == [20] * 4

    def test_repeats_exactly_and_changes_nothing(self) -> None:
        acts = [smeared(units=600), smeared(units=10)]
        kept = [a.clone() for a in acts]
        first, again = (class_ordered_pca(acts, acts, LABELS)[0] for _ in range(2))
        np.testing.assert_array_equal(first.before, again.before)
        np.testing.assert_array_equal(first.before, first.after)
        assert all(torch.equal(*pair) for pair in zip(acts, kept, strict=True))

    def test_a_dead_layer(self) -> None:
        hidden, _ = class_ordered_pca([torch.ones(200, 5)] * 2, [torch.ones(200, 5)] * 2, LABELS)
        assert not hidden.before.any()

    def test_two_networks_are_refused(self) -> None:
        with pytest.raises(ConfigError, match=r"activations have shapes \[\(200, 30\)\] before and \[\(200, 5\)\] after"):
            class_ordered_pca([smeared()], [smeared(units=5)], LABELS)
