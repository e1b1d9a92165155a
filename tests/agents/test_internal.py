"""Attacks on stock by a producer that may write to the topics between agents, and does not have the secret."""

from typing import Any

import pytest
from msgspec.structs import replace

from stream_coupons.agents.budgets import Budgets
from stream_coupons.agents.internal import SIGNED, signature
from stream_coupons.agents.users import Users
from stream_coupons.core.draws import PUBLIC_KEY, DrawKey
from stream_coupons.core.errors import BadMessage
from stream_coupons.core.messages.leases import Lease, LeaseReport
from stream_coupons.core.money.accounts import units_of
from stream_coupons.core.reasons import Rejection
from stream_coupons.kafka import topics
from stream_coupons.testing import item
from tests.core.builders import AT, browse, knowledge
from tests.core.builders import repeatable as coupon
from tests.core.builders import rules as rules_with

from .fakes import Shop, record

STOCK, PARTITIONS, TOTAL_BOUND = 60, 4, 2**53
UNITS = units_of("c1")
KNOWN = knowledge(coupon("c1", stock=STOCK), rules=rules_with())
OTHER_KEY = DrawKey(b"another group")


def known() -> Any:
    return KNOWN


def lease(**about: Any) -> Lease:
    return Lease(**({"account_id": UNITS, "partition": 0, "at": AT, "version": 1, "granted": 18} | about))


def report(**about: Any) -> LeaseReport:
    return LeaseReport(**({"account_id": UNITS, "partition": 0, "at": AT, "version": 0, "granted": 7} | about))


def shop() -> Shop:
    made = Shop(known, PARTITIONS)
    made.now = AT
    return made


def forge(made: Shop, topic: topics.Topic, message: Any) -> None:
    """Append a message with the origin of a partition that an agent reads."""
    one = record(topic, message, partitions=PARTITIONS)
    made.append(topic.name, one.partition, one.key, one.value, [("origin", b"%s:0:5:0" % topics.BROWSE.name.encode())])


def visit(made: Shop, count: int, first: int = 0, *, at_once: bool = False) -> int:
    """Let shoppers browse, one after the other or at once, and return the number of coupons given so far."""
    for number in range(first, first + count):
        made.publish(topics.BROWSE, browse(f"t{number}", AT + 60 + number, item("A"), f"u{number}"))
        made.tick(AT + 60 + number)
        if not at_once:
            made.settle()
    made.settle()
    return len(made.messages(topics.ISSUES))


def granted_to_first(made: Shop) -> int:
    purse = made.purse(UNITS)
    return 0 if purse is None else purse.granted


def reasons(made: Shop) -> list[bytes | None]:
    return [dict(one.headers)["reason"] for one in made.everything if one.topic == topics.DEAD_LETTERS.name]


def test_a_forged_lease_gives_no_unit_beyond_the_stock() -> None:
    made = shop()
    assert visit(made, 200) == STOCK
    forge(made, topics.LEASES, lease(version=100, granted=granted_to_first(made) + 11))
    assert visit(made, 100, 200, at_once=True) == STOCK
    assert reasons(made) == [b"not_signed"]


def test_a_forged_report_of_returned_units_gives_no_unit_beyond_the_stock() -> None:
    made = shop()
    visit(made, 20)
    forge(made, topics.LEASE_REPORTS, report(returned=50, version=100, granted=50))
    assert visit(made, 200, 20) == STOCK
    assert reasons(made) == [b"not_signed"]


@pytest.mark.parametrize(
    ("topic", "message"),
    [
        (topics.LEASES, lease(version=TOTAL_BOUND, granted=0, keep=0)),
        (topics.LEASE_REPORTS, report(drawn=TOTAL_BOUND)),
        (topics.LEASE_REPORTS, report(version=TOTAL_BOUND)),
    ],
    ids=["version of a lease", "total of a report", "version of a report"],
)
def test_the_largest_number_silences_neither_a_purse_nor_an_account(topic: topics.Topic, message: Any) -> None:
    made = shop()
    for partition in range(PARTITIONS):
        forge(made, topic, replace(message, partition=partition))
    assert visit(made, 200) == STOCK


@pytest.mark.parametrize(
    ("agent", "topic", "message"), [(Users, topics.LEASES, lease()), (Budgets, topics.LEASE_REPORTS, report())]
)
def test_a_signature_of_other_bytes_topic_or_key_is_refused(agent: Any, topic: topics.Topic, message: Any) -> None:
    one = record(topic, message)
    value = one.value or b""
    [other] = SIGNED - {topic.name}
    genuine = signature(PUBLIC_KEY, topic.name, value)
    forged: list[bytes | None] = [
        None,
        b"",
        b"\xff",
        genuine[:-1],
        genuine.upper() + b"0",
        signature(PUBLIC_KEY, topic.name, value + b" "),
        signature(PUBLIC_KEY, other, value),
        signature(OTHER_KEY, topic.name, value),
    ]
    assert agent(known, 1).parse(one._replace(headers=(("signature", genuine),)))[1] == message
    for headers in [(), *((("signature", each),) for each in forged)]:
        with pytest.raises(BadMessage) as caught:
            agent(known, 1).parse(one._replace(headers=headers))
        assert caught.value.reason == Rejection.NOT_SIGNED


def test_a_change_of_the_secret_loses_no_unit() -> None:
    made = shop()
    visit(made, 30)
    for number in range(10):  # their reports are written by the old secret, and read by the new one
        made.publish(topics.BROWSE, browse(f"last{number}", AT + 120, item("A"), f"last{number}"))
        for home in range(PARTITIONS):
            made.process("users", home)
    changed = knowledge(coupon("c1", stock=STOCK), rules=rules_with(key=OTHER_KEY))
    for owner in made.owners.values():
        owner.step.known = lambda: changed
    assert visit(made, 200, 30) == STOCK
    assert set(reasons(made)) == {b"not_signed"}


def test_copies_of_genuine_messages_change_no_unit() -> None:
    made = shop()
    visit(made, 30)
    for _ in range(3):
        made.send_copies([one for one in made.everything if one.topic in SIGNED])
        made.settle()
    assert visit(made, 200, 30) == STOCK
