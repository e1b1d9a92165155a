"""The steps that decide, readable from top to bottom: take in, and decide.

take_in   an event of the shop -> profile -> neighbourhood -> candidates, if it is a trigger
decide    candidates of one trigger or of many -> features -> score -> what can be had -> policy -> a coupon-issue

A step takes a shopper's state, changes it in place and returns its effects. It knows no Kafka, no clock and no
randomness but what its arguments hand it. If it raises, the caller throws the state away and loads it again.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_coupons.core import attribution, decision_log, erasure, policy
from stream_coupons.core.attribution import PackedRows
from stream_coupons.core.candidates import eligible, is_over_own_cap
from stream_coupons.core.coupons import CouponSet, Floats, Positions
from stream_coupons.core.effects import Effects
from stream_coupons.core.events import (
    END_OF_TIME,
    NO_COUPON,
    BrowseEvent,
    CartEvent,
    Coupon,
    CouponIssue,
    DecisionResult,
    OrderEvent,
    Reason,
    UserVector,
)
from stream_coupons.core.features import SCHEMA, hashed_names
from stream_coupons.core.judgement import judge
from stream_coupons.core.missing import fill_context
from stream_coupons.core.neighbourhood import departure
from stream_coupons.core.policy import Choice
from stream_coupons.core.profile import category_portrait, fold, is_duplicate, is_familiar, portrait
from stream_coupons.core.reasons import NoCoupon
from stream_coupons.core.relations import MAX_VECTOR, bucket_of
from stream_coupons.core.scoring import HEADS, Knowledge
from stream_coupons.core.shopper import OpenControl, OpenIssue, Predicted, Shopper
from stream_coupons.core.similarity import SparseVector, damp, simhash, stable_hash
from stream_coupons.core.views import Moment
from stream_coupons.core.wallet import Wallet

ShopEvent = BrowseEvent | CartEvent | OrderEvent
KINDS: Mapping[type[ShopEvent], str] = {BrowseEvent: "browse", CartEvent: "cart", OrderEvent: "order"}
REDEEM = HEADS.index("redeem")
MAX_TOGETHER = 2**17
"""Numbers that an array may have of all that are decided together: there are some dozens of such arrays at a time, and
those that leave a processor's cache cost more than deciding together saves."""


class Times(NamedTuple):
    """What is known of the time besides what an event says; None where there is no clock."""

    appended_at: float | None = None
    """When the event was appended."""
    now: float | None = None
    """When it is worked on."""


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
    """What the shopper's partition may give."""
    effects: Effects
    """What it has brought about until here."""
    refusal: NoCoupon | None = None
    """Why nothing is given, whatever it is worth: the trigger is a control observation of the one eligible coupon."""


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
    positions = eligible(shopper, coupons, at, rules) if coupons is not None else np.array([], dtype=np.intp)
    if coupons is not None:
        # So that neither a backlog nor a history that is loaded leads to coupons that end before they are given.
        positions = positions[(coupons.valid_until[positions] > now) & (coupons.redeem_within_s[positions] > now - at)]
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
    by_domain: defaultdict[str, list[Undecided]] = defaultdict(list)
    for one in undecided:
        by_domain[one.event.domain].append(one)
    for domain, together in by_domain.items():
        size = max(MAX_TOGETHER // together[0].coupons.width, 1)
        for first in range(0, len(together), size):
            _decide_in(domain, together[first : first + size], known)
    return [one.effects for one in undecided]


def _decide_in(domain: str, undecided: Sequence[Undecided], known: Knowledge) -> None:
    moments, candidates = [one.moment for one in undecided], [one.eligible for one in undecided]
    scorer = known.scorer(domain)
    judged = judge(moments, candidates, undecided[0].coupons, scorer, known.rules)
    # A row that is not finite is forged or broken: no model says anything of it, and no message can hold it.
    is_finite = np.isfinite(np.hstack((judged.rows.numeric, judged.predicted)))
    packed, first = attribution.pack(judged.rows), 0
    for one, positions in zip(undecided, judged.chosen, strict=True):
        rows = np.arange(first, first + len(positions))
        first += len(positions)
        decision = _Decision(one, positions, rows, packed, judged.predicted, judged.worth, scorer.version)
        one.effects.count("decision", _conclude(decision, known) if is_finite[rows].all() else NoCoupon.NOT_FINITE)
        one.wallet.book(one.effects.freed)  # before the next one is decided, as if each were alone


def _conclude(considered: "_Decision", known: Knowledge) -> str:
    """Give one of the candidates, or none; what is sold out here is none, and is asked for if it was to be given."""
    undecided, rules, key = considered.undecided, known.rules.policy, known.rules.key
    moment, shopper = undecided.moment, undecided.moment.shopper
    if undecided.refusal is not None:
        _open_control(shopper, considered, 0, known)
        return undecided.refusal
    coupons = considered.coupons()
    can_be_had = [undecided.wallet.shortage(coupon, moment.at) is None for coupon in coupons]
    is_holdout = policy.is_holdout(moment.user_id, rules, key)
    if not all(can_be_had):
        wished = policy.choose(considered.values(), undecided.identity, rules, key).row
        if wished is not None and not can_be_had[wished] and not is_holdout:
            undecided.wallet.want(coupons[wished], moment.at, undecided.effects)
        if not any(can_be_had):
            return NoCoupon.SOLD_OUT
    decision = considered.narrowed(np.array(can_be_had))
    is_due = True
    if is_holdout:
        decision, is_due = _under_caps_of_holdout(decision, known)
    choice = policy.choose(decision.values(), undecided.identity, rules, key)
    result, refusal = _outcome(choice, is_holdout=is_holdout)
    if decision_log.is_logged(undecided.identity, rules, key):
        given = choice.row if result == "given" else None
        undecided.effects.emit(
            decision_log.entry(
                [coupon.coupon_id for coupon in decision.coupons()],
                decision.values(),
                choice,
                decision_id=undecided.identity,
                user_id=moment.user_id,
                domain=undecided.event.domain,
                at=moment.at,
                trigger_id=undecided.event.event_id,
                result=result,
                model_version=decision.model_version,
                ratio=rules.decisions_logged_ratio,
                sold_out=[coupon.coupon_id for coupon, can in zip(coupons, can_be_had, strict=True) if not can],
                coupon_id=NO_COUPON if given is None else decision.coupon(given).coupon_id,
                propensity=None if result == "holdout" else round(choice.propensity(given), 9),
                is_holdout=is_holdout,
            )
        )
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


def _outcome(choice: Choice, *, is_holdout: bool) -> tuple[DecisionResult, NoCoupon | None]:
    """What a choice leads to, as the record of the decision and the metrics say it."""
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


@dataclass(frozen=True, slots=True)
class _Decision:
    """The candidates of one trigger and all that was computed of them, row by row."""

    undecided: Undecided
    positions: Positions
    rows: Positions
    """Of the candidates, among those of all that were decided together."""
    packed: PackedRows
    predicted: Floats
    worth: Floats
    model_version: int

    def narrowed(self, kept: NDArray[np.bool_]) -> "_Decision":
        """Some of its candidates."""
        return self if kept.all() else replace(self, positions=self.positions[kept], rows=self.rows[kept])

    def coupon(self, row: int) -> Coupon:
        return self.undecided.coupons.coupons[int(self.positions[row])]

    def coupons(self) -> list[Coupon]:
        """All candidates, row by row."""
        coupons = self.undecided.coupons.coupons
        return [coupons[position] for position in self.positions.tolist()]

    def values(self) -> Floats:
        """What each candidate is worth, minor units, shape (n,)."""
        return self.worth[self.rows]

    def features(self, row: int) -> tuple[bytes, bytes]:
        return self.packed.row(int(self.rows[row]))

    def probabilities(self, row: int) -> Predicted:
        return attribution.stored(self.predicted[self.rows[row]].tolist())


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
    control_id = f"{decision.undecided.identity}-{coupon.coupon_id}" if is_beside else decision.undecided.identity
    numeric, hashed = decision.features(row)
    control = OpenControl(
        control_id=control_id,
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
        scope_mark=known.catalogue.scope_mark(coupon.coupon_id) or 0,
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
        value_minor=round(float(decision.values()[row]), 3),
        propensity=round(choice.propensity(row), 9),
        is_explored=choice.is_drawn,
        model_version=decision.model_version,
        reasons=_reasons(undecided, coupon, numeric, hashed, known),
    )
    opened = OpenIssue(
        issue_id=issue.issue_id,
        coupon_id=coupon.coupon_id,
        domain=issue.domain,
        at=issue.issued_at,
        expires_at=issue.expires_at + rules.attribution.grace_s,
        held_minor=coupon.max_discount_minor,
        numeric=numeric,
        hashed=hashed,
        predicted=predicted,
        propensity=issue.propensity,
        model_version=decision.model_version,
        observed=False,
        feature_schema=SCHEMA,
        awaits_impressions=rules.attribution.awaits_impressions(issue.domain),
        until=issue.expires_at,
        scope_mark=known.catalogue.scope_mark(coupon.coupon_id) or 0,
    )
    undecided.wallet.draw(coupon, moment.at, effects)
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
    cell = f"{event.domain}/{simhash(dict(zip(known_by, weights, strict=True)), rules.cells)}"
    vectors = []
    if shopper.cell and shopper.cell != cell:
        vectors.append(departure(user_id, shopper.cell, at))
    shopper.cell = cell
    vectors.append(UserVector(user_id=user_id, cell=cell, at=at, indices=list(known_by), weights=weights))
    return vectors


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
    vectors, bucket = [], bucket_of(user_id, event.domain, rules.related_buckets)
    if related.bucket and related.bucket != bucket:
        vectors.append(departure(user_id, related.bucket, max(at, related.asked_at)))
    related.bucket, related.asked_at = bucket, at
    weights = _damped(known_by)
    vectors.append(UserVector(user_id=user_id, cell=bucket, at=at, indices=list(known_by), weights=weights))
    return vectors


def _may_recommend(domain: str, known: Knowledge) -> bool:
    return not known.catalogue.names or domain in known.catalogue.names


def _damped(vector: SparseVector) -> list[float]:
    weights: list[float] = np.round(damp(np.fromiter(vector.values(), np.float64, len(vector))), 6).tolist()
    return weights
