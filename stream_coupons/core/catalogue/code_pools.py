"""Pools of imported codes: their text by number, in the order of their import.

All workers read the same blocks in the same order, so that a number is the same code everywhere. A block names the
digest of all blocks before it: one that another import has overtaken does not fit, and counts for nothing. So what an
import knew of the codes of all coupons still holds when its own count: none is in two places.
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence

from stream_coupons.core.codes import canonical
from stream_coupons.core.draws import stable_hash
from stream_coupons.core.messages.catalogue import CodeBlock

SEPARATOR = b"\0"
"""Byte between two codes of a block, which no code has."""


class CodePool:
    """The codes of one coupon: it only grows. Blocks are kept as text: a million codes take some 20 MB."""

    def __init__(self) -> None:
        self.size = 0
        self.revoked: frozenset[int] = frozenset()
        """Numbers of codes that must not be given."""
        self._firsts: list[int] = []
        self._blocks: list[bytes] = []

    def add(self, first: int, codes: list[str]) -> bool:
        """Append codes; return False, and append nothing, if they do not begin where the pool ends, or cannot be read.

        Parameters
        ----------
        first : int
            Number of the first code.
        codes : list of str
            The codes.
        """
        if first != self.size or not codes or any("\0" in code for code in codes):
            return False
        self._firsts.append(first)
        self._blocks.append(SEPARATOR.join([code.encode() for code in codes]))
        self.size += len(codes)
        return True

    def code(self, number: int) -> str | None:
        """Return the code of a number; None if there is none."""
        if not 0 <= number < self.size:
            return None
        place = bisect_right(self._firsts, number) - 1
        return self._blocks[place].split(SEPARATOR)[number - self._firsts[place]].decode()

    def codes(self) -> list[str]:
        """Return all codes in their order."""
        return [code.decode() for block in self._blocks for code in block.split(SEPARATOR)]


class CodePools:
    """All pools by coupon, and the revoked codes of all coupons.

    Attributes
    ----------
    by_coupon : dict
        The pools, by coupon id.
    revoked : set of str
        Revoked codes in their canonical form.
    digest : str
        Of all imported blocks, in their order; empty if there are none.
    """

    def __init__(self) -> None:
        self.by_coupon: dict[str, CodePool] = {}
        self.revoked: set[str] = set()
        self.digest = ""

    @classmethod
    def of(cls, codes: Mapping[str, Sequence[str]]) -> "CodePools":
        """Return the pools of these codes by coupon."""
        pools = cls()
        for coupon_id, imported in codes.items():
            pools.take(pools.block(coupon_id, imported))
        return pools

    def block(self, coupon_id: str, codes: Sequence[str]) -> CodeBlock:
        """Return the block that appends codes to a coupon's pool, unless another one is taken in before.

        Parameters
        ----------
        coupon_id : str
            The coupon.
        codes : sequence of str
            The codes.
        """
        pool = self.by_coupon.get(coupon_id)
        first = 0 if pool is None else pool.size
        return CodeBlock(coupon_id=coupon_id, first=first, after=self.digest, codes=list(codes))

    def take(self, block: CodeBlock) -> bool:
        """Take in codes, imported or revoked; return False if the block does not fit and counts for nothing.

        Examples
        --------
        >>> pools = CodePools()
        >>> [pools.take(block) for block in (pools.block("tea", ["A", "B"]), pools.block("tea", ["C"]))]
        [True, False]
        """
        pool = self.by_coupon.get(block.coupon_id) or CodePool()
        if block.revoked:
            self.revoked.update(map(canonical, block.codes))
            numbers = range(block.first or 0, (block.first or 0) + len(block.codes)) if block.first is not None else ()
            pool.revoked |= {n for n, code in zip(numbers, block.codes, strict=False) if pool.code(n) == code}
            return True
        if block.first is None or block.after != self.digest or not pool.add(block.first, block.codes):
            return False
        self.by_coupon[block.coupon_id] = pool
        self.digest = f"{stable_hash(self.digest, block.coupon_id, *block.codes):016x}"
        return True

    def code(self, coupon_id: str, number: int) -> str | None:
        """Return the code of a number in a coupon's pool; None if there is none.

        Parameters
        ----------
        coupon_id : str
            The coupon.
        number : int
            Number of the code.
        """
        pool = self.by_coupon.get(coupon_id)
        return None if pool is None else pool.code(number)

    def sizes(self) -> dict[str, tuple[int, frozenset[int]]]:
        """Return the number of codes and the revoked numbers of each pool, by coupon."""
        return {coupon_id: (pool.size, pool.revoked) for coupon_id, pool in [*self.by_coupon.items()]}
