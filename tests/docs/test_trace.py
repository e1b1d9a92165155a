"""The path of an event on its page is what docs/trace.py traces."""

import sys
from pathlib import Path
from types import ModuleType

import pytest

from .pages import script


@pytest.fixture(scope="module")
def trace() -> ModuleType:
    return script("trace")


def test_the_page_is_fresh(trace: ModuleType) -> None:
    assert trace.page() == trace.PAGE.read_text(encoding="utf-8"), "python docs/trace.py"


def test_two_traces_are_the_same_and_leave_no_profiler(trace: ModuleType) -> None:
    assert trace.traced() == trace.traced()
    assert sys.getprofile() is None


def test_an_event_without_a_coupon_is_refused(trace: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    first, *_ = trace.events()
    monkeypatch.setattr(trace, "events", lambda: iter([first, first]))  # a duplicate
    with pytest.raises(ValueError, match="not to a record of coupon-issues"):
        trace.traced()


def test_the_tree_indents_rooms_and_lists_a_repeated_call_once(trace: ModuleType) -> None:
    calls = [
        trace.Call("runtime/batch", "apply", 0),
        trace.Call("runtime/batch", "_attempt", 1),
        trace.Call("core/draws", "joined", 2),
        trace.Call("core/draws", "joined", 2),
        trace.Call("runtime/batch", "save", 0),
    ]
    assert list(trace.tree(calls)) == ["runtime/batch: apply", "  core/draws: joined", "runtime/batch: save"]
    assert list(trace.rows(calls)) == [
        "| runtime | batch | 3 | `apply`, `_attempt`, `save` |",
        "| core | draws | 2 | `joined` |",
    ]


def test_a_stale_page_is_named(
    trace: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    edited = tmp_path / "page.md"
    edited.write_text(
        trace.PAGE.read_text(encoding="utf-8").replace("BatchProcessor.apply", "BatchProcessor.other"), encoding="utf-8"
    )
    monkeypatch.setattr(trace, "PAGE", edited)
    monkeypatch.setattr("sys.argv", ["trace.py", "--check"])
    assert trace.main() == 1
    assert "life-of-an-event.md is stale" in capsys.readouterr().err
    monkeypatch.setattr("sys.argv", ["trace.py"])
    assert trace.main() == 0
    monkeypatch.setattr("sys.argv", ["trace.py", "--check"])
    assert trace.main() == 0
