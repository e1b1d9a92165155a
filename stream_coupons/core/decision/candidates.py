"""Triggers that may lead to a coupon, and their scored candidates with prices and holds."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from stream_coupons.core.catalogue.compiled import CouponSet, Floats, Positions
from stream_coupons.core.decision.judgement import judge
from stream_coupons.core.decision.policy_plugin import Offer
from stream_coupons.core.decision.scoring import HEADS, Knowledge
from stream_coupons.core.decision.stored_rows import PackedRows, pack, stored
from stream_coupons.core.effects import Effects
from stream_coupons.core.features.affinity import Moment
from stream_coupons.core.messages.catalogue import Coupon
from stream_coupons.core.messages.inputs import ShopEvent
from stream_coupons.core.money.wallet import Charge, Wallet
from stream_coupons.core.reasons import NoCoupon
from stream_coupons.core.rules import PolicyRules
from stream_coupons.core.shopper.state import Predicted

REDEEM = HEADS.index("redeem")
MAX_TOGETHER = 2**17
"""The most numbers in one array of a chunk of decisions. A chunk has some dozens of such arrays; beyond a processor's
cache they cost more than batching saves."""


@dataclass(frozen=True, slots=True)
class Undecided:
    """A trigger that may lead to a coupon: its shopper's state must not change before `decide` uses it."""

    moment: Moment
    event: ShopEvent
    identity: str
    coupons: CouponSet
    eligible: Positions
    wallet: Wallet
    """The purses of the shopper's partition."""
    effects: Effects
    """Effects of the step so far."""
    refusal: NoCoupon | None = None
    """Reason why no coupon is given: the trigger is a control observation of the one eligible coupon."""


@dataclass(slots=True)
class Candidates:
    """The candidates of one trigger, row by row. Mutable: `charge` adds prices and holds."""

    undecided: Undecided
    positions: Positions
    rows: Positions
    """Row of each candidate among the rows of all triggers of its chunk."""
    packed: PackedRows
    predicted: Floats
    """P(click), P(redeem) and P(order), shape (n, 3)."""
    values_minor: Floats
    """Value of each candidate, before the price of a budget."""
    discounts_minor: Floats
    """E(discount | redeem)."""
    model_version: int
    is_finite: bool
    """True if every number of every candidate is finite."""
    prices_minor: Floats = field(default_factory=lambda: np.zeros(0))
    """Price of each candidate's expected cost, by all budgets that it draws on."""
    net_minor: Floats = field(default_factory=lambda: np.zeros(0))
    """Value less price."""
    charges: list[Charge] = field(default_factory=list)

    def charge(self) -> None:
        """Set prices, holds and shortages to the current ones of the partition."""
        coupons, wallet = self.undecided.coupons, self.undecided.wallet
        self.charges = charges(coupons, self.positions, self.predicted[:, REDEEM], self.discounts_minor, wallet)
        self.prices_minor = np.array([each.price_minor for each in self.charges])
        self.net_minor = self.values_minor - self.prices_minor

    def offer(self, rules: PolicyRules) -> Offer:
        """Return what a policy from another package decides by, after `charge`."""
        return Offer(
            user_id=self.undecided.moment.user_id,
            domain=self.undecided.event.domain,
            at=self.undecided.moment.at,
            coupon_ids=[coupon.coupon_id for coupon in self.coupons()],
            predicted=self.predicted,
            values_minor=self.values_minor,
            prices_minor=self.prices_minor,
            rules=rules,
        )

    def narrowed(self, kept: NDArray[np.bool_]) -> "Candidates":
        """Return the candidates that are kept; `kept` has shape (n,)."""
        if kept.all():
            return self
        return replace(
            self,
            positions=self.positions[kept],
            rows=self.rows[kept],
            predicted=self.predicted[kept],
            values_minor=self.values_minor[kept],
            discounts_minor=self.discounts_minor[kept],
            prices_minor=self.prices_minor[kept],
            net_minor=self.net_minor[kept],
            charges=[each for each, is_kept in zip(self.charges, kept, strict=True) if is_kept],
        )

    def coupon(self, row: int) -> Coupon:
        """Return the coupon of a row."""
        return self.undecided.coupons.coupons[int(self.positions[row])]

    def coupons(self) -> list[Coupon]:
        """Return the coupons of all candidates, row by row."""
        coupons = self.undecided.coupons.coupons
        return [coupons[position] for position in self.positions.tolist()]

    def features(self, row: int) -> tuple[bytes, bytes]:
        """Return the numeric and hashed features of a row as stored."""
        return self.packed.row(int(self.rows[row]))

    def probabilities(self, row: int) -> Predicted:
        """Return P(click), P(redeem) and P(order) of a row as stored."""
        return stored(self.predicted[row].tolist())


def score(undecided: Sequence[Undecided], known: Knowledge) -> list[Candidates]:
    """Return the scored candidates of each trigger.

    Triggers of one domain are scored together, in chunks whose arrays hold about `MAX_TOGETHER` numbers. The scores
    equal those of each trigger alone, to the last bit.

    Parameters
    ----------
    undecided : sequence of Undecided
        Triggers of any domains.

    Returns
    -------
    list of Candidates
        In the order of `undecided`.
    """
    by_domain: defaultdict[str, list[int]] = defaultdict(list)
    for index, one in enumerate(undecided):
        by_domain[one.event.domain].append(index)
    found: dict[int, Candidates] = {}
    for domain, indices in by_domain.items():
        size = max(MAX_TOGETHER // undecided[indices[0]].coupons.width, 1)
        for first in range(0, len(indices), size):
            chunk = indices[first : first + size]
            found.update(zip(chunk, _score_chunk(domain, [undecided[index] for index in chunk], known), strict=True))
    return [found[index] for index in range(len(undecided))]


def _score_chunk(domain: str, undecided: Sequence[Undecided], known: Knowledge) -> list[Candidates]:
    moments, eligible = [one.moment for one in undecided], [one.eligible for one in undecided]
    scorer = known.scorer(domain)
    judged = judge(moments, eligible, undecided[0].coupons, scorer, known.rules)
    # A row that is not finite is forged or broken: no model can score it, and no message can hold it.
    is_finite = np.isfinite(np.hstack((judged.rows.numeric, judged.predicted)))
    packed, first, found = pack(judged.rows), 0, []
    for one, positions in zip(undecided, judged.chosen, strict=True):
        rows = np.arange(first, first + len(positions))
        first += len(positions)
        predicted, values, discounts = judged.predicted[rows], judged.worth[rows], judged.discounts_minor[rows]
        is_whole = bool(is_finite[rows].all())
        found.append(Candidates(one, positions, rows, packed, predicted, values, discounts, scorer.version, is_whole))
    return found


def charges(
    coupons: CouponSet, positions: Positions, redeems: Floats, discounts_minor: Floats, wallet: Wallet
) -> list[Charge]:
    """Return price, hold and shortage of each candidate.

    Parameters
    ----------
    positions : array of int, shape (n,)
        Positions in `coupons`.
    redeems, discounts_minor : array, shape (n,)
        P(redeem) and E(discount | redeem).
    wallet : Wallet
        The purses of the shopper's partition.
    """
    found = []
    for position, redeem, discount in zip(positions.tolist(), redeems.tolist(), discounts_minor.tolist(), strict=True):
        limits, most_minor = coupons.limited[position], coupons.coupons[position].max_discount_minor
        free = Charge(0.0, most_minor)
        found.append(wallet.charge(limits, most_minor, redeem, discount) if limits else free)
    return found
