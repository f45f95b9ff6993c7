"""The dataset settings: presets that load, and one-line refusals."""

import typing
from pathlib import Path
from typing import Any

import pytest
import yaml

from src_lab.data import DATASETS, SCHEMAS, DatasetConfig, load_stream
from src_lab.data.config import NUM_CLASSES, DatasetName
from src_lab.settings import ConfigError, build

PRESETS = Path(__file__).parents[2] / "conf" / "dataset"
MNIST = {"name": "mnist", "num_tasks": 5, "classes_per_task": 2}


def preset(name: str) -> dict[str, Any]:
    return yaml.safe_load((PRESETS / f"{name}.yaml").read_text())


def test_every_name_has_a_table_entry_a_class_count_and_a_preset() -> None:
    names = set(typing.get_args(DatasetName))
    assert set(DATASETS) == {path.stem for path in PRESETS.glob("*.yaml")} == names
    assert set(NUM_CLASSES) == names - {"features"}, "whose classes are those of the file"
    assert all(preset(name)["name"] == name for name in names)


@pytest.mark.parametrize(
    ("name", "train", "validation", "test", "shape"),
    [
        ("mnist", [5000] * 5, [1000] * 5, [2115, 2042, 1874, 1986, 1983], (28, 28)),
        ("fashion_mnist", [5000] * 5, [1000] * 5, [2000] * 5, (28, 28)),
        ("digits", [248, 248, 250, 248, 243], [40] * 5, [72, 72, 73, 72, 71], (8, 8)),
        ("permuted_mnist", [5000] * 5, [1000] * 5, [10000] * 5, (28, 28)),
        ("cross_modal", [60000] * 2, [0] * 2, [10000] * 2, (28, 28)),
        ("patches", [2] * 2, [0] * 2, [2] * 2, (10, 10)),
    ],
)
def test_preset_loads(
    name: str, train: list[int], validation: list[int], test: list[int], shape: tuple[int, int], root: Path
) -> None:
    settings = build(SCHEMAS.get(name, DatasetConfig), {**preset(name), "root": str(root)}, "dataset")
    stream = load_stream(settings, seed=0)
    assert (stream.name, stream.num_classes, stream.image_shape) == (name, NUM_CLASSES[name], shape)
    assert [len(task.train) for task in stream.tasks] == train
    assert [len(task.validation) for task in stream.tasks] == validation
    assert [len(task.test) for task in stream.tasks] == test


@pytest.mark.parametrize("name", typing.get_args(DatasetName))
def test_preset_states_every_setting_with_its_source(name: str) -> None:
    lines = [line for line in (PRESETS / f"{name}.yaml").read_text().splitlines() if not line.startswith(("#", "name:"))]
    assert {line.partition(":")[0] for line in lines} == set(SCHEMAS.get(name, DatasetConfig).__dataclass_fields__) - {
        "name"
    }
    assert all("  # " in line for line in lines)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ({"name": "mnits"}, "dataset.name=mnits is not allowed: must be one of mnist, fashion_mnist, digits, permuted"),
        ({"num_tasks": 0}, "dataset.num_tasks=0 is not allowed: must be a whole number >= 1"),
        ({"num_tasks": 2.5}, "dataset.num_tasks=2.5 is not allowed"),
        ({"classes_per_task": None}, "dataset.classes_per_task=null is not allowed"),
        ({"samples_per_task": 0}, "dataset.samples_per_task=0 is not allowed: must be a whole number >= 1 or a list"),
        ({"samples_per_task": [5, 5, 5, 5, 0]}, "dataset.samples_per_task=[5,5,5,5,0] is not allowed"),
        (
            {"samples_per_task": [5, 5]},
            "dataset.samples_per_task=[5,5] has 2 values but the stream has 5 tasks: give one number, or one per task",
        ),
        ({"imbalance": 0.5}, "dataset.imbalance=0.5 is not allowed: must be a number >= 1, the ratio"),
        ({"imbalance": 0}, "dataset.imbalance=0 is not allowed: must be a number > 0"),
        (
            {"imbalance": [1, 0.5]},
            "dataset.imbalance=[1.0,0.5] is not allowed: must be a number >= 1, or a list of 10 shares",
        ),
        (
            {"imbalance": [2.0] + [1] * 9},
            "must be a number >= 1, or a list of 10 shares > 0 and <= 1, one per class of mnist",
        ),
        ({"imbalance": [0] + [1] * 9}, "dataset.imbalance=[0,1,1,1,1,1,1,1,1,1] is not allowed"),
        ({"overlap": 5}, "dataset.overlap is not a setting"),
        ({"name": "cross_modal"}, "dataset.classes_per_task=2 is not allowed with dataset=cross_modal: every task has all"),
        (
            {"name": "cross_modal", "classes_per_task": 10},
            "dataset.num_tasks=5 is not allowed with dataset=cross_modal: it has two tasks",
        ),
        ({"samples_per_task": "all"}, "dataset.samples_per_task=all is not allowed"),
        ({"validation_per_task": -1}, "dataset.validation_per_task=-1 is not allowed: must be a whole number >= 0"),
        (
            {"num_tasks": 6},
            "dataset.num_tasks=6 times dataset.classes_per_task=2 is 12 classes: must be at most the 10",
        ),
        ({"num_tasks": 1, "classes_per_task": 11}, "is 11 classes: must be at most the 10 of mnist"),
        (
            {"task_order": [0, 1, 2, 3, 3]},
            "dataset.task_order=[0,1,2,3,3] is not allowed: must be random, null, or a list",
        ),
        ({"task_order": [0, 1, 2, 3]}, "each of the task indices 0 to 4 once, e.g. dataset.task_order=[4,3,2,1,0]"),
        ({"task_order": [1, 2, 3, 4, 5]}, "dataset.task_order=[1,2,3,4,5] is not allowed"),
        ({"task_order": "reversed"}, "dataset.task_order=reversed is not allowed"),
        ({"name": "permuted_mnist"}, "dataset.classes_per_task=2 is not allowed with dataset=permuted_mnist"),
        ({"name": "patches", "num_tasks": 3}, "is 6 classes: must be at most the 4 of patches, e.g. dataset.num_tasks=2"),
        (
            {"name": "patches", "num_tasks": 2, "overlap": 26},
            "dataset.overlap=26 is not allowed: must be a whole number >= 0",
        ),
        ({"name": "patches", "num_tasks": 2, "active_pixels": 0}, "dataset.active_pixels=0 is not allowed"),
        (
            {"name": "patches", "num_tasks": 2, "validation_per_task": 1},
            "dataset.validation_per_task=1 is not allowed with dataset=patches: a class is one image",
        ),
        ({"name": "features"}, "dataset.path=null names no file: dataset=features needs one, dataset.path=FILE"),
        ({"name": "features", "path": "no/such.npz"}, "dataset.path=no/such.npz cannot be read (No such file or directory)"),
        ({"name": "features", "path": "a.npz", "divisor": 0}, "dataset.divisor=0 is not allowed"),
        ({"root": " "}, "dataset.root= is empty"),
        ({"root": 3}, "dataset.root=3 is not allowed"),
        ({"sample_per_task": 5}, "did you mean dataset.samples_per_task?"),
    ],
)
def test_refuses_before_any_data_is_read(override: dict[str, Any], message: str) -> None:
    schema = SCHEMAS.get(override.get("name", ""), DatasetConfig)
    with pytest.raises(ConfigError) as refusal:
        build(schema, {**MNIST, **override}, "dataset")
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            {"samples_per_task": 11264},
            "dataset.samples_per_task=11264 is too many: task 2 (classes 4, 5) of mnist has 11263 training images",
        ),
        (
            {"samples_per_task": 11000, "validation_per_task": 264, "task_order": [4, 3, 2, 1, 0]},
            "dataset.samples_per_task=11000 and dataset.validation_per_task=264 are too many together: "
            "task 2 (classes 4, 5) of mnist has 11263 training images; lower one, e.g. dataset.validation_per_task=263",
        ),
        (
            {"samples_per_task": [1, 1, 11264, 1, 1]},
            "dataset.samples_per_task=11264 is too many: task 2 (classes 4, 5) of mnist has 11263 training images",
        ),
        (
            {"validation_per_task": 11263},
            "dataset.validation_per_task=11263 is too many: task 2 (classes 4, 5) of mnist has 11263 training images",
        ),
    ],
)
def test_refuses_more_images_than_a_task_has(override: dict[str, Any], message: str, root: Path) -> None:
    with pytest.raises(ConfigError) as refusal:
        load_stream(DatasetConfig(**MNIST, **override, root=str(root)), seed=0)
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)
