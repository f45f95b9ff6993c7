from collections.abc import Sequence
from itertools import combinations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from src_lab.plots.accuracy_table import MAX_ROWS, accuracy_table, group_labels, mean_and_sd

NAN = float("nan")
SRC = {"approach": "SRC", "method": "src", "settings": ""}


def table(rows: Sequence[tuple[dict[str, str], str, float, float, int]]) -> pd.DataFrame:
    """Stage accuracies of one task and of all, the same in both, from (group, stage, mean, std, count)."""
    index = pd.MultiIndex.from_tuples([(*group.values(), stage) for group, stage, *_ in rows], names=[*rows[0][0], "Stage"])
    columns = pd.MultiIndex.from_product([["Task 0", "Task All"], ["mean", "std", "count"]])
    return pd.DataFrame([values * 2 for _, _, *values in rows], index=index, columns=columns)


def comparison() -> pd.DataFrame:
    """About what the default comparison gives: 43 rows, some with long names."""
    rows = []
    for approach in ("SRC", "Sequential", "Cheat", "Parallel (60,000 images)"):
        for settings in (
            "",
            "sleep.alpha=[14.9,253.1,7.7] sleep.inc=0.03 sleep.dec=0.0001 dataset.samples_per_task=null",
        ):
            group = {"approach": approach, "settings": settings}
            stages = ["Initial", *(f"After training task {task}" for task in range(4)), "After Training"]
            rows += [(group, stage, 50.0, 2.0, 5) for stage in (stages if approach != "Cheat" else stages[-1:])]
    return table(rows)


def cell_texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].texts if text.get_transform() == figure.axes[0].transData]


def drawn_boxes(figure: Figure) -> list[tuple[str, Bbox]]:
    axes = figure.axes[0]
    texts: list[Text] = [*axes.texts, *axes.get_yticklabels(), *axes.get_xticklabels(), axes.title]
    figure.canvas.draw()
    return [(text.get_text(), text.get_window_extent()) for text in texts if text.get_text()]


@pytest.mark.parametrize(
    ("mean", "sd", "text"),
    [(72.57, 2.94, "72.6 ± 2.9"), (72.57, NAN, "72.6"), (NAN, NAN, "-"), (0.0, 0.0, "0.0 ± 0.0")],
)
def test_a_cell_is_mean_and_sd(mean: float, sd: float, text: str) -> None:
    assert mean_and_sd(mean, sd) == text


def test_cells_are_green_by_value_and_grey_and_blank_where_not_measured() -> None:
    figure = accuracy_table(table([(SRC, "Initial", NAN, NAN, 0), (SRC, "After Training", 72.57, 2.94, 3)]))
    assert cell_texts(figure) == ["72.6 ± 2.9", "72.6 ± 2.9"]
    [mesh] = figure.axes[0].collections
    assert mesh.get_clim() == (0, 100)
    assert mesh.get_cmap().name == "Greens"
    assert np.ma.getmaskarray(mesh.get_array()).tolist() == [[True, True], [False, False]]
    red, green, blue = (int(to_hex(figure.axes[0].get_facecolor())[at : at + 2], 16) for at in (1, 3, 5))
    assert red == green == blue < 255


def test_final_rows_are_bold_and_no_other() -> None:
    figure = accuracy_table(table([(SRC, "Initial", 10.0, NAN, 1), (SRC, "After Training", 70.0, NAN, 1)]))
    axes = figure.axes[0]
    assert {text.get_text(): text.get_fontweight() for text in axes.texts if text.get_text() != "SRC"} == {
        "10.0": "normal",
        "70.0": "bold",
    }
    assert [tick.get_fontweight() for tick in axes.get_yticklabels()] == ["normal", "bold"]


def test_every_text_is_inside_the_picture_and_none_overlaps_another() -> None:
    figure = accuracy_table(comparison())
    boxes = drawn_boxes(figure)
    assert len(boxes) > 100
    assert [text for text, box in boxes if box.x0 < 0 or box.y0 < 0] == []
    assert [text for text, box in boxes if box.x1 > figure.bbox.x1 or box.y1 > figure.bbox.y1] == []
    assert [(one, other) for (one, a), (other, b) in combinations(boxes, 2) if a.overlaps(b)] == []


def test_a_figure_leaves_no_pyplot_figure_open() -> None:
    accuracy_table(comparison())
    assert plt.get_fignums() == []


def test_labels_say_what_tells_groups_of_one_approach_apart() -> None:
    groups = [
        SRC,
        SRC | {"settings": "sleep.inc=0.03"},
        {"approach": "Merge", "method": "merge", "settings": ""},
    ]
    rows = [(group, stage, 50.0, 1.0, n) for group, n in zip(groups, (1, 3, 2), strict=True) for stage in ("a", "b")]
    rows[2] = (*rows[2][:2], NAN, NAN, 0)
    assert group_labels(table(rows))[::2] == ["SRC", "SRC, sleep.inc=0.03 (n=3)", "Merge (n=2)"]
    assert group_labels(table(rows))[2] == group_labels(table(rows))[3]


def test_groups_without_an_approach_are_named_by_their_columns() -> None:
    rows = [({"method": "src", "sleep.inc": inc}, "Initial", 50.0, NAN, 1) for inc in ("0.01", "0.03")]
    assert group_labels(table(rows)) == ["method src, sleep.inc 0.01", "method src, sleep.inc 0.03"]


@pytest.mark.parametrize(
    ("groups", "rows", "title"),
    [
        (MAX_ROWS // 2, MAX_ROWS, "Accuracy (%)"),
        (MAX_ROWS, MAX_ROWS, "Accuracy (%), final stage only"),
        (MAX_ROWS + 30, MAX_ROWS, f"Accuracy (%), final stage, best {MAX_ROWS} of {MAX_ROWS + 30}"),
    ],
)
def test_too_many_rows_are_left_out_and_the_title_says_so(groups: int, rows: int, title: str) -> None:
    accuracies = [100 * index / groups for index in range(groups)]
    stages = table(
        [
            (SRC | {"settings": f"sleep.inc={index}"}, stage, accuracy, NAN, 1)
            for index, accuracy in enumerate(accuracies)
            for stage in ("Initial", "After Training")
        ]
    )
    axes = accuracy_table(stages).axes[0]
    assert len(axes.get_yticklabels()) == rows
    assert axes.get_title() == title
    if groups > MAX_ROWS:
        assert f"SRC, sleep.inc={groups - 1}" in [text.get_text() for text in axes.texts]
        assert "SRC, sleep.inc=0" not in [text.get_text() for text in axes.texts]
