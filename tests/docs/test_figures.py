"""The tables of figures are what docs/figures.py wrote from measured results: nobody types a figure."""

import re
from types import ModuleType
from typing import Any

import pytest

from .pages import PAGES, ROOT, page, script

VALUE = {"value": 0.5, "low": 0.25, "high": 0.75}


@pytest.fixture(scope="module")
def figures() -> ModuleType:
    return script("figures")


def test_the_tables_are_those_of_the_results(figures: ModuleType) -> None:
    results = figures.with_trials(figures.kept_figures())
    for name, path in figures.PAGES.items():
        assert figures.page_with(page(path), name, results) == page(path), "python docs/figures.py --render"


def test_every_marker_names_a_table_or_the_module_that_writes_it(figures: ModuleType) -> None:
    marked = {name: path for path in PAGES for name in figures.PAGES if f"<!-- figures: {name} -->" in page(path)}
    assert marked == figures.PAGES
    commands = {command for path in PAGES for command in re.findall(r"<!-- figures: (.+?) -->", page(path))}
    modules = [ROOT / command.split()[2].replace(".", "/") for command in commands - marked.keys()]
    assert all(path.with_suffix(".py").exists() or (path / "__main__.py").exists() for path in modules)


def test_a_table_states_its_figures_and_its_origin(figures: ModuleType) -> None:
    origin = {"date": "2026-01-02", "commit": "abc1234", "machine": "2 cores"}
    row: dict[str, Any] = {"examples": 40, "positives": 7, "log_loss": VALUE, "base_log_loss": 0.6, "roc_auc": VALUE}
    text = figures.rendered("learning", {"learning": {"origin": origin, "figures": {"travel": row}}})
    assert "| travel | 40 | 7 | 0.500 (0.250, 0.750) | 0.600 | 0.500 (0.250, 0.750) |" in text
    assert "2026-01-02 at commit abc1234" in text
    assert "busy" not in text
    assert figures.rendered("learning", {}) == ""


def test_a_table_says_that_the_machine_was_busy(figures: ModuleType) -> None:
    origin = {"date": "2026-01-02", "commit": "abc1234", "machine": "2 cores", "load": 7.5}
    made = {"origin": origin, "figures": {"rows": [], "repeats": 1}}
    assert "The machine was busy with other work (load 7.5)" in figures.rendered("peers", {"peers": made})


def test_a_rate_that_is_saturated_has_no_latency_in_the_table(figures: ModuleType) -> None:
    latency = {"p50_ms": 41.4, "p99_ms": 120.0, "p999_ms": 180.6}
    row = {
        "rate": 1000.0, "worker_cpu_us_per_event": 512.3, "cores_used": 0.512, "batches_per_s": 220.4,
        "events_per_batch": 4.54, "is_saturated": False, "latency": latency, "floor": {"p50_ms": 1.7},
    }  # fmt: skip
    saturated = row | {"rate": 3000.0, "is_saturated": True, "latency": dict.fromkeys(latency)}
    table = figures.live_table({"at_least_once": {"rates": [saturated, row]}})
    assert table[2:] == [
        "| 1,000 | `at_least_once` | 512 | 0.51 | 220 | 4.5 | 41 | 120 | 181 | 2 |",
        "| 3,000 | `at_least_once` | 512 | 0.51 | 220 | 4.5 | saturated | | | 2 |",
    ]
    assert len({line.count("|") for line in table}) == 1


def test_peers_that_do_not_keep_up_have_no_latency_in_the_table(figures: ModuleType) -> None:
    row = {"rate": 300.0, "runtime": "ours", "cpu_us": 1512.3, "cores_used": 0.45, "is_saturated": False}
    rows = [row | {"p50_ms": 41.4, "p99_ms": 120.0}, row | {"is_saturated": True, "p50_ms": None, "p99_ms": None}]
    table = figures.peers_table({"rows": rows, "repeats": 3})
    assert table[-1] == "Medians of 3 runs of each."
    assert table[2:4] == ["| 300 | ours | 1,512 | 0.45 | 41 | 120 |", "| 300 | ours | 1,512 | 0.45 | saturated | |"]


def test_trials_of_one_name_and_guarantee_have_a_row(figures: ModuleType) -> None:
    counts = {"form": "long", "commit": "abc1234", "events": 1000, "kills": 2, "issues": 30, "violations": 0}
    names = ["1-at_least_once-kafka-soon", "2-at_least_once-kafka-late", "1-exactly_once-kafka-soon"]
    rows = [counts | {"trial": f"test_workers.py::test_a_worker_dies[{name}]"} for name in names]
    table = figures.faults_table({"trials": [*rows, {"trial": "test_learner.py::test_it_learns[kafka]", **counts}]})
    assert table[2:-2] == [
        "| a worker dies | `at_least_once` | 2 | 2,000 | 4 | 0 | 60 | 0 | 0 |",
        "| a worker dies | `exactly_once` | 1 | 1,000 | 2 | 0 | 30 | 0 | 0 |",
        "| it learns |  | 1 | 1,000 | 2 | 0 | 30 | 0 | 0 |",
    ]
    assert table[-1].startswith("Long form of 4 trials, seeds 1, 2, at commits abc1234;")
