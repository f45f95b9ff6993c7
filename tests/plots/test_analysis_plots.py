"""The pictures of an analysis show the numbers they were given, all of them, on one scale."""

import io
from collections.abc import Callable
from itertools import combinations, product

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from src_lab import analysis
from src_lab.plots import activity, importance, ranks, similarity, sparseness, spikes, synapses, weights
from src_lab.plots.captions import CAPTIONS, activity_alt
from src_lab.plots.hidden_difference import hidden_difference
from src_lab.plots.panels import around_sleep, symmetric_limit, task_name

NAN = float("nan")
STAGES = [("initial", None), ("train", 0), ("sleep", 0), ("train", 1), ("sleep", 1)]
NAMES = {"initial": "Initial", "train": "After Task", "sleep": "After Sleep"}


def of_run(make: Callable[[int], pd.DataFrame]) -> pd.DataFrame:
    """The tables that `make` gives per stage, with the leading columns of a run."""
    tables = []
    for stage, (phase, task) in enumerate(STAGES):
        table = make(stage)
        lead = {"stage": stage, "stage_name": f"{NAMES[phase]} {'' if task is None else task}".strip(), "phase": phase}
        tables.append(pd.DataFrame({**lead, "trained_task": task, **{name: table[name] for name in table}}))
    return pd.concat(tables, ignore_index=True)


def of_sleeps(make: Callable[[int], pd.DataFrame]) -> pd.DataFrame:
    tables = [make(task) for task in (0, 1)]
    for task, table in enumerate(tables):
        table.insert(0, "trained_task", task)
    return pd.concat(tables, ignore_index=True)


def weight_ranks(layers: int = 2, value: float | None = None) -> pd.DataFrame:
    values = [1.0, 4.0, 2.0, 5.0, 3.0]
    return of_run(
        lambda stage: pd.DataFrame({"layer": range(1, layers + 1), "stable_rank": values[stage] if value is None else value})
    )


def per_task(column: str, value: Callable[[int, int, int], float]) -> pd.DataFrame:
    keys = list(product((1, 2), (0, 1)))
    return of_run(lambda s: pd.DataFrame([(k, t, value(s, k, t)) for k, t in keys], columns=["layer", "eval_task", column]))


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def test_stable_ranks_show_every_stage_and_an_arrow_per_sleep() -> None:
    figure = ranks.stable_ranks(weight_ranks(), of="run x")
    assert [axes.get_title() for axes in figure.axes] == ["Layer 1", "Layer 2"]
    assert figure.get_suptitle().endswith(", run x")
    axes = figure.axes[0]
    path, trained, slept = (list(line.get_ydata()) for line in axes.lines)
    assert (path, trained, slept) == ([1, 4, 2, 5, 3], [1, 4, 5], [2, 3])
    assert [(note.xyann[1], note.xy[1]) for note in axes.texts] == [(4, 2), (5, 3)]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["start", "0", "1"]


def test_effective_ranks_are_a_line_per_task_with_sleeps_in_grey() -> None:
    table = per_task("effective_rank", lambda stage, layer, task: 100 * layer + 10 * task + stage)
    figure = ranks.effective_ranks(table)
    second = figure.axes[1]
    assert [list(line.get_ydata()) for line in second.lines] == [[200, 201, 202, 203, 204], [210, 211, 212, 213, 214]]
    assert [band.get_x() for band in second.patches] == [1, 3]
    assert [tick.get_text() for tick in second.get_xticklabels()] == ["Initial", "Task 0", "Sleep 0", "Task 1", "Sleep 1"]


def test_task_importance_stacks_all_components_of_a_task() -> None:
    one = per_task("share", lambda _stage, _layer, task: (0.1, 0.3)[task]).assign(component=1)
    rest = per_task("share", lambda _stage, _layer, task: (0.2, 0.4)[task]).assign(component=0)
    axes = importance.task_importance(pd.concat([one, rest])).axes[0]
    heights = [bar.get_height() for bar in axes.patches]
    assert heights == pytest.approx([30.0] * 5 + [70.0] * 5)
    assert [bar.get_y() for bar in axes.patches] == pytest.approx([0.0] * 5 + [30.0] * 5)


def test_component_importance_leaves_out_the_rest_and_writes_percents() -> None:
    rows = [(1, task, component, share) for task in (0, 1) for component, share in ((1, 0.3), (2, 0.002), (0, 0.198))]
    table = pd.DataFrame(rows, columns=["layer", "eval_task", "component", "share"])
    figure = importance.component_importance(table, table)
    assert [axes.get_title() for axes in figure.axes] == ["Layer 1, before sleep", "Layer 1, after sleep"]
    assert [text for text in texts(figure) if text] == ["30"] * 4
    assert figure.axes[0].images[0].get_array().ravel().tolist() == pytest.approx([30, 0.2, 30, 0.2])


@pytest.mark.parametrize("class_averaged", [False, True])
def test_activity_shows_each_row_and_layer_on_the_layers_scale(class_averaged: bool) -> None:
    labels = np.repeat([3, 7], [2, 4])
    rng = np.random.default_rng(0)
    rows = {"Before": [rng.normal(size=(6, 3)), rng.normal(size=(6, 2))]}
    rows["After"] = [3 * state for state in rows["Before"]]
    figure = activity.activity_grid(rows, labels, class_averaged)
    panels = figure.axes[:4]
    for axes, state in zip(panels, [*rows["Before"], *rows["After"]], strict=True):
        shown = np.stack([state[:2].mean(axis=0), state[2:].mean(axis=0)]) if class_averaged else state
        assert np.array_equal(axes.images[0].get_array(), shown)
    first, second = panels[0].images[0].norm, panels[2].images[0].norm
    assert first.vmax == second.vmax == -first.vmin == np.abs(panels[2].images[0].get_array()).max()
    assert float(first(0.0)) == 0.5
    assert [tick.get_text() for tick in panels[0].get_yticklabels()] == ["3", "7"]
    assert [line.get_ydata()[0] for line in panels[0].lines] == [0.5 if class_averaged else 1.5]


def test_activity_of_many_images_is_an_even_choice() -> None:
    states = np.arange(25_000, dtype=float)[:, None]
    shown = activity.activity_grid({"Before": [states]}, np.zeros(25_000, dtype=int), False).axes[0].images[0].get_array()
    assert len(shown) == activity.MAX_IMAGES
    assert (shown[0, 0], shown[-1, 0]) == (0, 24_999)


def test_before_after_difference_subtracts() -> None:
    acts = [[torch.rand(8, 12, generator=torch.Generator().manual_seed(k)), torch.rand(8, 4)] for k in (0, 1)]
    layers = analysis.class_ordered_pca(*acts, torch.arange(8) % 2, components=3)
    rows = activity.before_after_difference(layers)
    assert np.array_equal(rows["Difference"][1], rows["After"][1] - rows["Before"][1])
    assert "layer 2" in activity_alt(layers)


def test_hidden_difference_has_a_panel_per_sleep_and_the_mean_of_each_layer_below() -> None:
    rows = [(task, layer, class_, 0.1 * layer + 0.2 * class_) for task in (0, 1) for layer in (1, 2) for class_ in (0, 1)]
    table = pd.DataFrame(rows, columns=["trained_task", "layer", "class_", "difference"])
    figure = hidden_difference(table)
    assert [axes.get_title() for axes in figure.axes] == ["Sleep 0", "Sleep 1"]
    shown = figure.axes[0].images[0].get_array()
    assert shown.ravel().tolist() == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.2, 0.3])
    assert [tick.get_text() for tick in figure.axes[0].get_yticklabels()] == ["0", "1", "mean"]


def square(values: list[float], a: str, b: str, column: str) -> pd.DataFrame:
    keys = product((1,), (0, 1), (0, 1))
    return pd.DataFrame([(*key, value) for key, value in zip(keys, values, strict=True)], columns=["layer", a, b, column])


@pytest.mark.parametrize(
    ("draw", "columns"),
    [
        (similarity.class_correlations, ("class_a", "class_b", "correlation")),
        (similarity.task_overlaps, ("task_a", "task_b", "overlap")),
    ],
)
def test_matrices_show_before_after_and_the_difference(draw, columns) -> None:
    figure = draw(square([1.0, 0.8, 0.8, 1.0], *columns), square([1.0, 0.3, 0.3, 1.0], *columns))
    before, after, difference = (axes.images[0] for axes in figure.axes[:3])
    assert before.get_array().ravel().tolist() == pytest.approx([1, 0.8, 0.8, 1])
    assert after.get_array().ravel().tolist() == pytest.approx([1, 0.3, 0.3, 1])
    assert difference.get_array().ravel().tolist() == pytest.approx([0, -0.5, -0.5, 0])
    assert before.get_clim() == after.get_clim()
    assert difference.get_clim() == pytest.approx((-0.5, 0.5))
    assert "-0.00" not in texts(figure)


def reactivation_table() -> pd.DataFrame:
    def make(task: int) -> pd.DataFrame:
        rows = [(layer, c, 10.0 * (1 + 9 * task), 2.0) for layer in (1, 2) for c in (0, 1)]
        return pd.DataFrame(rows, columns=["layer", "class_", "top_rate_hz", "other_rate_hz"])

    return of_sleeps(make)


def test_reactivation_shows_every_rate_within_the_panels() -> None:
    figure = spikes.reactivation(reactivation_table())
    assert [axes.get_ylabel() for axes in figure.axes[::2]] == ["Sleep 0", "Sleep 1"]
    for axes in figure.axes:
        low, high = axes.get_ylim()
        assert low == 0
        assert all(low <= value <= high for line in axes.lines for value in line.get_ydata())
    assert [list(line.get_ydata()) for line in figure.axes[2].lines] == [[2.0, 2.0], [100.0, 100.0]]


def test_firing_rates_show_every_count_on_a_log_axis() -> None:
    counts = [[torch.tensor([0, 0, 3]), torch.tensor([0] * 200 + [5])], [torch.tensor([0, 0, 0]), torch.tensor([1] * 201)]]
    table = of_sleeps(lambda task: analysis.rate_histogram(counts[task], steps=100, dt_s=0.001))
    figure = spikes.firing_rates(table)
    assert [axes.get_yscale() for axes in figure.axes] == ["log"] * 4
    assert figure.axes[1].patches[0].get_data().values.tolist() == [200, 0, 0, 0, 0, 1]
    assert figure.axes[1].patches[0].get_data().edges[-1] == pytest.approx(60)
    assert all(axes.get_ylim()[1] > 201 for axes in figure.axes[1::2])


def test_weight_distributions_write_the_shares_and_share_bins() -> None:
    before, after = [torch.tensor([[0.0, 0.0, 0.0, 1.0]])], [torch.tensor([[0.5, -0.5, -1.0, 1.0]])]
    histogram = of_sleeps(lambda _: analysis.weight_histogram(before, after, bins=4))
    changes = of_sleeps(lambda _: analysis.weight_changes(before, after))
    figure = weights.weight_distributions(histogram, changes)
    assert [axes.get_title() for axes in figure.axes] == ["Layer 1\nup 25.0 %, down 50.0 %", "up 25.0 %, down 50.0 %"]
    old, new = figure.axes[0].patches
    assert old.get_data().values.tolist() == [0, 0, 3, 1]
    assert new.get_data().values.tolist() == [1, 1, 0, 2]
    assert old.get_data().edges.tolist() == new.get_data().edges.tolist() == [-1, -0.5, 0, 0.5, 1]


def sparseness_table(values: list[float]) -> pd.DataFrame:
    return pd.DataFrame({"layer": [1, 1, 2, 2], "class_": [4, 5, 4, 5], "treves_rolls": values, "hoyer": 1.0})


def test_sparseness_joins_before_and_after_of_each_class() -> None:
    figure = sparseness.sparseness(sparseness_table([0.1, 0.2, 0.3, 0.9]), sparseness_table([0.5, 0.6, NAN, 0.8]))
    axes = figure.axes[1]
    assert [list(line.get_ydata()) for line in figure.axes[0].lines] == [[0.1, 0.2], [0.5, 0.6]]
    assert axes.lines[1].get_ydata()[1] == 0.8
    assert axes.get_ylim()[1] > 0.9
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["4", "5"]


def decoded(gif: bytes) -> list[Image.Image]:
    image = Image.open(io.BytesIO(gif))
    return [image.seek(frame) or image.convert("RGB") for frame in range(image.n_frames)]


def pixel(frame: Image.Image) -> tuple[int, ...]:
    return frame.convert("RGB").getpixel((60, 80))  # inside the upper left quarter of the weights


def test_frames_keep_their_order_and_a_common_scale() -> None:
    frames = np.array([[1.0, 0, 0, 0], [2.0, 0, 0, 0], [4.0, 0, 0, -1]])
    drawn = synapses.synapse_frames(frames, [0, 10, 200], (2, 2))
    paleness = [sum(pixel(frame)) for frame in drawn]
    assert paleness == sorted(paleness, reverse=True)
    assert len(set(paleness)) == 3
    assert [sum(pixel(frame)) for frame in decoded(synapses.as_gif(drawn))] == paleness
    assert {frame.size for frame in drawn} == {(240, 284)}


def test_frames_with_a_scale_each_use_its_whole_range() -> None:
    frames = np.array([[1.0, 0, 0, 0], [4.0, 0, 0, 0]])
    first, second = synapses.synapse_frames(frames, [0, 1], (2, 2), common_scale=False)
    assert pixel(first) == pixel(second)
    common = synapses.synapse_frames(frames, [0, 1], (2, 2))
    assert pixel(common[0]) != pixel(common[1])


def test_equal_pictures_at_other_steps_stay_frames_of_their_own() -> None:
    drawn = synapses.synapse_frames(np.zeros((3, 4)), [0, 1, 2], (2, 2))
    assert Image.open(io.BytesIO(synapses.as_gif(drawn))).n_frames == 3


def test_the_frames_of_a_sleep_are_small() -> None:
    frames = np.random.default_rng(0).normal(size=(6, 784))
    drawn = synapses.synapse_frames(frames, range(6), (28, 28))
    assert sum(len(synapses.as_png(frame)) for frame in drawn) / 6 < 4_000_000 / 410
    assert len(synapses.as_gif(drawn)) / 6 < 1_500_000 / 41


@pytest.mark.parametrize(("frames", "steps", "shape"), [(2, 3, (2, 2)), (2, 2, (2, 3)), (0, 0, (2, 2))])
def test_frames_that_do_not_fit_are_refused(frames: int, steps: int, shape: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="frames of shape"):
        synapses.synapse_frames(np.zeros((frames, 4)), range(steps), shape)


def test_around_sleep_takes_the_stages_beside_it() -> None:
    before, after = around_sleep(weight_ranks())
    assert (set(before["stage"]), set(after["stage"])) == ({3}, {4})
    before, after = around_sleep(weight_ranks(), task=0)
    assert (set(before["stage"]), set(after["stage"])) == ({1}, {2})
    with pytest.raises(ValueError, match="no sleep after task 7"):
        around_sleep(weight_ranks(), task=7)


@pytest.mark.parametrize(("task", "name"), [(3, "3"), (3.0, "3"), (-1.0, "all"), (None, ""), (NAN, ""), (pd.NA, "")])
def test_a_task_is_named(task: object, name: str) -> None:
    assert task_name(task) == name


def test_a_symmetric_limit_ignores_what_is_not_finite() -> None:
    assert symmetric_limit([np.array([1.0, -3.0, NAN, np.inf])]) == 3
    assert symmetric_limit([np.zeros(3), np.full(2, NAN)]) == 1


def nothing_at_all() -> list[tuple[str, Figure, str]]:
    """Every picture of one layer and one class or task where nothing is defined, with its alternative text."""
    one = {"trained_task": [0], "layer": [1]}
    rank, act = weight_ranks(1, NAN), per_task("effective_rank", lambda *_: NAN)
    share = per_task("share", lambda *_: NAN).assign(component=0)
    pca = share[(share["stage"] == 4) & (share["eval_task"] == 0)]
    change = pd.DataFrame(one | {"class_": [0], "difference": [NAN]})
    rates = pd.DataFrame(one | {"left_hz": [0.0], "right_hz": [1.0], "units": [7]})
    react = pd.DataFrame(one | {"class_": [0], "top_rate_hz": [0.0], "other_rate_hz": [NAN]})
    histogram = pd.concat(
        [pd.DataFrame(one | {"when": when, "left": 0.0, "right": 1.0, "count": 0}) for when in ("before", "after")]
    )
    changes = pd.DataFrame(one | {"increased": 0.0, "decreased": 0.0})
    correlation = pd.DataFrame({"layer": [1], "class_a": [0], "class_b": [0], "correlation": [NAN]})
    overlap = pd.DataFrame({"layer": [1], "task_a": [0], "task_b": [0], "overlap": [NAN]})
    sparse = pd.DataFrame({"layer": [1], "class_": [0], "treves_rolls": [NAN]})
    rows = {"Parallel": [np.full((1, 1), 0.0)]}
    drawn: list[tuple[str, Callable[..., Figure], tuple[object, ...]]] = [
        ("stable_ranks", ranks.stable_ranks, (rank,)),
        ("effective_ranks", ranks.effective_ranks, (act,)),
        ("task_importance", importance.task_importance, (share,)),
        ("component_importance", importance.component_importance, (pca, pca)),
        ("hidden_difference", hidden_difference, (change,)),
        ("class_correlations", similarity.class_correlations, (correlation, correlation)),
        ("task_overlaps", similarity.task_overlaps, (overlap, overlap)),
        ("firing_rates", spikes.firing_rates, (rates,)),
        ("reactivation", spikes.reactivation, (react,)),
        ("weight_distributions", weights.weight_distributions, (histogram, changes)),
        ("sparseness", sparseness.sparseness, (sparse, sparse)),
    ]
    pictures = [(name, draw(*tables), CAPTIONS[name].alt(*tables)) for name, draw, tables in drawn]
    grid = activity.activity_grid(rows, np.zeros(1, dtype=int), True)
    return [*pictures, ("activity", grid, CAPTIONS["activity"].alt(rows))]


@pytest.mark.filterwarnings("error")
def test_pictures_of_nothing_are_drawn_and_described() -> None:
    for name, figure, alt in nothing_at_all():
        figure.canvas.draw()
        assert "nan" not in alt, name
        assert alt.endswith("."), name
        assert not {text for text in texts(figure) if "nan" in text.lower()}, name
    assert plt.get_fignums() == []


def test_legends_axis_names_and_titles_do_not_overlap() -> None:
    sleepy = reactivation_table()
    half = sparseness_table([0.1, 0.2, 0.3, 0.9])
    for figure in (ranks.stable_ranks(weight_ranks()), spikes.reactivation(sleepy), sparseness.sparseness(half, half)):
        figure.canvas.draw()
        named = [axes.xaxis.label for axes in figure.axes if axes.get_xlabel()] + [axes.title for axes in figure.axes]
        boxes = [text.get_window_extent() for text in (*named, *figure.legends) if text]
        assert len(boxes) > 3
        assert not [pair for pair in combinations([box for box in boxes if box.width], 2) if pair[0].overlaps(pair[1])]


def test_alternative_texts_give_the_numbers() -> None:
    assert "last: layer 1 3, layer 2 3" in CAPTIONS["stable_ranks"].alt(weight_ranks())
    assert "their units: layer 1 100 Hz" in CAPTIONS["reactivation"].alt(reactivation_table())
    frames = np.array([[0.0, 1.0], [-2.0, 3.0]])
    assert CAPTIONS["mean_frames"].alt(frames, [0, 40]).endswith("At step 0: 0 to 1; at step 40: -2 to 3.")


def test_every_caption_is_one_sentence_that_says_how_to_read() -> None:
    for caption in CAPTIONS.values():
        assert caption.title
        assert caption.section
        assert caption.how_to_read.endswith(".")
        assert ". " not in caption.how_to_read
