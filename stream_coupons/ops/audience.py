"""Shoppers who qualify for a coupon at a moment, by their states."""

from collections import Counter
from collections.abc import Iterable

from msgspec import Struct

from stream_coupons.core.catalogue.catalogue import Catalogue, objection
from stream_coupons.core.catalogue.eligibility_rules import broken_clause, clauses_of_trigger
from stream_coupons.core.catalogue.rule_fields import Occasion
from stream_coupons.core.messages.catalogue import Campaign, Coupon
from stream_coupons.core.reasons import Ineligible
from stream_coupons.core.rules import Rules
from stream_coupons.core.shopper.state import Shopper
from stream_coupons.runtime.cells import CellCodec
from stream_coupons.runtime.steps import SHARED_PREFIX

QUALIFIES = ""


class Audience(Struct, frozen=True, kw_only=True):
    """The shoppers who qualify for a coupon.

    Attributes
    ----------
    shoppers, qualify : int
        Number of all shoppers who are known, and of those who would be candidates on a trigger that fits.
    against : dict
        Number of the others by the first reason against it: a code, or the clause of a rule that is not true.
    not_counted : list of str
        Clauses that read the trigger: they are taken for true.
    """

    coupon_id: str
    at: float
    shoppers: int
    qualify: int
    against: dict[str, int]
    not_counted: list[str]


class AudienceCount:
    """Takes states of shoppers in any order of keys; the last of a key counts. Memory: some 100 bytes a key.

    Parameters
    ----------
    coupon_id : str
        One of the coupons.
    at : float
        UTC epoch seconds.
    """

    def __init__(
        self, coupon_id: str, coupons: Iterable[Coupon], campaigns: Iterable[Campaign], at: float, rules: Rules
    ) -> None:
        self._coupons = Catalogue.under(rules, coupons, campaigns).set_of(coupon_id)
        self._position = self._coupons.position[coupon_id]
        self._at, self._rules = at, rules
        self._codec = CellCodec(Shopper)
        self._against: dict[bytes, str] = {}

    def take(self, key: bytes, cell: bytes | None) -> None:
        """Take in the state of a key; None when the key is gone.

        Raises
        ------
        msgspec.DecodeError
            If the bytes are no state of a shopper.
        """
        if key.startswith(SHARED_PREFIX.encode()):
            return
        self._against.pop(key, None)
        if cell is not None:
            self._against[key] = self._reason(self._codec.decode(cell).state)

    def _reason(self, shopper: Shopper) -> str:
        found = objection(shopper, self._coupons, self._position, self._at, self._rules)
        if found is not None and found is not Ineligible.RULE:
            return found
        occasion = Occasion(shopper, self._at, zone=self._rules.shop.time_zone)
        return broken_clause(self._coupons, self._position, occasion, needs_trigger=False) or QUALIFIES

    def result(self) -> Audience:
        """Return the counts so far."""
        counts = Counter(self._against.values())
        return Audience(
            coupon_id=self._coupons.coupons[self._position].coupon_id,
            at=self._at,
            shoppers=len(self._against),
            qualify=counts.pop(QUALIFIES, 0),
            against=dict(counts.most_common()),
            not_counted=clauses_of_trigger(self._coupons, self._position),
        )
