"""A digest of states: the same for the same states, however they came about; another for anything else."""

from collections.abc import Iterable

import msgspec
import pytest

from lab.builders import AT, live_shop, new_shop
from stream_coupons.core.money.holdings import Account, HoldingSums
from stream_coupons.core.money.purses import Purse
from stream_coupons.kafka import topics
from stream_coupons.kafka.records import Output
from stream_coupons.ops.digest import AGENTS, Digest, StateDigest, digests_of
from stream_coupons.runtime.cells import Cell, CellCodec, OutboxEntry, StateCodec
from stream_coupons.testing import coupon
from tests.agents.fakes import Shop
from tests.core.builders import browse, feedback, knowledge
from tests.runtime.fakes import keep

CODEC = CellCodec(Account)
PURSES = StateCodec(Purse)


def account(granted: int) -> Account:
    return Account(sums=HoldingSums(taken=granted))


def cell(granted: int, **about: object) -> bytes:
    return CODEC.encode(Cell(None, account(granted), **about))  # type: ignore[arg-type]


def digest(*cells: tuple[bytes, bytes | None]) -> Digest:
    states = StateDigest("budgets")
    for key, data in cells:
        states.take(key, data)
    return states.result()


def test_no_state_is_a_digest_too() -> None:
    assert digest() == Digest(0, 0, digest().blake2b)
    assert len(digest().blake2b) == 32


def test_keys_come_in_any_order_and_the_last_cell_of_a_key_counts() -> None:
    expected = digest((b"a", cell(1)), (b"b", cell(2)))
    assert (expected.keys, expected.bytes) == (2, 2 * len(msgspec.msgpack.encode(account(1))))
    assert digest((b"b", cell(2)), (b"a", cell(7)), (b"a", cell(1))) == expected
    assert digest((b"c", cell(2)), (b"b", cell(2)), (b"a", cell(1)), (b"c", None), (b"d", None)) == expected


@pytest.mark.parametrize(
    "others",
    [
        [(b"a", cell(2)), (b"b", cell(1))],
        [(b"a", cell(1)), (b"c", cell(2))],
        [(b"a", cell(1))],
        [(b"a", cell(1)), (b"b", cell(3))],
    ],
)
def test_another_state_is_another_digest(others: list[tuple[bytes, bytes | None]]) -> None:
    assert digest(*others).blake2b != digest((b"a", cell(1)), (b"b", cell(2))).blake2b


def test_how_far_and_in_what_batches_a_log_was_applied_is_no_state() -> None:
    kept = [OutboxEntry("t", 1, 0, Output("t", 0, b"k", b"v"), 0)]
    marked = cell(1, applied={"t": 4}, outbox=kept)
    assert digest((b"a", marked)) == digest((b"a", cell(1)))


def test_a_cell_of_another_agent_is_an_error() -> None:
    with pytest.raises(msgspec.DecodeError):
        digest((b"a", b"nonsense"))


def purses(*drawn: tuple[bytes, int, int]) -> Digest:
    """The digest of purses of (key, drawn, partition)."""
    states = StateDigest("users")
    for key, units, partition in drawn:
        states.take(key, PURSES.encode(Purse(drawn=units)), partition)
    return states.result()


def test_what_partitions_share_is_a_state_of_each() -> None:
    key = b"\0units:c"
    both = purses((key, 1, 0), (key, 2, 1))
    assert both.keys == 2
    assert both == purses((key, 2, 1), (key, 7, 0), (key, 1, 0))
    assert both != purses((key, 2, 0), (key, 1, 1))
    assert both != purses((key, 1, 0), (key, 3, 1))


def test_a_shared_state_that_is_gone_or_of_another_kind() -> None:
    states = StateDigest("users")
    key = b"\0units:c"
    states.take(key, PURSES.encode(Purse()), 1)
    states.take(key, None, 0)
    assert states.result().keys == 1
    states.take(key, None, 1)
    assert states.result().keys == 0
    with pytest.raises(msgspec.DecodeError):
        states.take(key, cell(1), 1)
    with pytest.raises(msgspec.DecodeError):
        digest((key, PURSES.encode(Purse())))


def states_of(shop: Shop) -> Iterable[tuple[str, int, str, bytes]]:
    for agent, owner in shop.owners.items():
        for partition, cells in owner.tables.items():
            for key, data in cells.items():
                yield agent, partition, key, data


def test_the_same_log_in_other_batches_gives_the_same_digests() -> None:
    first = live_shop()
    again = new_shop()
    again.logs = first.logs
    for agent in again.owners:
        for home in range(again.partitions):
            for limit in [1, 7, 2] * 40:
                waiting = again.waiting(agent, home, limit)
                owner = again.owners[agent]
                result = owner.batches.apply(home, waiting, owner.committed_in(home))
                owner.batches.save(result)
                keep(owner.tables[home], result.cells.items())
                for one in waiting:
                    owner.position[one.topic, home] = one.offset + 1
            assert not again.waiting(agent, home)
    digests = digests_of(states_of(first))
    assert digests == digests_of(states_of(again))
    assert {agent: found.keys > 0 for agent, found in digests.items()} == dict.fromkeys(AGENTS, True)
    assert dict(states_of_users(first)) != dict(states_of_users(again))


@pytest.mark.parametrize("limit", [1, 100])
def test_what_takes_money_takes_it_from_those_who_come_after_it(limit: int) -> None:
    """Whoever is decided together with others is decided before what comes after them is applied."""
    known = knowledge(coupon("c", budget_minor=300, max_discount_minor=100))
    shop = Shop(lambda: known, partitions=1, agents=["users"])
    shop.publish(topics.BROWSE, browse("1", user="ann"))
    shop.settle()
    [first] = shop.messages(topics.ISSUES)
    shop.publish(topics.BROWSE, browse("2", AT + 1, user="bob"))
    for order_id in ("o1", "o2"):
        used = feedback("purchase", first.issue_id, AT + 2, order_id, user_id="ann", order_id=order_id)
        shop.publish(topics.FEEDBACK, used)
    shop.publish(topics.BROWSE, browse("3", AT + 3, user="eve"))
    while shop.process("users", 0, limit):
        pass
    assert [issue.user_id for issue in shop.messages(topics.ISSUES)] == ["ann", "bob"]


def states_of_users(shop: Shop) -> Iterable[tuple[str, bytes]]:
    return ((key, data) for agent, _, key, data in states_of(shop) if agent == "users")
