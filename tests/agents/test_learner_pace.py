"""The pace of the learner: when it leaves out more examples, and when fewer."""

import pytest

from stream_coupons.agents.learner_pace import BEHIND_S, Pace
from stream_coupons.core.messages.learning import MAX_THINNING

EVERY_S = 5.0


class Times:
    """A clock that is set by hand, and a pace by it."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.pace = Pace(EVERY_S, lambda: self.now, lambda: self.now)
        self.pace.take(self.now)

    def step(self, lag_s: float, waited_s: float = 0.0, thinning: int = 0, after_s: float = EVERY_S) -> int:
        """Let time pass, at the end of which an example of this age is taken."""
        self.now += after_s
        self.pace.wait(waited_s, in_vain=False)
        self.pace.take(self.now - lag_s)
        return self.pace.step(thinning)


def test_growing_lag_leaves_out_more_and_a_backlog_that_is_soon_gone_does_not() -> None:
    times = Times()
    assert [times.step(lag_s) for lag_s in (5.0, 12.0, 17.0, 17.0)] == [0, 1, 1, 1]
    assert [times.step(lag_s) for lag_s in (16.5, 15.0, 11.0)] == [0, 0, 0]


def test_a_backlog_that_takes_hours_is_not_learnt_whole() -> None:
    times = Times()
    times.step(7200.0)
    assert times.step(7199.0) == 1
    assert times.step(7100.0) == 0


def test_time_to_spare_leaves_out_fewer_once_it_is_not_behind() -> None:
    times = Times()
    assert times.step(0.1, waited_s=4.0, thinning=2) == -1
    assert times.step(0.1, waited_s=2.0, thinning=2) == 0, "twice the examples would take all of the time"
    assert times.step(BEHIND_S + 1.0, waited_s=4.0, thinning=2) == 1
    assert times.step(BEHIND_S + 0.5, waited_s=4.0, thinning=2) == 0


def test_steps_are_no_more_frequent_than_usual_snapshots() -> None:
    times = Times()
    assert [times.step(20.0, after_s=1.0) for _ in range(6)] == [0, 0, 0, 0, 1, 0]


def test_a_backlog_at_the_start_is_no_growth() -> None:
    times = Times()
    times.pace.begin()
    assert times.pace.step(0) == 0
    times.step(3600.0, after_s=0.0)
    assert times.step(3500.0) == 0


def test_a_wait_in_vain_ends_the_lag() -> None:
    times = Times()
    times.step(20.0)
    times.pace.wait(0.5, in_vain=True)
    assert times.pace.lag_s == 0.0


@pytest.mark.parametrize(("thinning", "is_overrun"), [(MAX_THINNING - 1, False), (MAX_THINNING, True)])
def test_it_is_overrun_if_it_falls_behind_at_the_highest_level(thinning: int, is_overrun: bool) -> None:
    times = Times()
    times.step(20.0, thinning=thinning)
    assert times.pace.is_overrun == is_overrun
    times.step(1.0, thinning=thinning)
    assert not times.pace.is_overrun
