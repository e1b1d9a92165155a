"""Pools of imported codes: a number is the same code for every reader, and what does not fit counts for nothing."""

import itertools

import msgspec
import pytest

from stream_coupons.core.catalogue.code_pools import CodePool, CodePools
from stream_coupons.core.messages.catalogue import CodeBlock


def revoked(first: int | None, *codes: str) -> CodeBlock:
    return CodeBlock(coupon_id="tea", first=first, codes=list(codes), revoked=True)


def test_numbers_follow_the_order_of_the_import() -> None:
    pool = CodePool()
    assert pool.add(0, ["A", "B"])
    assert pool.add(2, ["Ç"])
    assert [pool.code(number) for number in range(-1, 4)] == [None, "A", "B", "Ç", None]
    assert (pool.size, pool.codes()) == (3, ["A", "B", "Ç"])


def test_of_two_imports_at_once_the_first_one_counts_and_a_copy_changes_nothing() -> None:
    pools = CodePools()
    one, other = pools.block("tea", ["A"]), pools.block("tea", ["X"])
    assert [pools.take(block) for block in (one, other, one)] == [True, False, False]
    assert pools.take(pools.block("tea", ["B"]))
    assert not pools.take(msgspec.structs.replace(pools.block("tea", ["C"]), first=3))
    assert not pools.take(pools.block("tea", ["C\0D"]))
    assert pools.sizes() == {"tea": (2, frozenset())}
    assert [pools.code("tea", number) for number in range(3)] == ["A", "B", None]


@pytest.mark.parametrize("coupon_id", ["tea", "milk"])
def test_no_order_of_the_blocks_of_two_imports_gives_a_code_twice(coupon_id: str) -> None:
    """The second file has one more code at its beginning, so its second block repeats a code of the first import."""
    imports = [("tea", [["A", "B"], ["C", "D"]]), (coupon_id, [["0", "A"], ["B", "C"]])]
    for order in itertools.permutations([0, 0, 1, 1]):
        pools, written = CodePools(), []
        for name, parts in imports:
            mine = CodePools()
            for part in parts:
                written.append(mine.block(name, part))
                assert mine.take(written[-1])
        places = [iter(written[:2]), iter(written[2:])]
        for number in order:
            pools.take(next(places[number]))
        found = [code for pool in pools.by_coupon.values() for code in pool.codes()]
        assert found == [code for part in imports[order[0]][1] for code in part]


def test_coupons_have_pools_of_their_own() -> None:
    pools = CodePools()
    assert pools.take(pools.block("tea", ["A"]))
    assert pools.take(pools.block("milk", ["B"]))
    assert (pools.code("tea", 0), pools.code("milk", 0), pools.code("salt", 0)) == ("A", "B", None)


def test_a_revoked_code_keeps_its_number_and_is_known_by_its_text() -> None:
    pools = CodePools()
    pools.take(pools.block("tea", ["A", "B-1", "C"]))
    pools.take(revoked(1, "B-1"))
    pools.take(revoked(2, "not C"))
    pools.take(revoked(None, "1KAGDSF-EDT9H4F-2H6A4VC"))
    assert pools.sizes() == {"tea": (3, frozenset([1]))}
    assert {"B1", "1KAGDSFEDT9H4F2H6A4VC"} <= pools.revoked
