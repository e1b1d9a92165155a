"""Recorded events played with the present catalogue and with another one, and the two compared.

Both plays use the same events, draws and models, and learn nothing meanwhile. So whatever differs is due to the
catalogue. Both begin without purses and without the past of shoppers: budgets are full, and what shoppers did before
the first event is not known.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec
import numpy as np
from msgspec import Struct

from stream_coupons.core.decision.scoring import Scorer
from stream_coupons.core.messages.catalogue import Campaign, Coupon
from stream_coupons.core.messages.decisions import CouponIssue, LoggedDecision
from stream_coupons.core.messages.fields import NO_COUPON
from stream_coupons.core.messages.inputs import BrowseEvent, CartEvent, OrderEvent
from stream_coupons.core.rules import PolicyRules
from stream_coupons.kafka import topics
from stream_coupons.kafka.records import Output
from stream_coupons.models.linear import prior
from stream_coupons.models.metrics import Interval
from stream_coupons.settings import Settings
from stream_coupons.testing import LocalPipeline
from stream_coupons_lab.offline.replay import EventClock
from stream_coupons_lab.ope import ope, own_valuation
from stream_coupons_lab.ope.own_decisions import arrays, is_withheld, probabilities
from stream_coupons_lab.ope.own_log import OwnLog

Event = BrowseEvent | CartEvent | OrderEvent
EVENTS = (topics.BROWSE, topics.CART, topics.ORDER)
"""Topics that are played. Feedback is not: it tells of coupons that were given otherwise."""
TICK_EVERY_S = 3600.0


class Entries(NamedTuple):
    """A catalogue: coupons and campaigns by id."""

    coupons: Mapping[str, Coupon]
    campaigns: Mapping[str, Campaign]


class CouponPlay(Struct, frozen=True, kw_only=True):
    """The results of one coupon in a play; all but the counts is predicted, minor units.

    Attributes
    ----------
    given, shoppers : int
        Number of coupons given, and of shoppers who got one.
    spend_minor : float
        P(redeem) times the discount on an order of the coupon's typical price, summed.
    value_minor : float
        Expected gain over giving none, summed.
    """

    given: int
    shoppers: int
    spend_minor: float
    value_minor: float


class Measured(Struct, frozen=True, kw_only=True):
    """Off-policy estimate of the margin of a play's decisions above that of the recorded ones, minor units a decision.

    Attributes
    ----------
    decisions : int
        Recorded decisions in which the play's choice, exploration apart, had a chance, too.
    left_out : int
        The others, of which nothing can be measured.
    gain_minor : Interval or None
        Doubly robust, with an interval of 95 % by shopper; None without decisions.
    """

    domain: str
    decisions: int
    left_out: int
    gain_minor: Interval | None


class Side(Struct, frozen=True, kw_only=True):
    """One play."""

    coupons: dict[str, CouponPlay]
    shoppers: int
    spend_minor: float
    value_minor: float
    margin: list[Measured]


class WhatIf(Struct, frozen=True, kw_only=True):
    """The two plays: with the present catalogue, and with the new one.

    Attributes
    ----------
    decisions, changed : int
        Triggers that were decided in one of the plays at least, and those of which the coupon differs.
    """

    events: int
    decisions: int
    changed: int
    present: Side
    new: Side


class Play:
    """Events played with a catalogue.

    Parameters
    ----------
    settings : Settings
        Of the workers. All decisions are recorded, and no approval is asked for: what is not signed yet can be played.
    entries : Entries
        The catalogue.
    scorers : mapping of str to Scorer
        Models by domain.
    """

    def __init__(self, settings: Settings, entries: Entries, scorers: Mapping[str, Scorer]) -> None:
        replace = msgspec.structs.replace
        policy = replace(settings.policy, decisions_logged_ratio=1.0)
        free = replace(settings, policy=policy, approval=replace(settings.approval, required=0))
        self._entries = entries
        self._issues: list[CouponIssue] = []
        self.decisions: dict[str, LoggedDecision] = {}
        self._pipeline = LocalPipeline(
            free, entries.coupons.values(), campaigns=entries.campaigns.values(), scorer=prior(), on_output=_forget
        )
        self._pipeline.serve_models(scorers)
        self._pipeline.listen(CouponIssue, self._issues.append)
        self._pipeline.listen(LoggedDecision, self._note)

    def _note(self, decision: LoggedDecision) -> None:
        self.decisions[decision.decision_id] = decision

    def feed(self, events: Iterable[Event]) -> None:
        """Play events in the order of their times."""
        clock = EventClock(TICK_EVERY_S)
        for event in events:
            if (tick_at := clock.advance(event.occurred_at)) is not None:
                self._pipeline.tick(tick_at)
            self._pipeline.publish(event)

    def side(self, log: OwnLog, rules: PolicyRules) -> Side:
        """Return the results, valued on the log of recorded decisions where these allow it."""
        of_coupon: dict[str, list[CouponIssue]] = {}
        for issue in self._issues:
            of_coupon.setdefault(issue.coupon_id, []).append(issue)
        coupons = {name: self._of_coupon(name, given) for name, given in sorted(of_coupon.items())}
        domains = sorted({one.domain for one in log.decisions.values()})
        return Side(
            coupons=coupons,
            shoppers=len({issue.user_id for issue in self._issues}),
            spend_minor=round(sum(one.spend_minor for one in coupons.values()), 2),
            value_minor=round(sum(one.value_minor for one in coupons.values()), 2),
            margin=[found for name in domains if (found := measured(log, self.decisions, name, rules)) is not None],
        )

    def _of_coupon(self, name: str, given: Sequence[CouponIssue]) -> CouponPlay:
        compiled = self._pipeline.catalogue.set_of(name)
        discount = float(compiled.discount_minor[compiled.position[name]])
        return CouponPlay(
            given=len(given),
            shoppers=len({issue.user_id for issue in given}),
            spend_minor=round(sum(issue.p_redeem for issue in given) * discount, 2),
            value_minor=round(sum(issue.value_minor for issue in given), 2),
        )


def _forget(_: Output) -> None:
    """Keep no output: those that count have listeners."""


def compared(
    settings: Settings,
    events: Sequence[Event],
    sides: tuple[Entries, Entries],
    scorers: Mapping[str, Scorer],
    log: OwnLog,
    watched: Callable[[str, Sequence[Event]], Iterable[Event]] = lambda _, events: events,
) -> WhatIf:
    """Return the plays of the present and of the new catalogue.

    Parameters
    ----------
    settings : Settings
        Of the workers.
    events : sequence of Event
        In any order.
    sides : tuple of Entries
        The present catalogue, and the new one.
    scorers : mapping of str to Scorer
        Models by domain.
    log : OwnLog
        The recorded decisions and their outcomes.
    watched : callable, optional
        Called with the name of a play and its events; returns them, to see how far it is.
    """
    ordered = sorted(events, key=lambda event: (event.occurred_at, event.event_id))
    present, new = plays = [Play(settings, one, scorers) for one in sides]
    for name, each in zip(("as published", "with the change"), plays, strict=True):
        each.feed(watched(f"deciding {name}", ordered))
    ids = present.decisions.keys() | new.decisions.keys()
    return WhatIf(
        events=len(ordered),
        decisions=len(ids),
        changed=sum(_given(present, one) != _given(new, one) for one in ids),
        present=present.side(log, settings.policy),
        new=new.side(log, settings.policy),
    )


def _given(play: Play, decision_id: str) -> str:
    decision = play.decisions.get(decision_id)
    return "" if decision is None or decision.result != "given" else decision.coupon_id


def measured(log: OwnLog, played: Mapping[str, LoggedDecision], domain: str, rules: PolicyRules) -> Measured | None:
    """Return the off-policy estimate of the margin of played decisions in a domain; None if no window has closed.

    Parameters
    ----------
    log : OwnLog
        The recorded decisions and their outcomes.
    played : mapping of str to LoggedDecision
        By id; their choices without exploration are valued.
    """
    window_s = log.window_s()
    closed = [one for one in log.decisions.values() if one.domain == domain and one.at <= log.ends_at - window_s]
    known = [one for one in closed if not is_withheld(one)]
    kept = [one for one in known if one.decision_id in played and _is_covered(one, played[one.decision_id])]
    if not known:
        return None
    if not kept:
        return Measured(domain=domain, decisions=0, left_out=len(known), gain_minor=None)
    kept.sort(key=lambda one: (one.at, one.decision_id))  # the order of `arrays`
    decisions = arrays(kept, domain, log.ends_at - window_s)
    target = np.zeros(decisions.logging.shape)
    for row, one in enumerate(kept):
        columns = {arm: column for column, arm in enumerate(one.arms, start=1)}
        target[row, columns.get(_choice(played[one.decision_id]), 0)] = 1.0
    reward, before = own_valuation.outcomes(log, decisions, domain, window_s, rules)
    predicted = own_valuation.predicted(decisions, reward, before)
    logged = ope.Logged(decisions.shopper, decisions.chosen, decisions.propensity, reward, predicted)
    gain = ope.value(logged, target).gains[ope.Estimator.DR]
    return Measured(domain=domain, decisions=len(kept), left_out=len(known) - len(kept), gain_minor=gain)


def _choice(decision: LoggedDecision) -> str:
    """Return the arm that a decision gives without exploration, or `none`; of a policy that draws, the likeliest."""
    if decision.shares:
        return [*decision.arms, NO_COUPON][int(np.argmax(decision.shares))]
    return NO_COUPON if decision.best is None else decision.arms[decision.best]


def _is_covered(recorded: LoggedDecision, played: LoggedDecision) -> bool:
    """Return True if the choice of a played decision had a chance in the recorded one."""
    chances = dict(zip([*recorded.arms, NO_COUPON], probabilities(recorded), strict=True))
    return not is_withheld(played) and chances.get(_choice(played), 0.0) > 0.0
