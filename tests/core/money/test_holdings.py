"""Sums over the holdings of an account: they are those of its holdings after any reports, under any terms."""

import math
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from stream_coupons.core.messages.leases import LeaseReport
from stream_coupons.core.money.accounts import Limit
from stream_coupons.core.money.holdings import Holding, Holdings
from stream_coupons.core.money.purses import first_lease
from stream_coupons.runtime.steps import SharedStates
from tests.core.builders import OwnedAccount, restarted

PARTITIONS = 3
AMOUNT = st.integers(0, 300)
LINE = st.tuples(st.floats(0.0, 1e6), st.floats(0.0, 1e-3))
TERMS = {
    "stock": {"is_stock": True, "unit_minor": 100},
    "priced": {"hold": "quantile", "curve": "even", "starts_at": 0.0, "ends_at": 5_000.0},
    "codes": {"is_stock": True, "revoked": frozenset[int]()},
}


@st.composite
def reports(draw: st.DrawFn) -> LeaseReport:
    """Return any report, also one of totals that shrink, as a report that arrives late has them."""
    totals: dict[str, Any] = {
        name: draw(AMOUNT)
        for name in ("version", "granted", "returned", "drawn", "freed", "spent", "refunded", "closed")
    }
    return LeaseReport(
        account_id="a", partition=draw(st.integers(0, PARTITIONS - 1)), at=draw(st.floats(0.0, 5_000.0)),
        asks=draw(st.booleans()), expected=draw(LINE), variance=draw(LINE), **totals,
    )  # fmt: skip


@given(
    st.sampled_from(list(TERMS)),
    st.lists(st.tuples(reports(), st.sampled_from([None, 0, 100, 1_000]), st.sampled_from([1, 40])), max_size=12),
    st.booleans(),
)
def test_sums_are_those_of_the_holdings_after_any_reports(
    kind: str, told: list[tuple[LeaseReport, int | None, int]], restarts: bool
) -> None:
    account, terms = OwnedAccount(), dict[str, Any](TERMS[kind])
    for report, most, quantum in told:
        limit = Limit(most, 1 if terms.get("is_stock") else quantum, **terms)
        account = restarted(account) if restarts else account
        account.take(report, limit, PARTITIONS)
        check(account, limit)


def check(account: OwnedAccount, limit: Limit) -> None:
    """Compare sums and order of waiting with those over all holdings."""
    holdings = Holdings(account.state, SharedStates(account.kept, Holding), limit, PARTITIONS)
    every = [holdings.get(number) for number in range(PARTITIONS)]
    sums = account.state.sums
    assert sums.drawn == sum(one.committed for one in every)
    assert sums.spent == sum(one.spent - one.refunded for one in every)
    assert sums.closed == sum(one.closed for one in every)
    assert sums.idle == sum(max(one.available, 0) for one in every)
    assert sums.taken == sum(one.taken(first_lease(limit, PARTITIONS, n)) for n, one in enumerate(every))
    for line, parts in (
        (sums.expected, [one.expected for one in every]),
        (sums.variance, [one.variance for one in every]),
    ):
        assert math.isclose(line.level, sum(part.level for part in parts), rel_tol=1e-9, abs_tol=1e-6)
        assert math.isclose(line.slope, sum(part.slope for part in parts), rel_tol=1e-9, abs_tol=1e-15)
    assert [number for *_, number in account.state.waiting] == sorted(
        (number for number, one in enumerate(every) if one.is_waiting), key=lambda number: urgency(every, number, limit)
    )


def urgency(every: list[Holding], number: int, limit: Limit) -> tuple[bool, int, int]:
    """Return the order in which requests are granted: those below the least useful amount first."""
    has = max(every[number].available, 0)
    return (False, limit.quantum - has, number) if has < limit.quantum else (True, has, number)
