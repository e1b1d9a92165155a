"""A digest of states: the same for the same states, however they came about; another for anything else."""

from collections.abc import Iterable

import msgspec
import pytest
from agents.fakes import Shop

from stream_coupons.core.ledger import Ledger
from stream_coupons.evaluation.digest import AGENTS, Digest, StateDigest, digests_of
from stream_coupons.runtime.cells import Cell, CellCodec, Kept
from stream_coupons.runtime.records import Output

from .builders import live_shop, new_shop

CODEC = CellCodec(Ledger)


def cell(issued: int, **about: object) -> bytes:
    return CODEC.encode(Cell(None, Ledger(issued=issued), **about))  # type: ignore[arg-type]


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
    assert (expected.keys, expected.bytes) == (2, 2 * len(msgspec.msgpack.encode(Ledger(issued=1))))
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
    kept = [Kept("t", 1, 0, Output("t", 0, b"k", b"v"))]
    marked = cell(1, applied={"t": 4}, origins={"t:0": (1, 2)}, outbox=kept)
    assert digest((b"a", marked)) == digest((b"a", cell(1)))


def test_a_cell_of_another_agent_is_an_error() -> None:
    with pytest.raises(msgspec.DecodeError):
        digest((b"a", b"nonsense"))


def states_of(shop: Shop) -> Iterable[tuple[str, str, bytes]]:
    for agent, owner in shop.owners.items():
        for key, data in owner.table.items():
            yield agent, key, data


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
                owner.table.update(result.cells)
                for one in waiting:
                    owner.position[one.topic, home] = one.offset + 1
            assert not again.waiting(agent, home)
    digests = digests_of(states_of(first))
    assert digests == digests_of(states_of(again))
    assert {agent: found.keys > 0 for agent, found in digests.items()} == dict.fromkeys(AGENTS, True)
    assert dict(states_of_users(first)) != dict(states_of_users(again))


def states_of_users(shop: Shop) -> Iterable[tuple[str, bytes]]:
    return ((key, data) for agent, key, data in states_of(shop) if agent == "users")
