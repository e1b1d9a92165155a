"""The steps that decide, readable from top to bottom: propose, decide and confirm.

propose   an event of the shop -> profile -> neighbourhood -> candidates, if it is a trigger
decide    candidates of one trigger or of many -> features -> score -> policy -> proposals
confirm   the budgets' answer -> caps, expiry, one issue per trigger -> a coupon-issue

A step takes a shopper's state, changes it in place and returns its effects. It knows no Kafka, no clock and no
randomness but what its arguments hand it. If it raises, the caller throws the state away and loads it again.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from stream_coupons.core import attribution, decision_log, erasure, policy
from stream_coupons.core.attribution import PackedRows
from stream_coupons.core.candidates import eligible, is_over_own_cap
from stream_coupons.core.coupons import CouponSet, Floats, Positions, most_off
from stream_coupons.core.effects import Effects
from stream_coupons.core.events import (
    END_OF_TIME,
    Alternative,
    BrowseEvent,
    CartEvent,
    Coupon,
    CouponIssue,
    DecisionResult,
    OrderEvent,
    Proposal,
    Reason,
    Reservation,
    Settlement,
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
from stream_coupons.core.rules import PolicyRules
from stream_coupons.core.scoring import HEADS, Knowledge
from stream_coupons.core.shopper import (
    Considered,
    OpenControl,
    OpenIssue,
    OpenProposal,
    Option,
    Predicted,
    Shopper,
)
from stream_coupons.core.similarity import SparseVector, damp, simhash, stable_hash
from stream_coupons.core.views import Moment

ShopEvent = BrowseEvent | CartEvent | OrderEvent
KINDS: Mapping[type[ShopEvent], str] = {BrowseEvent: "browse", CartEvent: "cart", OrderEvent: "order"}
REDEEM = HEADS.index("redeem")
RESULTS: Mapping[NoCoupon, DecisionResult] = {
    NoCoupon.TIMED_OUT: "timed_out",
    NoCoupon.FREQUENCY_CAP: "frequency_cap",
    NoCoupon.QUIET_HOURS: "quiet_hours",
    NoCoupon.NO_CANDIDATE: "no_candidate",
    NoCoupon.REPEATED: "repeated",
}
"""Why a coupon that the budgets held was not given, as the record of the decision says it."""
MAX_TOGETHER = 2**17
"""Numbers that an array may have of all that are decided together: there are some dozens of such arrays at a time, and
those that leave a processor's cache cost more than deciding together saves."""


@dataclass(frozen=True, slots=True)
class Undecided:
    """A trigger that may lead to a proposal: its shopper's state must not change before `decide` has taken it."""

    moment: Moment
    event: ShopEvent
    identity: str
    coupons: CouponSet
    eligible: Positions
    effects: Effects
    """What it has brought about until here."""
    refusal: NoCoupon | None = None
    """Why nothing is given, whatever it is worth: the trigger is a control observation of the one eligible coupon."""


def propose(
    user_id: str, shopper: Shopper, event: ShopEvent, known: Knowledge, appended_at: float | None = None
) -> Effects | Undecided:
    """Fold an event into the shopper's state and, if it is a trigger, find the coupons that the shopper may get.

    `appended_at` is when the event was appended, if that is known: what is decided is decided as of then if the event
    says that it comes later. A sender whose clock is ahead would otherwise be given coupons before they start, and then
    none until that time has come.
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
    at = event.occurred_at if appended_at is None else min(event.occurred_at, appended_at)
    found = _candidates(user_id, shopper, event, at, known, effects)
    if isinstance(found, Undecided):
        return found
    effects.count("decision", found)
    return effects


def _candidates(
    user_id: str, shopper: Shopper, event: ShopEvent, at: float, known: Knowledge, effects: Effects
) -> Undecided | NoCoupon:
    rules = known.rules.policy
    objection = policy.standing_objection(shopper, at, rules)
    identity = issue_id(user_id, KINDS[type(event)], event.event_id)
    if objection is not None and (shopper.issues or not policy.is_watched(objection, identity, rules, known.rules.key)):
        return objection
    # Two proposals of one identity could both be granted, and only one of them may be given.
    if identity in shopper.asked or attribution.is_decided(shopper, identity):
        return NoCoupon.REPEATED
    coupons = known.catalogue.of_domain(event.domain)
    positions = eligible(shopper, coupons, at, rules) if coupons is not None else np.array([], dtype=np.intp)
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
    return Undecided(moment, event, identity, coupons, positions, effects, objection)


def decide(undecided: Sequence[Undecided], known: Knowledge) -> list[Effects]:
    """Propose to each shopper the best coupon for now, or none: the effects of their whole events.

    Each decision is the one that it would be alone, to the last bit; together they cost a fraction.
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
        decision = _Decision(one, positions, first, packed, judged.predicted, judged.worth, scorer.version)
        can_decide = is_finite[first : first + len(positions)].all()
        first += len(positions)
        one.effects.count("decision", _conclude(decision, known) if can_decide else NoCoupon.NOT_FINITE)


def _conclude(decision: "_Decision", known: Knowledge) -> str:
    rules, undecided = known.rules.policy, decision.undecided
    user_id, shopper = undecided.moment.user_id, undecided.moment.shopper
    if undecided.refusal is not None:
        _open_control(shopper, decision, 0, known)
        return undecided.refusal
    worth = decision.worth[decision.first :][: len(decision.positions)]
    choice = policy.choose(worth, undecided.identity, rules, known.rules.key)
    chosen_among = None
    if decision_log.is_logged(undecided.identity, rules, known.rules.key):
        chosen_among = decision_log.considered(decision.coupon_ids(), worth, choice)
    is_holdout = policy.is_holdout(user_id, rules, known.rules.key)
    if choice.is_control:
        _open_control(shopper, decision, choice.best, known)
        _open_controls_beside(shopper, decision, choice.best, known)
        _log(decision, chosen_among, "control", rules, choice.propensity(None), is_holdout=is_holdout)
        return NoCoupon.CONTROL
    if not choice.order:
        row = policy.control_row(len(decision.positions), undecided.identity, known.rules.key)
        _open_control(shopper, decision, row, known)
        _log(decision, chosen_among, "not_worth_it", rules, choice.propensity(None), is_holdout=is_holdout)
        return NoCoupon.NOT_WORTH_IT
    if is_holdout:
        _withhold(shopper, decision, choice, known)
        _log(decision, chosen_among, "holdout", rules, None, is_holdout=True)
        return NoCoupon.HOLDOUT
    undecided.effects.emit(_open_proposal(user_id, shopper, decision, choice, known, chosen_among))
    return "proposed"


def _log(
    decision: "_Decision",
    chosen_among: Considered | None,
    result: DecisionResult,
    rules: PolicyRules,
    propensity: float | None,
    *,
    is_holdout: bool,
) -> None:
    """Put a decision that gives nothing on record."""
    if chosen_among is None:
        return
    undecided = decision.undecided
    undecided.effects.emit(
        decision_log.entry(
            chosen_among,
            decision_id=undecided.identity,
            user_id=undecided.moment.user_id,
            domain=undecided.event.domain,
            at=undecided.moment.at,
            trigger_id=undecided.event.event_id,
            result=result,
            model_version=decision.model_version,
            ratio=rules.decisions_logged_ratio,
            propensity=propensity,
            is_holdout=is_holdout,
        )
    )


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
    first: int
    """Of its rows among those of all that were decided together."""
    packed: PackedRows
    predicted: Floats
    worth: Floats
    model_version: int

    def coupon(self, row: int) -> Coupon:
        return self.undecided.coupons.coupons[int(self.positions[row])]

    def coupon_ids(self) -> list[str]:
        """Ids of all candidates, row by row."""
        coupons = self.undecided.coupons.coupons
        return [coupons[position].coupon_id for position in self.positions.tolist()]

    def features(self, row: int) -> tuple[bytes, bytes]:
        return self.packed.row(self.first + row)

    def probabilities(self, row: int) -> Predicted:
        return attribution.stored(self.predicted[self.first + row].tolist())

    def option(self, row: int, propensity: float) -> Option:
        coupon = self.coupon(row)
        numeric, hashed = self.features(row)
        return Option(
            coupon_id=coupon.coupon_id,
            amount_minor=coupon.max_discount_minor,
            numeric=numeric,
            hashed=hashed,
            predicted=self.probabilities(row),
            value_minor=round(float(self.worth[self.first + row]), 3),
            propensity=round(propensity, 9),
        )


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


def _withhold(shopper: Shopper, decision: "_Decision", choice: Choice, known: Knowledge) -> None:
    """Watch what a shopper of the holdout would have been given, and some coupons beside it.

    Marked as withheld is only what others would have been given, under the same caps: else those who come often would
    count for more in the holdout than among others.
    """
    at, rules, history = decision.undecided.moment.at, known.rules.policy, shopper.history
    wanted = [*choice.wanted, *choice.greedy] if choice.is_drawn else choice.wanted
    due = [row for row in wanted if not is_over_own_cap(history.withheld, decision.coupon(row))]
    best = (due or wanted)[0]
    is_due = bool(due) and not policy.is_over_frequency_cap(history.recent_withheld, at, rules)
    if is_due:
        policy.note_issue(history.recent_withheld, at, rules)
        coupon_id = decision.coupon(best).coupon_id  # capped or not: the catalogue may set a cap later
        history.withheld[coupon_id] = history.withheld.get(coupon_id, 0) + 1
    _open_control(shopper, decision, best, known, withheld=is_due)
    _open_controls_beside(shopper, decision, best, known)


def _open_controls_beside(shopper: Shopper, decision: "_Decision", best: int, known: Knowledge) -> None:
    """Watch some more coupons that the shopper does not get, evenly among all."""
    identity, rules = decision.undecided.identity, known.rules
    for row in policy.watched(len(decision.positions), best, identity, rules.policy, rules.key):
        _open_control(shopper, decision, row, known, is_beside=True)


def _open_proposal(
    user_id: str,
    shopper: Shopper,
    decision: _Decision,
    choice: Choice,
    known: Knowledge,
    chosen_among: Considered | None,
) -> Proposal:
    event, identity, rules = decision.undecided.event, decision.undecided.identity, known.rules.policy
    at = decision.undecided.moment.at
    expires_at = min(at + rules.proposal_timeout_s, END_OF_TIME)
    # A row of the ranking is given only when those above it are sold out.
    asked = [*enumerate(choice.order)]
    options = [decision.option(row, choice.propensity(row, refused)) for refused, row in asked[choice.probes :]]
    probes = [decision.coupon(row) for row in choice.order[: choice.probes]]
    shopper.ask(
        OpenProposal(
            proposal_id=identity,
            trigger_id=event.event_id,
            domain=event.domain,
            at=at,
            expires_at=expires_at,
            model_version=decision.model_version,
            options=options,
            context=dict(decision.undecided.moment.context),
            feature_schema=SCHEMA,
            is_drawn=choice.is_drawn,
            probes=choice.probes,
            drawn_propensity=round(choice.propensity(choice.order[-1], len(choice.greedy)), 9),
            considered=chosen_among,
        )
    )
    return Proposal(
        proposal_id=identity,
        user_id=user_id,
        at=at,
        expires_at=expires_at,
        alternatives=[
            *(Alternative(coupon.coupon_id, coupon.max_discount_minor) for coupon in probes),
            *(Alternative(option.coupon_id, option.amount_minor) for option in options),
        ],
        is_drawn=choice.is_drawn,
    )


def _chances(proposal: OpenProposal, option: Option, refused: int) -> tuple[float, int]:
    """The propensity of what is given, and its rank, when so many that were asked for before it could not be had."""
    if not proposal.is_drawn:
        return option.propensity, refused
    return option.propensity if refused == proposal.probes else proposal.drawn_propensity, 0


def confirm(
    user_id: str, shopper: Shopper, reservation: Reservation, known: Knowledge, answered_at: float | None = None
) -> Effects:
    """Turn a granted reservation into the one issue of its trigger, or give it back.

    It answers the proposal of its identity and time. Whatever else is granted is given back, unless it is a copy: no
    proposal waits for one, and its identity is decided.

    `answered_at` is when the answer was appended, if that is known: a proposal whose time was over by then times out,
    tick or no tick, and so does one whose coupon can no longer be used by then. So neither a backlog nor a history that
    is loaded leads to coupons that end before they are given. Nor is one given in quiet hours that have begun since.
    """
    effects = Effects()
    identity = reservation.proposal_id
    proposal, is_awaited = shopper.take_answered(identity, reservation.at)
    is_decided = attribution.is_decided(shopper, identity)
    if is_decided and not is_awaited:
        effects.count("duplicate", "reservation")
        return effects
    ratio = known.rules.policy.decisions_logged_ratio
    if not reservation.granted:
        effects.count("decision", NoCoupon.SOLD_OUT)
        # One that timed out before is on record as that.
        if proposal is not None:
            effects.emit_if(decision_log.of_proposal(user_id, proposal, "sold_out", ratio, answer=reservation))
        return effects
    refusal = NoCoupon.REPEATED if is_decided else _refusal(shopper, proposal, reservation, known, answered_at)
    option = _option(proposal, reservation.coupon_id)
    coupon = known.catalogue.by_id.get(reservation.coupon_id)
    if refusal is not None or proposal is None or option is None or coupon is None:
        refusal = refusal or NoCoupon.TIMED_OUT
        effects.count("decision", refusal)
        if proposal is not None:
            result = RESULTS[refusal]
            effects.emit_if(decision_log.of_proposal(user_id, proposal, result, ratio, answer=reservation))
        # A second copy of this answer must not be given back a second time.
        if not is_decided:
            attribution.remember_closed(shopper, identity)
        _settle(reservation, "released", effects)
        return effects

    propensity, rank = _chances(proposal, option, reservation.refused)
    issue = _issue(user_id, proposal, option, coupon, known, propensity=propensity, rank=rank)
    opened = OpenIssue(
        issue_id=identity,
        coupon_id=coupon.coupon_id,
        domain=proposal.domain,
        at=issue.issued_at,
        expires_at=issue.expires_at + known.rules.attribution.grace_s,
        held_minor=reservation.amount_minor,
        numeric=option.numeric,
        hashed=option.hashed,
        predicted=option.predicted,
        propensity=propensity,
        model_version=proposal.model_version,
        observed=False,
        feature_schema=proposal.feature_schema,
        awaits_impressions=known.rules.attribution.awaits_impressions(proposal.domain),
        until=issue.expires_at,
        ordered=option.ordered,
        order_value_minor=option.order_value_minor,
        scope_mark=known.catalogue.scope_mark(coupon.coupon_id) or 0,
    )
    told = attribution.open_issue(shopper, opened, known.catalogue, known.rules.attribution)
    policy.note_issue(shopper.history.recent_issues, issue.issued_at, known.rules.policy)
    effects.emit(issue)
    effects.emit_if(
        decision_log.of_proposal(user_id, proposal, "given", ratio, answer=reservation, propensity=propensity)
    )
    effects.add(told)
    _settle(reservation, "confirmed", effects)
    effects.count("issue", proposal.domain)
    effects.add(attribution.join_early(shopper, identity, known.catalogue, known.rules.attribution))
    return effects


def _refusal(
    shopper: Shopper,
    proposal: OpenProposal | None,
    reservation: Reservation,
    known: Knowledge,
    answered_at: float | None,
) -> NoCoupon | None:
    if proposal is None or (answered_at is not None and answered_at >= proposal.expires_at):
        return NoCoupon.TIMED_OUT
    if policy.is_over_frequency_cap(shopper.history.recent_issues, proposal.at, known.rules.policy):
        return NoCoupon.FREQUENCY_CAP
    now = max(proposal.at, answered_at or proposal.at)
    if policy.is_quiet(now, known.rules.policy):
        return NoCoupon.QUIET_HOURS
    coupon = known.catalogue.by_id.get(reservation.coupon_id)
    if coupon is None or is_over_own_cap(shopper.history.given, coupon):
        return NoCoupon.NO_CANDIDATE
    # The catalogue may have changed since: the coupon must still be what was decided on, and what is held be enough.
    is_valid = coupon.domain == proposal.domain and coupon.valid_from <= now < coupon.valid_until
    if not is_valid or most_off(coupon) > reservation.amount_minor:
        return NoCoupon.NO_CANDIDATE
    if now >= _expires_at(proposal, coupon):
        return NoCoupon.TIMED_OUT
    return None


def _expires_at(proposal: OpenProposal, coupon: Coupon) -> float:
    """Until when a coupon can be used: its time begins with the trigger, not with the budgets' answer."""
    return min(proposal.at + coupon.redeem_within_s, END_OF_TIME)


def _option(proposal: OpenProposal | None, coupon_id: str) -> Option | None:
    options = proposal.options if proposal is not None else []
    return next((option for option in options if option.coupon_id == coupon_id), None)


def _settle(reservation: Reservation, outcome: Literal["confirmed", "released"], effects: Effects) -> None:
    effects.count("settlement", outcome)
    effects.emit(
        Settlement(
            proposal_id=reservation.proposal_id,
            coupon_id=reservation.coupon_id,
            at=reservation.at,
            outcome=outcome,
            held_minor=reservation.amount_minor,
        )
    )


def _issue(  # noqa: PLR0913 - all that an issue says
    user_id: str,
    proposal: OpenProposal,
    option: Option,
    coupon: Coupon,
    known: Knowledge,
    *,
    propensity: float,
    rank: int,
) -> CouponIssue:
    return CouponIssue(
        issue_id=proposal.proposal_id,
        user_id=user_id,
        coupon_id=coupon.coupon_id,
        domain=proposal.domain,
        issued_at=proposal.at,
        expires_at=_expires_at(proposal, coupon),
        trigger_id=proposal.trigger_id,
        title=coupon.title,
        discount_percent=coupon.discount_percent,
        discount_minor=coupon.discount_minor,
        # One whose amount off stayed may have a higher maximum now: never promise more than is held.
        max_discount_minor=min(coupon.max_discount_minor, option.amount_minor),
        p_click=option.predicted[0],
        p_redeem=option.predicted[1],
        p_order=option.predicted[2],
        value_minor=option.value_minor,
        propensity=propensity,
        rank=rank,
        is_explored=proposal.is_drawn,
        model_version=proposal.model_version,
        reasons=_reasons(proposal, option, coupon, known),
    )


def _reasons(proposal: OpenProposal, option: Option, coupon: Coupon, known: Knowledge) -> list[Reason]:
    """The features that spoke loudest for or against, as the model in use now weighs them.

    None of a row that another version kept, whose places and numbers may mean something else, or be more or fewer.
    """
    if proposal.feature_schema != SCHEMA:
        return []
    rows = attribution.unpack(option.numeric, option.hashed)
    coupons, attributes = known.catalogue.of_domain(proposal.domain), coupon.attributes
    looked_at, has_vectors = (coupons.attributes, coupons.has_vectors) if coupons is not None else ((), False)
    named = {name: attributes.get(name) for name in looked_at}
    names = hashed_names(named, proposal.context, has_vectors=has_vectors)
    # The catalogue may have lost attributes or vectors since.
    names += ("unknown",) * (rows.hashed.shape[1] - len(names))
    loudest = known.scorer(proposal.domain).own.contributions(rows, 0, REDEEM, names)[: known.rules.policy.explain_top]
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
