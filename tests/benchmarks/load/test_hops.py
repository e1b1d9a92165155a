"""The way from an event to its coupon, followed back through whatever topics lie between."""

from typing import Any

import pytest

from benchmarks.load import hops
from benchmarks.load.hops import Hop
from stream_coupons.kafka.connection import Connection


class Read:
    """A record as a reader returns it."""

    def __init__(self, topic: str, offset: int, at_ms: int, origin: str = "") -> None:
        self.topic, self.partition, self.offset, self.timestamp = topic, 1, offset, at_ms
        self.key, self.value = b"k", f"{topic}-{offset}".encode()
        self.headers = [("origin", origin.encode())] if origin else []


def logs(*records: Read) -> dict[hops.Place, Read]:
    return {(record.topic, record.partition, record.offset): record for record in records}


def followed(monkeypatch: pytest.MonkeyPatch, log: dict[hops.Place, Read], *issues: Read) -> dict[str, list[hops.Step]]:
    def read(_: Connection, places: set[hops.Place]) -> list[Any]:
        return [log[place] for place in places if place in log]

    monkeypatch.setattr(hops, "_read", read)
    return hops.ways(Connection("nowhere:1"), issues, bytes.decode)


def test_a_way_has_as_many_hops_as_there_are_topics(monkeypatch: pytest.MonkeyPatch) -> None:
    log = logs(
        Read("cart-events", 5, 100), Read("wishes", 0, 130, "cart-events:1:5:0"), Read("cart-events", 6, 200)
    )  # fmt: skip
    long = Read("coupon-issues", 0, 190, "wishes:1:0:0")
    short = Read("coupon-issues", 1, 210, "cart-events:1:6:2")
    assert followed(monkeypatch, log, long, short) == {
        "coupon-issues-0": [("cart-events", 100.0), ("wishes", 130.0), ("coupon-issues", 190.0)],
        "coupon-issues-1": [("cart-events", 200.0), ("coupon-issues", 210.0)],
    }


def test_a_way_whose_beginning_is_gone_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    assert followed(monkeypatch, {}, Read("coupon-issues", 0, 190, "cart-events:1:5:0")) == {}


def test_hops_are_in_order_and_have_exact_percentiles() -> None:
    ways = [[("due", 0.0), ("cart-events", 1.0), ("coupon-issues", 1.0 + n), ("read", 2.0 + n)] for n in range(1, 101)]
    assert hops.summary(ways) == [
        Hop(source="due", target="cart-events", count=100, p50_ms=1.0, p99_ms=1.0),
        Hop(source="cart-events", target="coupon-issues", count=100, p50_ms=50.0, p99_ms=99.0),
        Hop(source="coupon-issues", target="read", count=100, p50_ms=1.0, p99_ms=1.0),
    ]


def test_a_topic_that_a_way_passes_twice_counts_twice() -> None:
    way = [("cart-events", 0.0), ("wishes", 1.0), ("wishes", 4.0), ("coupon-issues", 5.0)]
    assert [(hop.source, hop.target, hop.p50_ms) for hop in hops.summary([way])] == [
        ("cart-events", "wishes", 1.0), ("wishes", "wishes", 3.0), ("wishes", "coupon-issues", 1.0),
    ]  # fmt: skip


def test_milliseconds_that_are_cut_off_make_no_time_negative() -> None:
    assert hops.summary([[("due", 10.9), ("cart-events", 10.0)]])[0].p50_ms == 0.0


def test_nothing_has_no_hops() -> None:
    assert hops.summary([]) == []
