"""A worker that has work and does none of it is ended, and one that hangs on its way out; no other is."""

from collections.abc import Sequence

import pytest

from stream_coupons.runtime import watchdog
from stream_coupons.runtime.watchdog import Watchdog


class App:
    """Told to stop once all values were looked at; then it hangs."""

    def __init__(self, values: Sequence[int | None]) -> None:
        self.values = list(values)
        self.crashed = False

    @property
    def should_stop(self) -> bool:
        return not self.values

    def progress(self) -> int | None:
        return self.values.pop(0)


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Time passes only by sleeping."""
    slept: list[float] = []
    monkeypatch.setattr(watchdog.time, "monotonic", lambda: sum(slept))
    monkeypatch.setattr(watchdog.logging, "shutdown", lambda: None)
    return slept


def watch(app: App, stalled_after_s: float, slept: list[float]) -> list[int]:
    ended: list[int] = []
    Watchdog(app, app.progress, stalled_after_s, ended.append, slept.append).run()
    return ended


@pytest.mark.parametrize("values", [[1, 2, 3, 4] * 5, [None] * 20, [1, None] * 10])
def test_it_lets_be_who_gets_on_or_has_nothing_to_do(
    values: list[int | None], slept: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    app = App(values)
    assert watch(app, 1.0, slept) == [1], "it hung on its way out"
    assert app.values == []
    assert slept[-1] == watchdog.LEAVING_S
    assert "though there is work" not in caplog.text


def test_it_ends_who_has_work_and_does_none(slept: list[float], caplog: pytest.LogCaptureFixture) -> None:
    app = App([None, 7, 7, 7, 7, 7, 7, 7])
    assert watch(app, 1.0, slept) == [1]
    assert len(app.values) == 3
    assert sum(slept) == 2.5
    assert "though there is work" in caplog.text


def test_who_crashed_gets_less_time_to_go(slept: list[float]) -> None:
    app = App([])
    app.crashed = True
    assert watch(app, 1.0, slept) == [1]
    assert slept == [watchdog.CRASHED_S]
