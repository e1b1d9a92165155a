"""A worker of which a part has work and does none of it is ended, and one that hangs on its way out; no other is."""

import asyncio
from collections.abc import Hashable, Mapping, Sequence

import pytest

from stream_coupons.worker import watchdog
from stream_coupons.worker.watchdog import Watchdog

Progress = Mapping[Hashable, int]


class App:
    """Told to stop once all values were looked at; then it hangs."""

    def __init__(self, values: Sequence[Progress]) -> None:
        self.values = list(values)
        self.crashed = False
        self.crash_reason: BaseException | None = None
        self.loop: asyncio.AbstractEventLoop | None = None

    @property
    def should_stop(self) -> bool:
        return not self.values

    def progress(self) -> Progress:
        return self.values.pop(0)


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Time passes only by sleeping."""
    slept: list[float] = []
    monkeypatch.setattr(watchdog.logging, "shutdown", lambda: None)
    return slept


def watch(app: App, stalled_after_s: float, slept: list[float]) -> list[int]:
    ended: list[int] = []
    Watchdog(app, app.progress, lambda: None, stalled_after_s, ended.append, slept.append).run()
    return ended


GETTING_ON: list[Progress] = [{"a": n, "b": n // 2} for n in range(20)]
IDLE: list[Progress] = [{}] * 20
NOW_AND_THEN: list[Progress] = [{"a": 1}, {}] * 10


@pytest.mark.parametrize("values", [GETTING_ON, IDLE, NOW_AND_THEN])
def test_it_lets_be_who_gets_on_or_has_nothing_to_do(
    values: list[Progress], slept: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    app = App(values)
    assert watch(app, 1.0, slept) == [1], "it hung on its way out"
    assert app.values == []
    assert slept[-1] == watchdog.LEAVING_S
    assert "though there is work" not in caplog.text


def test_it_ends_who_has_work_in_a_part_and_does_none_whatever_the_others_do(
    slept: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    app = App([{}, *({"a": n, "b": 7} for n in range(7))])
    assert watch(app, 1.0, slept) == [1]
    assert len(app.values) == 3
    assert sum(slept) == 2.5
    assert "though there is work: ['b']" in caplog.text


def test_it_tells_where_every_task_waits(slept: list[float], caplog: pytest.LogCaptureFixture) -> None:
    app = App([{"a": 1}] * 9)
    app.loop = asyncio.new_event_loop()

    async def stand_still() -> None:
        await asyncio.Event().wait()

    async def work() -> None:
        await stand_still()

    task = app.loop.create_task(work(), name="the worker")
    app.loop.run_until_complete(asyncio.sleep(0))
    watch(app, 1.0, slept)
    assert caplog.messages[-1] == "the worker ends: no record was done for 1 s though there is work: ['a']"
    place = caplog.text[caplog.text.index("the worker waits in ") :].splitlines()[0]
    assert [part.split()[-1] for part in place.split(" < ")] == ["wait", "stand_still", "work"]
    task.cancel()
    app.loop.run_until_complete(asyncio.wait([task]))
    app.loop.close()


def test_who_crashed_gets_less_time_to_go_and_the_last_line_says_of_what(
    slept: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    app = App([])
    app.crashed, app.crash_reason = True, OSError("no more files")
    assert watch(app, 1.0, slept) == [1]
    assert slept == [watchdog.CRASHED_S]
    assert caplog.messages[-1] == "the worker ends: OSError('no more files')"
