"""Triggers that may lead to a coupon, and their scored candidates with prices and holds."""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from stream_coupons.core.catalogue.compiled import CouponSet, Floats, Positions
from stream_coupons.core.decision import policy
from stream_coupons.core.decision.policy import Draw
from stream_coupons.core.decision.policy_plugin import Offer
from stream_coupons.core.decision.scoring import HEADS, REDEEM, Knowledge, Scorer, judge
from stream_coupons.core.effects import Effects
from stream_coupons.core.features.affinity import Moment
from stream_coupons.core.features.rows import FeatureRows
from stream_coupons.core.messages.catalogue import Coupon
from stream_coupons.core.messages.inputs import ShopEvent
from stream_coupons.core.money.accounts import Limit
from stream_coupons.core.money.wallet import Charge, Wallet
from stream_coupons.core.reasons import NoCoupon, Shortage
from stream_coupons.core.rules import PolicyRules
from stream_coupons.core.shopper.watched import Predicted

MAX_TOGETHER = 2**17
"""The most numbers in one array of a chunk of decisions. A chunk has some dozens of such arrays; beyond a processor's
cache they cost more than batching saves."""


INDEX_BYTES = 4

StoredRow = tuple[bytes, bytes, Predicted]
"""Numeric features, hashed features and probabilities."""


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
    features: FeatureRows
    """Features of all triggers of its chunk."""
    rows: Positions
    """Row of each candidate in `features`."""
    predicted: Floats
    """P(click), P(redeem) and P(order), shape (n, 3); with P(order within the visit), (n, 4)."""
    values_minor: Floats
    """Value of each candidate, before the price of a budget."""
    discounts_minor: Floats
    """E(discount | redeem)."""
    scorer: Scorer
    """The model that scored them."""
    is_finite: bool
    """True if every number of every candidate is finite."""
    is_cut: NDArray[np.bool_]
    """True where the value is reduced, for a hardly known shopper."""
    prices_minor: Floats = field(default_factory=lambda: np.zeros(0))
    """Price of each candidate's expected cost, by all budgets that it draws on."""
    net_minor: Floats = field(default_factory=lambda: np.zeros(0))
    """Value less price."""
    charges: list[Charge] = field(default_factory=list)

    def charge(self) -> None:
        """Set prices, holds and shortages to the current ones of the partition."""
        coupons, wallet = self.undecided.coupons, self.undecided.wallet
        redeems = self.predicted[:, REDEEM]
        self.charges = charges(coupons, self.positions, redeems, self.discounts_minor, wallet)
        self.prices_minor = np.array([each.price_minor for each in self.charges])
        self.net_minor = self.values_minor - self.prices_minor

    def offer(self, rules: PolicyRules) -> Offer:
        """Return what a policy from another package decides by, after `charge`."""
        return Offer(
            user_id=self.undecided.moment.user_id,
            domain=self.undecided.event.domain,
            at=self.undecided.moment.at,
            coupon_ids=[coupon.coupon_id for coupon in self.coupons()],
            predicted=self.predicted[:, : len(HEADS)],
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
            is_cut=self.is_cut[kept],
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

    def stored(self, row: int) -> StoredRow:
        """Return a row as it is stored with an issue or a control."""
        return *packed_row(self.features, int(self.rows[row])), stored(self.predicted[row, : len(HEADS)].tolist())


def score(undecided: Sequence[Undecided], known: Knowledge) -> list[Candidates]:
    """Return the scored candidates of each trigger.

    Triggers of one domain are scored together, in chunks whose arrays hold about `MAX_TOGETHER` numbers. The scores
    equal those of each trigger alone, to the last bit.

    Parameters
    ----------
    undecided : sequence of Undecided
        Triggers of any domains.
    known : Knowledge
        Rules, catalogue and models.

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
    judged = judge(moments, eligible, undecided[0].coupons, scorer, known.rules, known.brake(domain).value_ratio)
    # A row that is not finite is forged or broken: no model can score it, and no message can hold it.
    is_finite = np.isfinite(np.hstack((judged.rows.numeric, judged.predicted)))
    first, found = 0, []
    for one, positions in zip(undecided, judged.chosen, strict=True):
        rows = np.arange(first, first + len(positions))
        first += len(positions)
        predicted, values, discounts = judged.predicted[rows], judged.worth[rows], judged.discounts_minor[rows]
        is_whole, is_cut = bool(is_finite[rows].all()), judged.is_cut[rows]
        found.append(
            Candidates(one, positions, judged.rows, rows, predicted, values, discounts, scorer, is_whole, is_cut)
        )
    return found


def charges(
    coupons: CouponSet, positions: Positions, redeems: Floats, discounts_minor: Floats, wallet: Wallet
) -> list[Charge]:
    """Return price, hold and shortage of each candidate.

    Parameters
    ----------
    coupons : CouponSet
        Coupons of the domain.
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


def packed_row(rows: FeatureRows, row: int) -> tuple[bytes, bytes]:
    """Return the numeric and the hashed features of a row as they are stored with a decision, until its labels come.

    Parameters
    ----------
    rows : FeatureRows
        Rows of a batch.
    row : int
        Index among them.

    Returns
    -------
    numeric, hashed : bytes
        Little-endian floats and integers of 32 bits; hashed columns at the end that only other rows need are left out.
    """
    hashed = rows.hashed[row].astype("<u4").tobytes()
    used = len(hashed.rstrip(b"\0"))
    return rows.numeric[row].astype("<f4").tobytes(), hashed[: used + -used % INDEX_BYTES]


def unpack(numeric: bytes, hashed: bytes) -> FeatureRows:
    """Return the one row that `packed_row` made bytes of.

    Parameters
    ----------
    numeric, hashed : bytes
        Little-endian floats and integers of 32 bits.
    """
    numbers = np.round(np.frombuffer(numeric, "<f4").astype(float), 4)
    return FeatureRows(numbers[None, :], np.frombuffer(hashed, "<u4").astype(np.uint32)[None, :])


def stored(predicted: Sequence[float]) -> Predicted:
    """Return P(click), P(redeem) and P(order) as they are stored."""
    click, redeem, order = predicted
    return round(click, 6), round(redeem, 6), round(order, 6)


def want_missed(considered: Candidates, can_be_had: NDArray[np.bool_], draw: Draw, rules: PolicyRules) -> None:
    """Ask for what is sold out here and would be given if it could be had.

    Parameters
    ----------
    considered : Candidates
        All candidates of the trigger.
    can_be_had : array of bool, shape (n,)
        True of the candidates that have stock and money.
    draw : Draw
        Of the trigger.
    rules : PolicyRules
        Exploration, and the least value of a coupon that is given.
    """
    undecided = considered.undecided
    for row in _missed(considered, can_be_had, draw, rules):
        position, held_minor = int(considered.positions[row]), considered.charges[row].held_minor
        limits, most_minor = undecided.coupons.limited[position], undecided.coupons.coupons[position].max_discount_minor
        undecided.wallet.want(limits, held_minor, most_minor, undecided.moment.at, undecided.effects)


def _missed(considered: Candidates, can_be_had: NDArray[np.bool_], draw: Draw, rules: PolicyRules) -> list[int]:
    """Return the rows that would be given if they could be had: the drawn one, and all that are better than the rest.

    Not the best one alone: it may be sold out everywhere, and what lies idle of the next one would never be asked for.
    """
    if draw.is_control:
        return []
    net = considered.net_minor
    least = max(float(net[can_be_had].max(initial=-np.inf)), rules.min_value_minor)
    missed = np.flatnonzero(~can_be_had & (net > least)).tolist()
    row = policy.pick(net, draw, rules).row
    if row is None or can_be_had[row] or row in missed:
        return missed
    return [*missed, row]


def note_demand(considered: Candidates, least_value_minor: float) -> None:
    """Count what the decision would draw on each account with a price, were that price another one.

    A coupon without stock asks for no money. One without money asks for it: demand is what sets the price.

    Parameters
    ----------
    considered : Candidates
        All candidates of the trigger.
    least_value_minor : float
        Value above which a coupon is given, minor units.
    """
    coupons, wallet = considered.undecided.coupons, considered.undecided.wallet
    priced = [coupons.priced[position] for position in considered.positions.tolist()]
    if not any(priced):
        return
    # Most accounts have one row: arrays would cost more than they save.
    values, net = considered.values_minor.tolist(), considered.net_minor.tolist()
    costs = (considered.predicted[:, REDEEM] * considered.discounts_minor).tolist()
    allowed = [
        -math.inf if charge.shortage is Shortage.STOCK else value
        for value, charge in zip(net, considered.charges, strict=True)
    ]
    rows_of: dict[str, tuple[Limit, list[int]]] = {}
    for row, limits in enumerate(priced):
        for limit in limits:
            if limit.is_stock or allowed[row] > -math.inf:
                rows_of.setdefault(limit.account_id, (limit, []))[1].append(row)
    best = max(allowed)
    top = allowed.index(best)
    for limit, rows in rows_of.values():
        others = float(np.delete(allowed, rows).max(initial=-math.inf)) if top in rows else best
        outside = max(others, least_value_minor)
        if max([values[row] for row in rows]) <= outside:  # not even at prices of 0
            continue
        price = wallet.price(limit)
        drawn = [float(limit.unit_minor or costs[row]) for row in rows]
        before_price = [net[row] + price * cost for row, cost in zip(rows, drawn, strict=True)]
        if max(before_price) > outside:
            wallet.add_demand(limit, np.array(before_price), np.array(drawn), outside)
