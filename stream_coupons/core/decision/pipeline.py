"""The steps that decide, readable from top to bottom: take in, and decide.

take_in   an event of the shop -> profile -> neighbourhood -> candidates, if it is a trigger
decide    candidates of one trigger or of many -> features -> score -> what can be had -> policy -> a coupon-issue

A step takes a shopper's state, changes it in place and returns its effects. It knows no Kafka, no clock and no
randomness but what its arguments hand it. If it raises, the caller throws the state away and loads it again.
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_coupons.core.catalogue.compiled import CouponSet, Floats, Positions
from stream_coupons.core.catalogue.eligibility import eligible, is_over_own_cap
from stream_coupons.core.decision import attribution, erasure, policy
from stream_coupons.core.decision.attribution import PackedRows
from stream_coupons.core.decision.judgement import judge
from stream_coupons.core.decision.policy import Choice
from stream_coupons.core.decision.scoring import HEADS, Knowledge
from stream_coupons.core.effects import Effects
from stream_coupons.core.features.rows import SCHEMA, hashed_names
from stream_coupons.core.features.views import Moment
from stream_coupons.core.messages.catalogue import Coupon
from stream_coupons.core.messages.decisions import CouponIssue, DecisionResult, LoggedDecision, Reason
from stream_coupons.core.messages.fields import END_OF_TIME, NO_COUPON
from stream_coupons.core.messages.inputs import BrowseEvent, CartEvent, OrderEvent
from stream_coupons.core.messages.neighbours import UserVector
from stream_coupons.core.money.accounts import Limit
from stream_coupons.core.money.price import cost_of
from stream_coupons.core.money.wallet import Wallet
from stream_coupons.core.neighbours.buckets import departure
from stream_coupons.core.neighbours.relations import MAX_VECTOR, bucket_of
from stream_coupons.core.reasons import NoCoupon, Shortage
from stream_coupons.core.shopper.imputation import fill_context
from stream_coupons.core.shopper.preferences import category_portrait, is_familiar, portrait
from stream_coupons.core.shopper.profile import fold, is_duplicate
from stream_coupons.core.shopper.state import OpenControl, OpenIssue, Predicted, Shopper
from stream_coupons.core.vectors.sparse import SparseVector, damp, simhash, stable_hash

ShopEvent = BrowseEvent | CartEvent | OrderEvent
KINDS: Mapping[type[ShopEvent], str] = {BrowseEvent: "browse", CartEvent: "cart", OrderEvent: "order"}
REDEEM = HEADS.index("redeem")
MAX_TOGETHER = 2**17
"""Numbers that an array may have of all that are decided together: there are some dozens of such arrays at a time, and
those that leave a processor's cache cost more than deciding together saves."""


class Times(NamedTuple):
    """Times that an event does not say itself; None where there is no clock."""

    appended_at: float | None = None
    """Time at which the event was appended."""
    now: float | None = None
    """Time at which it is worked on."""


ANY_TIME = Times()


@dataclass(frozen=True, slots=True)
class Undecided:
    """A trigger that may lead to a coupon: its shopper's state must not change before `decide` has taken it."""

    moment: Moment
    event: ShopEvent
    identity: str
    coupons: CouponSet
    eligible: Positions
    wallet: Wallet
    """The purses of the shopper's partition."""
    effects: Effects
    """Its effects so far."""
    refusal: NoCoupon | None = None
    """The reason why nothing is given: the trigger is a control observation of the one eligible coupon."""


def take_in(
    user_id: str, shopper: Shopper, event: ShopEvent, known: Knowledge, wallet: Wallet, times: Times = ANY_TIME
) -> Effects | Undecided:
    """Fold an event into the shopper's state and, if it is a trigger, find the coupons that the shopper may get.

    What is decided is decided as of when the event was appended if the event says that it comes later. A sender whose
    clock is ahead would otherwise be given coupons before they start, and then none until that time has come.
    """
    effects = Effects()
    kind = KINDS[type(event)]
    # Before its id is remembered: what is ignored must not make the mark of an erasure grow.
    if erasure.is_of_before(shopper, event.occurred_at):
        effects.count(erasure.ERASURE, "ignored")
        return effects
    if is_duplicate(shopper.profile, kind, event.event_id, known.rules.profile):
        effects.count("duplicate", kind)
        return effects
    shopper.leaves_at = None
    fold(shopper.profile, event, known.rules.profile)
    if isinstance(event, OrderEvent):
        attribution.observe_order(shopper, event, known.catalogue)
    effects.messages += publish_vector(user_id, shopper, event, known)
    effects.messages += ask_for_related(user_id, shopper, event, known)
    if kind not in known.rules.policy.triggers:
        return effects
    found = _candidates(user_id, shopper, event, known, wallet, times, effects)
    if isinstance(found, Undecided):
        return found
    effects.count("decision", found)
    return effects


def _candidates(  # noqa: PLR0913 - what a decision begins with
    user_id: str,
    shopper: Shopper,
    event: ShopEvent,
    known: Knowledge,
    wallet: Wallet,
    times: Times,
    effects: Effects,
) -> Undecided | NoCoupon:
    rules = known.rules.policy
    at = event.occurred_at if times.appended_at is None else min(event.occurred_at, times.appended_at)
    now = max(at, times.now or at)
    objection = policy.standing_objection(shopper, at, now, rules)
    identity = issue_id(user_id, KINDS[type(event)], event.event_id)
    if objection is not None and (shopper.issues or not policy.is_watched(objection, identity, rules, known.rules.key)):
        return objection
    if attribution.is_decided(shopper, identity):
        return NoCoupon.REPEATED
    coupons = known.catalogue.of_domain(event.domain)
    positions = np.array([], np.intp) if coupons is None else eligible(shopper, coupons, at, rules, now)
    if coupons is None or not len(positions):
        return NoCoupon.NO_CANDIDATE
    shopper.considered_at = at
    if objection is not None:
        positions = positions[[policy.control_row(len(positions), identity, known.rules.key)]]
    familiar = is_familiar(shopper.profile, event, known.rules.profile)
    if familiar is not None:
        effects.count("interest", "familiar" if familiar else "strange")
    context = fill_context(shopper.profile.contexts, event.context, at, known.rules.profile.context_policies)
    moment = Moment(user_id, shopper, at, context, event)
    return Undecided(moment, event, identity, coupons, positions, wallet, effects, objection)


def decide(undecided: Sequence[Undecided], known: Knowledge) -> list[Effects]:
    """Give each shopper the best coupon for now, or none: the effects of their whole events.

    Each is scored as it would be alone, to the last bit; together they cost a fraction. They draw on the wallets one
    after the other, and what early feedback frees is there for the next one.
    """
    by_domain: defaultdict[str, list[int]] = defaultdict(list)
    for index, one in enumerate(undecided):
        by_domain[one.event.domain].append(index)
    decisions: dict[int, _Decision] = {}
    for domain, indices in by_domain.items():
        size = max(MAX_TOGETHER // undecided[indices[0]].coupons.width, 1)
        for first in range(0, len(indices), size):
            chunk = indices[first : first + size]
            decisions.update(zip(chunk, _score(domain, [undecided[index] for index in chunk], known), strict=True))
    # In the order of the triggers: domains may share a budget, and what is decided together must not matter.
    for index, one in enumerate(undecided):
        result = _conclude(decisions[index], known) if decisions[index].is_finite else NoCoupon.NOT_FINITE
        one.effects.count("decision", result)
        one.wallet.book(one.effects.bookings)  # before the next one is decided, as if each were alone
    return [one.effects for one in undecided]


def _score(domain: str, undecided: Sequence[Undecided], known: Knowledge) -> "list[_Decision]":
    moments, candidates = [one.moment for one in undecided], [one.eligible for one in undecided]
    scorer = known.scorer(domain)
    judged = judge(moments, candidates, undecided[0].coupons, scorer, known.rules)
    # A row that is not finite is forged or broken: no model says anything of it, and no message can hold it.
    is_finite = np.isfinite(np.hstack((judged.rows.numeric, judged.predicted)))
    packed, first, decisions = attribution.pack(judged.rows), 0, []
    for one, positions in zip(undecided, judged.chosen, strict=True):
        rows = np.arange(first, first + len(positions))
        first += len(positions)
        predicted, values, discounts = judged.predicted[rows], judged.worth[rows], judged.discounts_minor[rows]
        is_whole = bool(is_finite[rows].all())
        decisions.append(
            _Decision(one, positions, rows, packed, predicted, values, discounts, scorer.version, is_whole)
        )
    return decisions


def _conclude(considered: "_Decision", known: Knowledge) -> str:
    """Give one of the candidates, or none; what is sold out here is none, and is asked for if it was to be given."""
    undecided, rules, key = considered.undecided, known.rules.policy, known.rules.key
    moment, shopper = undecided.moment, undecided.moment.shopper
    if undecided.refusal is not None:
        _open_control(shopper, considered, 0, known)
        return undecided.refusal
    considered.charge()
    wallet, is_holdout = undecided.wallet, policy.is_holdout(moment.user_id, rules, key)
    limited = [undecided.coupons.limited[position] for position in considered.positions.tolist()]
    shortages = [
        wallet.shortage(limits, held) if limits else None
        for limits, held in zip(limited, considered.held_minor, strict=True)
    ]
    if not is_holdout:
        _note_demand(considered, shortages, rules.min_value_minor)
    can_be_had = np.array([shortage is None for shortage in shortages])
    if not can_be_had.all() and not is_holdout:
        for row in _missed(considered, can_be_had, known):
            wallet.want(limited[row], considered.held_minor[row], moment.at, undecided.effects)
    if not can_be_had.any():
        return NoCoupon.SOLD_OUT
    decision = considered.narrowed(can_be_had)
    is_due = True
    if is_holdout:
        decision, is_due = _under_caps_of_holdout(decision, known)
    choice = policy.choose(decision.net(), undecided.identity, rules, key)
    result, refusal = _outcome(choice, is_holdout=is_holdout)
    if policy.is_logged(undecided.identity, rules, key):
        undecided.effects.emit(_entry(decision, considered, can_be_had, choice, result, is_holdout, known))
    if refusal is None and choice.row is not None:
        _give(decision, choice, choice.row, known)
        return "given"
    if result == "control":
        _open_control(shopper, decision, choice.best, known)
        _open_controls_beside(shopper, decision, choice.best, known)
    elif result == "holdout" and choice.row is not None:
        _withhold(shopper, decision, choice.row, known, is_due=is_due)
    else:
        row = policy.control_row(len(decision.positions), undecided.identity, key)
        _open_control(shopper, decision, row, known)
    return refusal or NoCoupon.NOT_WORTH_IT


def _missed(considered: "_Decision", can_be_had: NDArray[np.bool_], known: Knowledge) -> list[int]:
    """Return the rows that would be given if they could be had: the drawn one, and all that are better than the rest.

    Not the best one alone: it may be sold out everywhere, and what lies idle of the next one would never be asked for.
    """
    rules, net = known.rules.policy, considered.net()
    choice = policy.choose(net, considered.undecided.identity, rules, known.rules.key)
    if choice.is_control:
        return []
    least = max(float(net[can_be_had].max(initial=-np.inf)), rules.min_value_minor)
    missed = np.flatnonzero(~can_be_had & (net > least)).tolist()
    if choice.row is None or can_be_had[choice.row] or choice.row in missed:
        return missed
    return [*missed, choice.row]


def _note_demand(considered: "_Decision", shortages: Sequence[Shortage | None], least_value_minor: float) -> None:
    """Count what the decision would draw on each account with a price, were that price another one.

    A coupon without stock asks for no money. One without money asks for it: demand is what sets the price.
    """
    coupons, wallet = considered.undecided.coupons, considered.undecided.wallet
    priced = [coupons.priced[position] for position in considered.positions.tolist()]
    if not any(priced):
        return
    # Most accounts have one row: arrays would cost more than they save.
    values, net = considered.values_minor.tolist(), considered.net().tolist()
    costs = (considered.predicted[:, REDEEM] * considered.discounts_minor).tolist()
    allowed = [
        -math.inf if shortage is Shortage.STOCK else value for value, shortage in zip(net, shortages, strict=True)
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


def _entry(  # noqa: PLR0913 - all that a decision says
    decision: "_Decision",
    considered: "_Decision",
    can_be_had: NDArray[np.bool_],
    choice: Choice,
    result: DecisionResult,
    is_holdout: bool,
    known: Knowledge,
) -> LoggedDecision:
    """Return the record of a decision; `considered` has the candidates that could not be had, too."""
    undecided, rules = decision.undecided, known.rules.policy
    given = choice.row if result == "given" else None
    return choice.logged(
        [coupon.coupon_id for coupon in decision.coupons()],
        decision.values_minor,
        decision.prices_minor,
        decision_id=undecided.identity,
        user_id=undecided.moment.user_id,
        domain=undecided.event.domain,
        at=undecided.moment.at,
        trigger_id=undecided.event.event_id,
        result=result,
        model_version=decision.model_version,
        logged_ratio=rules.decisions_logged_ratio,
        sold_out=[coupon.coupon_id for coupon, can in zip(considered.coupons(), can_be_had, strict=True) if not can],
        coupon_id=NO_COUPON if given is None else decision.coupon(given).coupon_id,
        propensity=None if result == "holdout" else round(choice.propensity(given), 9),
        is_holdout=is_holdout,
    )


def _outcome(choice: Choice, *, is_holdout: bool) -> tuple[DecisionResult, NoCoupon | None]:
    """Return the result of a choice, for the record of the decision, and its reason, for the metrics."""
    if choice.is_control:
        return "control", NoCoupon.CONTROL
    if choice.row is None:
        return "not_worth_it", NoCoupon.NOT_WORTH_IT
    return ("holdout", NoCoupon.HOLDOUT) if is_holdout else ("given", None)


def issue_id(user_id: str, kind: str, trigger_id: str) -> str:
    """Identity of what may be issued to a shopper for a trigger: the same whenever it is computed.

    The kind of event is part of it, since events of two topics may share an id: what is answered for one of them would
    otherwise be taken for a copy of the other's answer, and never given back.
    """
    return f"i{stable_hash(user_id, kind, trigger_id):016x}{stable_hash(trigger_id, kind, user_id):016x}"


@dataclass(slots=True)
class _Decision:
    """The candidates of one trigger and all that was computed of them, row by row. Mutable: `charge` adds prices."""

    undecided: Undecided
    positions: Positions
    rows: Positions
    """Of the candidates, among those of all that were decided together."""
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
    """Price of its expected cost, by all budgets that it draws on."""
    held_minor: list[int] = field(default_factory=list)
    """Money that it holds of each."""

    def charge(self) -> None:
        """Add prices and holds as they are in the partition now."""
        coupons, wallet = self.undecided.coupons, self.undecided.wallet
        redeems, discounts = self.predicted[:, REDEEM], self.discounts_minor
        self.prices_minor, self.held_minor = charges(coupons, self.positions, redeems, discounts, wallet)

    def narrowed(self, kept: NDArray[np.bool_]) -> "_Decision":
        """Some of its candidates."""
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
            held_minor=[held for held, is_kept in zip(self.held_minor, kept, strict=True) if is_kept],
        )

    def net(self) -> Floats:
        """Value less price, minor units."""
        return self.values_minor - self.prices_minor

    def coupon(self, row: int) -> Coupon:
        return self.undecided.coupons.coupons[int(self.positions[row])]

    def coupons(self) -> list[Coupon]:
        """All candidates, row by row."""
        coupons = self.undecided.coupons.coupons
        return [coupons[position] for position in self.positions.tolist()]

    def features(self, row: int) -> tuple[bytes, bytes]:
        return self.packed.row(int(self.rows[row]))

    def probabilities(self, row: int) -> Predicted:
        return attribution.stored(self.predicted[row].tolist())


def charges(
    coupons: CouponSet, positions: Positions, redeems: Floats, discounts_minor: Floats, wallet: Wallet
) -> tuple[Floats, list[int]]:
    """Return the price of what each candidate draws, and the money that it holds of each budget, minor units.

    Parameters
    ----------
    positions : array of int, shape (n,)
    redeems, discounts_minor : array, shape (n,)
        P(redeem) and E(discount | redeem).
    """
    prices, held = np.zeros(len(positions)), []
    each = zip(positions.tolist(), redeems.tolist(), discounts_minor.tolist(), strict=True)
    for row, (position, redeem, discount) in enumerate(each):
        limits, hold = coupons.limited[position], coupons.coupons[position].max_discount_minor
        if limits:
            prices[row], hold = wallet.charge(limits, hold, redeem, discount)
        held.append(hold)
    return prices, held


def _open_control(
    shopper: Shopper,
    decision: _Decision,
    row: int,
    known: Knowledge,
    *,
    withheld: bool = False,
    is_beside: bool = False,
) -> None:
    """Watch whether the shopper orders in the scope of a coupon that they do not get; `is_beside` another one."""
    coupon, moment, event = decision.coupon(row), decision.undecided.moment, decision.undecided.event
    identity = decision.undecided.identity
    numeric, hashed = decision.features(row)
    control = OpenControl(
        issue_id=f"{identity}-{coupon.coupon_id}" if is_beside else identity,
        coupon_id=coupon.coupon_id,
        domain=event.domain,
        at=moment.at,
        until=moment.at + coupon.redeem_within_s,
        numeric=numeric,
        hashed=hashed,
        predicted=decision.probabilities(row),
        model_version=decision.model_version,
        withheld=withheld,
        feature_schema=SCHEMA,
        scope_mark=known.catalogue.scope_mark(coupon.coupon_id),
    )
    attribution.open_control(shopper, control, known.rules.attribution)


def _under_caps_of_holdout(decision: _Decision, known: Knowledge) -> tuple[_Decision, bool]:
    """A shopper of the holdout chooses among what others would be given under the same caps: else those who come often
    would count for more in the holdout than among others. All candidates, and False, if caps leave none."""
    history, at = decision.undecided.moment.shopper.history, decision.undecided.moment.at
    kept = np.array([not is_over_own_cap(history.withheld, coupon) for coupon in decision.coupons()])
    if not kept.any() or policy.is_over_frequency_cap(history.recent_withheld, at, known.rules.policy):
        return decision, False
    return decision.narrowed(kept), True


def _withhold(shopper: Shopper, decision: _Decision, row: int, known: Knowledge, *, is_due: bool) -> None:
    """Watch what a shopper of the holdout would have been given, marked as withheld if caps allow it, and some coupons
    beside it."""
    history = shopper.history
    if is_due:
        policy.note_issue(history.recent_withheld, decision.undecided.moment.at, known.rules.policy)
        coupon_id = decision.coupon(row).coupon_id  # capped or not: the catalogue may set a cap later
        history.withheld[coupon_id] = history.withheld.get(coupon_id, 0) + 1
    _open_control(shopper, decision, row, known, withheld=is_due)
    _open_controls_beside(shopper, decision, row, known)


def _open_controls_beside(shopper: Shopper, decision: "_Decision", best: int, known: Knowledge) -> None:
    """Watch some more coupons that the shopper does not get, evenly among all."""
    identity, rules = decision.undecided.identity, known.rules
    for row in policy.watched(len(decision.positions), best, identity, rules.policy, rules.key):
        _open_control(shopper, decision, row, known, is_beside=True)


def _give(decision: _Decision, choice: Choice, row: int, known: Knowledge) -> None:
    """Issue a coupon: its unit and its money are drawn, and what follows is waited for."""
    undecided, rules, coupon = decision.undecided, known.rules, decision.coupon(row)
    moment, effects, shopper = undecided.moment, undecided.effects, undecided.moment.shopper
    numeric, hashed = decision.features(row)
    predicted = decision.probabilities(row)
    issue = CouponIssue(
        issue_id=undecided.identity,
        user_id=moment.user_id,
        coupon_id=coupon.coupon_id,
        domain=undecided.event.domain,
        issued_at=moment.at,
        expires_at=min(moment.at + coupon.redeem_within_s, END_OF_TIME),
        trigger_id=undecided.event.event_id,
        title=coupon.title,
        discount_percent=coupon.discount_percent,
        discount_minor=coupon.discount_minor,
        max_discount_minor=coupon.max_discount_minor,
        p_click=predicted[0],
        p_redeem=predicted[1],
        p_order=predicted[2],
        value_minor=round(float(decision.values_minor[row]), 3),
        price_minor=round(float(decision.prices_minor[row]), 3),
        campaign_id=coupon.campaign_id,
        held_minor=decision.held_minor[row],
        propensity=round(choice.propensity(row), 9),
        is_explored=choice.is_drawn,
        model_version=decision.model_version,
        reasons=_reasons(undecided, coupon, numeric, hashed, known),
    )
    limits = undecided.coupons.accounts[int(decision.positions[row])]
    expected, variance = cost_of(predicted[REDEEM], float(decision.discounts_minor[row]))
    opened = OpenIssue(
        issue_id=issue.issue_id,
        coupon_id=coupon.coupon_id,
        domain=issue.domain,
        at=issue.issued_at,
        expires_at=issue.expires_at + rules.attribution.grace_s,
        held_minor=issue.held_minor,
        campaign_id=coupon.campaign_id,
        most_minor=coupon.max_discount_minor,
        keeps_rest=any(limit.hold == "maximum" for limit in limits if limit.most is not None and not limit.is_stock),
        expected_minor=expected,
        variance=variance,
        numeric=numeric,
        hashed=hashed,
        predicted=predicted,
        propensity=issue.propensity,
        model_version=decision.model_version,
        observed=False,
        feature_schema=SCHEMA,
        awaits_impressions=rules.attribution.awaits_impressions(issue.domain),
        until=issue.expires_at,
        scope_mark=known.catalogue.scope_mark(coupon.coupon_id),
    )
    undecided.wallet.draw(limits, attribution.opening(opened), effects)
    told = attribution.open_issue(shopper, opened, known.catalogue, rules.attribution)
    policy.note_issue(shopper.history.recent_issues, issue.issued_at, rules.policy)
    effects.emit(issue)
    effects.add(told)
    effects.count("issue", issue.domain)
    effects.add(attribution.join_early(shopper, issue.issue_id, known.catalogue, rules.attribution))


def _reasons(undecided: Undecided, coupon: Coupon, numeric: bytes, hashed: bytes, known: Knowledge) -> list[Reason]:
    """The features that spoke loudest for or against, as the model in use weighs them."""
    rows, coupons = attribution.unpack(numeric, hashed), undecided.coupons
    named = {name: coupon.attributes.get(name) for name in coupons.attributes}
    names = hashed_names(named, undecided.moment.context, has_vectors=coupons.has_vectors)
    contributions = known.scorer(undecided.event.domain).own.contributions(rows, 0, REDEEM, names)
    loudest = contributions[: known.rules.policy.explain_top]
    return [Reason(name, round(value, 4), round(added, 4)) for name, value, added in loudest]


def publish_vector(user_id: str, shopper: Shopper, event: ShopEvent, known: Knowledge) -> list[UserVector]:
    """The shopper's vector for the owner of their cell, if it is time; two messages when they change cells.

    None for a domain that is not among those of the catalogue: there is nothing to recommend, and who makes up domains
    would leave states that are never dropped. While there is no coupon at all, any may be meant.
    Its weights are damped: undamped, the few things that a shopper buys most would outweigh all else that they have in
    common with others.
    """
    rules, at = known.rules.neighbourhood, event.occurred_at
    last = shopper.vector_sent_at
    if last is not None and at < last + rules.publish_every_s:
        return []
    if not _may_recommend(event.domain, known):
        return []
    shopper.vector_sent_at = at
    known_by = portrait(shopper.profile, at, known.rules.profile, rules.max_vector)
    weights = _damped(known_by)
    bucket = simhash(dict(zip(known_by, weights, strict=True)), rules.cells)
    before, shopper.cell = shopper.cell, f"{event.domain}/{bucket}"
    arrival = UserVector(user_id=user_id, cell=shopper.cell, at=at, indices=list(known_by), weights=weights)
    return _moving(before, at, arrival)


def ask_for_related(user_id: str, shopper: Shopper, event: ShopEvent, known: Knowledge) -> list[UserVector]:
    """The shopper's categories for the bucket that relates categories, if it is time; none if nothing is known of them.

    A shopper who turns to another domain leaves the bucket of the one before.
    """
    rules, at, related = known.rules.neighbourhood, event.occurred_at, shopper.related
    is_of_domain = related.bucket.rpartition("/")[0] == event.domain
    if is_of_domain and at < related.asked_at + rules.related_every_s:
        return []
    if not _may_recommend(event.domain, known):
        return []
    known_by = category_portrait(shopper.profile, at, known.rules.profile, MAX_VECTOR)
    if not known_by:
        return []
    before, left_at = related.bucket, max(at, related.asked_at)
    related.bucket, related.asked_at = bucket_of(user_id, event.domain, rules.related_buckets), at
    arrival = UserVector(user_id=user_id, cell=related.bucket, at=at, indices=list(known_by), weights=_damped(known_by))
    return _moving(before, left_at, arrival)


def _moving(before: str, left_at: float, arrival: UserVector) -> list[UserVector]:
    """Return a vector, behind a departure if the shopper was in another cell before."""
    has_moved = before not in ("", arrival.cell)
    return [departure(arrival.user_id, before, left_at), arrival] if has_moved else [arrival]


def _may_recommend(domain: str, known: Knowledge) -> bool:
    return not known.catalogue.names or domain in known.catalogue.names


def _damped(vector: SparseVector) -> list[float]:
    weights: list[float] = np.round(damp(np.fromiter(vector.values(), np.float64, len(vector))), 6).tolist()
    return weights
