"""Folders to report about, and a headless Chromium to open the pages in."""

import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image, ImageDraw
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service

from tests.make_runs import make_run

STEPS = [0, 50, 100, 150, 200]
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--hide-scrollbars",
)
STAGES = [
    ("Initial", (10.0, 20.0, 15.0)),
    ("After Task 0", (90.0, 0.0, 45.0)),
    ("After Sleep 0", (91.0, 0.0, 45.5)),
    ("After Task 1", (5.0, 95.0, 50.0)),
    ("After Sleep 1", (80.0, 85.0, 82.5)),
    ("After Training", (80.0, 85.0, 82.5)),
]


def drawn(step: int, size: tuple[int, int] = (200, 120)) -> bytes:
    """A picture that says which step it is."""
    image = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(image)
    pen.rectangle((10, 60, 10 + step * 180 // 200, 100), fill=(0, 114, 178))
    pen.text((10, 20), f"step {step}", fill="black")
    buffer = io.BytesIO()
    image.save(buffer, format="png", dpi=(96, 96))
    return buffer.getvalue()


def add_accuracy(folder: Path) -> None:
    """The accuracies of `STAGES` as accuracy.csv."""
    names = {"Initial": "initial", "After Training": "final"}
    rows = []
    for title, percents in STAGES:
        _, kind, *task = title.split() if title not in names else ("", names[title])
        stage = {"Task": "train", "Sleep": "sleep"}.get(kind, kind)
        for index, percent in enumerate(percents[:-1]):
            trained = int(task[0]) if task else None
            rows.append(
                {"stage": stage, "trained_task": trained, "eval_task": index, "accuracy": percent / 100, "n_test": 10}
            )
    fixed = {
        "run_id": "r",
        "dataset": "digits",
        "model": "mlp",
        "method": "src",
        "seed": 0,
        "sleep_step": None,
        "n_test": 10,
    }
    pd.DataFrame([fixed | row for row in rows]).to_csv(folder / "accuracy.csv", index=False)


def add_trace(folder: Path) -> None:
    """Two sleeps of `STEPS`, in which the first task comes back, as sleep_trace.csv."""
    rows = [
        {
            "trained_task": task,
            "sleep_step": step,
            "Task 0": 0.9 if task == 0 else step / 250,
            "Task 1": 0.9 * task,
            "Task All": 0.5,
            "validation": 0.5,
        }
        | {f"spikes_{layer}": step * 5 // layer for layer in (1, 2)}
        | {f"grown_{layer}": step / 1000 for layer in (1, 2)}
        | {f"shrunk_{layer}": step / 100 for layer in (1, 2)}
        for task in (0, 1)
        for step in STEPS[1:]
    ]
    pd.DataFrame(rows).to_csv(folder / "sleep_trace.csv", index=False)


def add_analysis(folder: Path) -> None:
    """What an analysis leaves: one figure, and one animation with a frame for each of `STEPS`."""
    analysis = folder / "analysis"
    (analysis / "figures" / "frames").mkdir(parents=True)
    (analysis / "ranks.csv").write_text("layer,stable_rank\n1,12.5\n2,3.25\n")
    (analysis / "figures" / "ranks.png").write_bytes(drawn(100, (1200, 300)))
    words = {"section": "Looking inside", "how_to_read": "Lower bars are simpler weights.", "csv": "ranks.csv"}
    figure = {"file": "ranks.png", "title": "Ranks", "alt": "Bars of stable ranks.", **words}
    frames = [f"frames/{step}.png" for step in STEPS]
    for name, step in zip(frames, STEPS, strict=True):
        (analysis / "figures" / name).write_bytes(drawn(step))
    animation = {"title": "Weights in sleep", "alt": "A bar that grows.", "frames": frames, "steps": STEPS, **words}
    (analysis / "figures.json").write_text(json.dumps([figure]))
    (analysis / "animations.json").write_text(json.dumps([animation]))


def make_full_run(folder: Path) -> Path:
    """A run with everything that a report can show."""
    make_run(folder, accuracy=0.825, stages=STAGES, metrics={"git_commit": "0123456789abcdef+", "threads": 1})
    add_accuracy(folder)
    add_trace(folder)
    add_analysis(folder)
    return folder


@pytest.fixture
def full_run(tmp_path: Path) -> Path:
    return make_full_run(tmp_path / "run")


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    """Debian's Chromium, with its console and its network requests on record."""
    options = ChromeOptions()
    options.binary_location = str(shutil.which("chromium"))
    downloads = tmp_path_factory.mktemp("downloads")
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    driver = Chrome(options=options, service=Service(shutil.which("chromedriver")))
    driver.downloads = downloads
    yield driver
    driver.quit()
