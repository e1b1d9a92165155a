"""Used coupons are learnt when unused ones are: not a window later."""

import random

import numpy as np
import pytest

from lab.foreign_logs import AT, DAY_S, HOUR_S, Record, feedback, issue, read
from stream_coupons.settings import Settings
from stream_coupons_lab.offline.expiries import Expiries
from stream_coupons_lab.offline.progressive_run import run
from stream_coupons_lab.offline.scored import Scored

MINUTE_S = 60.0


def labelled(*records: Record) -> dict[str, Scored]:
    ticking = issue("last", AT + 6 * DAY_S, user_id="nobody")
    return {one.issue_id: one for one in run(read([*records, ticking]), Settings())}


def answered(*answers: tuple[str, float], arm: str = "c1", first: int = 0) -> list[Record]:
    """An issue a minute, each answered so many seconds later."""
    records: list[Record] = []
    for n, (kind, delay_s) in enumerate(answers, start=first):
        at = AT + n * MINUTE_S
        records.append(issue(f"i{n}", at, user_id=f"u{n}", coupon={"coupon_id": arm}))
        if kind:
            records.append(feedback(kind, f"i{n}", at + delay_s))
    return records


def test_a_used_coupon_ends_when_unused_ones_do() -> None:
    log = answered(("expiry", 30.0), ("expiry", 50.0), ("expiry", 40.0), ("purchase", 5.0), ("purchase", 55.0))
    found = labelled(*log)
    assert [found[f"i{n}"].redeemed for n in range(5)] == [False, False, False, True, True]
    assert found["i3"].labelled_at == pytest.approx(found["i3"].occurred_at + 40.0)
    assert found["i4"].labelled_at == pytest.approx(found["i4"].occurred_at + 55.0), "not before its purchase"


def test_it_ends_as_those_of_its_own_arm_do_where_some_did() -> None:
    slow = answered(("expiry", 300.0), ("purchase", 1.0), arm="slow")
    fast = answered(("expiry", 20.0), ("purchase", 1.0), arm="fast", first=10)
    other = answered(("purchase", 1.0), arm="other", first=30)
    found = labelled(*slow, *fast, *other)
    took = {name: found[name].labelled_at - found[name].occurred_at for name in ("i1", "i11", "i30")}  # type: ignore[operator]
    assert took == {"i1": pytest.approx(300.0), "i11": pytest.approx(20.0), "i30": pytest.approx(300.0)}


def test_a_purchase_before_the_first_expiry_waits_for_it() -> None:
    found = labelled(*answered(("purchase", 1.0), ("expiry", 10.0)))
    first, second = found["i0"], found["i1"]
    assert second.labelled_at == second.occurred_at + 10.0
    assert first.labelled_at == second.labelled_at, "what is known since then is learnt, not as of before"


def test_where_few_unused_coupons_are_ended_used_ones_wait_for_their_window() -> None:
    silent = [("", 0.0)] * 8
    log = answered(*silent, ("expiry", 30.0), ("purchase", 5.0), *silent)
    assert labelled(*log)["i9"].labelled_at is None, "its seven days are not over"


def test_a_coupon_that_was_used_and_ended_tells_nothing_of_unused_ones() -> None:
    records = answered(("purchase", 5.0), ("expiry", 30.0), ("purchase", 5.0))
    records.append(feedback("expiry", "i0", AT + 1.0 + 5.0))
    found = labelled(*records)
    assert found["i0"].labelled_at == AT + 6.0
    assert found["i2"].labelled_at == found["i2"].occurred_at + 30.0


def test_each_use_is_due_once() -> None:
    expiries = Expiries()
    for at, issue_id in enumerate("abc"):
        expiries.add_issue(issue_id, "arm", at, 4.0)
    expiries.add_expiry("a", 2.0)
    expiries.add_use("b", 1.5)
    expiries.add_use("b", 2.5)
    assert expiries.take_due(3.0) == []
    assert expiries.take_due(3.5) == [("b", 3.0)]
    assert expiries.take_due(99.0) == []


def test_a_used_coupon_of_a_long_window_does_not_end_when_unused_ones_of_short_windows_do() -> None:
    expiries, ended = Expiries(), {}
    for n in range(40):
        window_s = 14.0 if n % 2 else 7.0
        expiries.add_issue(str(n), f"arm{n}", n / 100, window_s)
        if n % 4 < 2:
            expiries.add_use(str(n), n / 100 + 1.0)
    for now in np.arange(0.5, 16.0, 0.25).tolist():
        for n in range(40):
            if n % 4 >= 2 and now - 0.25 <= n / 100 + (14.0 if n % 2 else 7.0) < now:
                expiries.add_expiry(str(n), n / 100 + (14.0 if n % 2 else 7.0))
        ended |= {int(issue_id): at for issue_id, at in expiries.take_due(now)}
    assert ended == {n: pytest.approx(n / 100 + (14.0 if n % 2 else 7.0)) for n in range(40) if n % 4 < 2}


@pytest.mark.long
def test_what_is_learnt_of_a_log_with_early_expiries_is_not_that_nobody_buys() -> None:
    draw = random.Random(1)
    answers = [("purchase", 5.0) if draw.random() < 0.5 else ("expiry", HOUR_S / 60) for _ in range(400)]
    found = labelled(*answered(*answers))
    late = [found[f"i{n}"].p_redeem for n in range(200, 400)]
    assert np.mean(late) == pytest.approx(0.5, abs=0.12)
