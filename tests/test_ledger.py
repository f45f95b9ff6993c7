"""Ledgers: rows of known keys, added at once by any number of processes, and what a damaged file says."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from src_lab.cost import expected_seconds, missing_line
from src_lab.ledger import Ledger, number
from src_lab.settings import ConfigError

HEADER = "name,note,value"


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "new" / "some.csv", "name", ("name", "note", "value"), ("name",), ("value",), "task_")


def test_there_are_no_rows_without_a_file(ledger: Ledger) -> None:
    assert ledger.rows() == {}
    ledger.add([])
    assert not ledger.path.parent.exists()


def test_rows_are_added_sorted_and_replaced_by_key(ledger: Ledger) -> None:
    ledger.add([{"name": "b", "note": "x, y", "value": 1.5}])
    ledger.add([{"name": "a", "note": None, "value": float("nan"), "task_0": 3}, {"name": "b", "value": 2}])
    assert ledger.path.read_text() == f"{HEADER},task_0\na,,,3\nb,,2,\n"
    assert list(ledger.rows()) == ["a", "b"]
    assert number(ledger.rows()["b"], "value") == 2
    assert number(ledger.rows()["a"], "value") != number(ledger.rows()["a"], "value")


def test_writers_side_by_side_lose_no_row(ledger: Ledger) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda index: ledger.add([{"name": f"{index:02}", "value": index}]), range(24)))
    assert [number(row, "value") for row in ledger.rows().values()] == list(range(24))
    assert [path.name for path in ledger.path.parent.iterdir()] == ["some.csv"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", ":1: the columns are : they must be name,note,value, then task_..;"),
        ("name,value\n", ":1: the columns are name,value: they must be name,note,value"),
        (f"{HEADER},other\n", ":1: the columns are name,note,value,other: they must be"),
        (f"{HEADER}\na,,1\n=======\n", ":3: 1 of 3 columns"),
        (f"{HEADER}\na,,1\nb,,1,1\n", ":3: 4 of 3 columns"),
        (f"{HEADER}\n,,1\n", ":2: name is empty"),
        (f"{HEADER}\na,,many\n", ":2: value=many is not a number"),
        (f"{HEADER}\na,,inf\n", ":2: value=inf is not a number"),
        (f"{HEADER},task_0\na,,1,x\n", ":2: task_0=x is not a number"),
        (f"{HEADER}\na,,1\na,,2\n", ":3: name=a stands twice"),
    ],
)
def test_a_damaged_file_is_named_and_left_as_it_is(text: str, message: str, ledger: Ledger) -> None:
    ledger.path.parent.mkdir()
    ledger.path.write_text(text)
    with pytest.raises(ConfigError) as raised:
        ledger.add([{"name": "z"}])
    assert str(raised.value).startswith(f"{ledger.path}{message}")
    assert str(raised.value).endswith(f"git checkout {ledger.path}")
    assert ledger.path.read_text() == text


def test_missing_runs_are_judged_by_the_nearest_that_are_there() -> None:
    done = [(("owm", "mnist"), 10.0), (("owm", "mnist"), 20.0), (("src", "mnist"), 60.0), (("src", "other"), float("nan"))]
    assert expected_seconds(("owm", "mnist"), done) == 15
    assert expected_seconds(("ewc", "mnist"), done) == 30
    assert expected_seconds(("ewc", "cifar"), done) == 30
    assert missing_line("mnist", [("owm", "mnist")] * 240, done) == "mnist: 240 runs missing, about 1.0 CPU hours"
    assert missing_line("mnist", [("owm", "mnist")], []) == "mnist: 1 run missing, nothing yet to judge their time by"
    assert missing_line("mnist", [], done) == "mnist: nothing is missing"
