"""Pools of imported codes: a number is the same code for every reader, and what does not fit counts for nothing."""

from stream_coupons.core.catalogue.code_pools import CodePool, CodePools
from stream_coupons.core.messages.catalogue import CodeBlock


def block(first: int | None, *codes: str, coupon_id: str = "tea", revoked: bool = False) -> CodeBlock:
    return CodeBlock(coupon_id=coupon_id, first=first, codes=list(codes), revoked=revoked)


def test_numbers_follow_the_order_of_the_import() -> None:
    pool = CodePool()
    assert pool.add(0, ["A", "B"])
    assert pool.add(2, ["Ç"])
    assert [pool.code(number) for number in range(-1, 4)] == [None, "A", "B", "Ç", None]
    assert (pool.size, pool.codes()) == (3, ["A", "B", "Ç"])


def test_of_two_imports_at_once_the_first_one_counts_and_a_copy_changes_nothing() -> None:
    pools = CodePools()
    taken = [pools.take(block(*one)) for one in [(0, "A"), (0, "X"), (1, "B"), (1, "B"), (3, "C"), (2, "C\0D")]]
    assert taken == [True, False, True, False, False, False]
    assert pools.sizes() == {"tea": (2, frozenset())}
    assert [pools.code("tea", number) for number in range(3)] == ["A", "B", None]


def test_coupons_have_pools_of_their_own() -> None:
    pools = CodePools()
    assert pools.take(block(0, "A"))
    assert pools.take(block(0, "B", coupon_id="milk"))
    assert (pools.code("tea", 0), pools.code("milk", 0), pools.code("salt", 0)) == ("A", "B", None)


def test_a_revoked_code_keeps_its_number_and_is_known_by_its_text() -> None:
    pools = CodePools()
    pools.take(block(0, "A", "B-1", "C"))
    pools.take(block(1, "B-1", revoked=True))
    pools.take(block(2, "not C", revoked=True))
    pools.take(block(None, "1KAGDSF-EDT9H4F-2H6A4VC", revoked=True))
    assert pools.sizes() == {"tea": (3, frozenset([1]))}
    assert {"B1", "1KAGDSFEDT9H4F2H6A4VC"} <= pools.revoked
