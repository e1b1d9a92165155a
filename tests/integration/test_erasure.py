"""Whoever asks to be forgotten is forgotten by workers that run; in the end only the time of the request is kept."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from loopback_kafka import BrokerProcess
from stream_coupons.agents.users import Users
from stream_coupons.core.decision.erasure import STAYS_S
from stream_coupons.core.shopper.state import Shopper
from stream_coupons.kafka import topics
from stream_coupons.kafka.settings import Guarantee
from stream_coupons.runtime.cells import CellCodec
from stream_coupons.testing import browse, erasure, item
from stream_coupons_lab.demo.system import LocalSystem

from .builders import AT, DAY_S, IDLE_WITHIN_S, coupon, messages, records, send_ticks, settings, total

pytestmark = pytest.mark.kafka

CODEC = CellCodec(Users.state_type)
MARK_BYTES = 256
USERS, CELLS = topics.changelog("users").name, topics.changelog("cells").name


@pytest.fixture(params=[Guarantee.AT_LEAST_ONCE, pytest.param(Guarantee.EXACTLY_ONCE, marks=pytest.mark.slow)])
def system(empty_broker: BrokerProcess, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[LocalSystem]:
    system = LocalSystem(empty_broker, settings(guarantee=request.param), tmp_path, workers=1)
    system.prepare([coupon("c1")])
    with system:
        system.wait_ready()
        yield system


def latest(system: LocalSystem, changelog: str, user_id: str) -> bytes | None:
    """The last record of a changelog whose key ends with this name."""
    return [record.value for record in records(system, changelog) if record.key.endswith(user_id.encode())][-1]


def state(system: LocalSystem, user_id: str) -> Shopper:
    data = latest(system, USERS, user_id)
    assert data is not None
    return CODEC.decode(data).state


def test_a_shopper_is_forgotten_and_does_not_come_back_by_what_was_before(system: LocalSystem) -> None:
    with system.publisher() as publisher:
        for user_id in ("ann", "bob"):
            publisher.send(topics.BROWSE, browse(user_id, item("A"), event_id=f"{user_id}-1"))
        publisher.flush()
        system.wait_idle(IDLE_WITHIN_S)
        assert {issue.user_id for issue in messages(system, topics.ISSUES)} == {"ann", "bob"}
        publisher.send(topics.ERASURES, erasure("ann", at=AT + 1))
        publisher.flush()
        system.wait_idle(IDLE_WITHIN_S)
        assert state(system, "ann").profile.category_interests == {}
        assert len(state(system, "ann").issues) == 1, "the coupon is good until its time is over"
        assert latest(system, CELLS, "ann") is None
        assert len(state(system, "bob").profile.finer_interests) > 0
        assert latest(system, CELLS, "bob") is not None

        for days in (10.0, 10.0 + STAYS_S / DAY_S, 11.0 + STAYS_S / DAY_S):
            send_ticks(system, publisher, AT + days * DAY_S)
            system.wait_idle(IDLE_WITHIN_S)
        assert total(system, "coupons_ended_total", outcome="expired") == 2
        assert state(system, "ann") == Shopper(erased_at=AT + 1)
        assert len(latest(system, USERS, "ann") or b"") <= MARK_BYTES
        assert state(system, "bob").history.given.coupons == {"c1": 1}

        system.kill(0)
        system.restart(0)
        system.wait_ready()
        publisher.send(topics.BROWSE, browse("ann", item("A"), at=AT - DAY_S, event_id="ann-0"))
        publisher.flush()
        system.wait_idle(IDLE_WITHIN_S)
        assert state(system, "ann") == Shopper(erased_at=AT + 1), "an event of before the request brought her back"
        publisher.send(topics.BROWSE, browse("ann", item("A"), at=AT + 40 * DAY_S, event_id="ann-2"))
        publisher.flush()
        system.wait_idle(IDLE_WITHIN_S)
    assert [issue.trigger_id for issue in messages(system, topics.ISSUES) if issue.user_id == "ann"] == [
        "ann-1",
        "ann-2",
    ]
    assert state(system, "ann").history.given.coupons == {"c1": 1}
