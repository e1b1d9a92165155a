"""The shoppers of a foreign log: the agents `users` and `neighbours` on states in memory.

Nothing is decided here and nothing is sent, so there is neither a broker nor a record nor a byte. The state of a
shopper does not depend on any model: what was predicted of an issue is not in it. So issues are scored later, many at
once: see `learning_queue`. A `LocalPipeline`, which encodes every message and scores one issue at a time, takes 2.2 to
3 times the CPU for the same labels.
"""

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from copy import copy

import msgspec

from stream_coupons.agents.neighbours import Neighbours
from stream_coupons.agents.users import Users
from stream_coupons.core.catalogue.catalogue import Catalogue
from stream_coupons.core.catalogue.compiled import CouponSet
from stream_coupons.core.decision import observation
from stream_coupons.core.decision.scoring import Knowledge
from stream_coupons.core.effects import Effects
from stream_coupons.core.features.affinity import Moment
from stream_coupons.core.messages.catalogue import Coupon
from stream_coupons.core.messages.inputs import BrowseEvent, CartEvent, FeedbackEvent, ObservedIssue, OrderEvent
from stream_coupons.core.messages.learning import TrainingExample
from stream_coupons.core.messages.neighbours import NeighbourUpdate, UserVector
from stream_coupons.core.neighbours.buckets import BucketMember
from stream_coupons.core.rules import AttributionRules, Rules
from stream_coupons.core.shopper.state import Shopper
from stream_coupons.kafka import topics
from stream_coupons.kafka.records import Record
from stream_coupons.models.linear import prior
from stream_coupons.runtime.deadlines import Deadlines
from stream_coupons.settings import Settings

NO_RECORD = Record(topics.VECTORS.name, 0, 0, 0, None, None)
"""Stands for the record that a message would come in."""
OF_FEATURES = ("profile", "neighbourhood", "history", "related")
"""The parts of a shopper's state that features are made of."""
NO_FEATURES = bytes(4)
"""Placeholder for an issue's numeric features, which are kept elsewhere: it is not empty, so the issue is learnt."""


def for_logs(settings: Settings) -> Settings:
    """Settings under which a log is only looked at.

    Events trigger no coupons of ours. A window closes at its end: the grace of a live system, in which feedback may be
    on its way for a while, is left out. Open issues are not bounded: no record has to hold a shopper's state. Each
    is as it was set where that is another value than the default.
    """
    attribution, defaults = settings.attribution, AttributionRules()
    if attribution.grace_s == defaults.grace_s:
        attribution = msgspec.structs.replace(attribution, grace_s=0.0)
    if attribution.max_open_observed == defaults.max_open_observed:
        attribution = msgspec.structs.replace(attribution, max_open_observed=sys.maxsize)
    if attribution.max_observed_bytes == defaults.max_observed_bytes:
        attribution = msgspec.structs.replace(attribution, max_observed_bytes=sys.maxsize)
    policy = msgspec.structs.replace(settings.policy, triggers=frozenset())
    return msgspec.structs.replace(settings, policy=policy, attribution=attribution)


class LoggedShop:
    """Takes what shoppers did, in order of time, and sends what can be learnt from it.

    Parameters
    ----------
    on_message : callable
        Called with every `TrainingExample`, in order. Their features are missing.

    Attributes
    ----------
    catalogue : Catalogue
        The coupons, with the attributes that are looked at now.
    refused : Counter
        Messages that could not be used, by reason.
    """

    def __init__(self, rules: Rules, coupons: Iterable[Coupon], on_message: Callable[[TrainingExample], None]) -> None:
        self._rules = rules
        self._coupons = list(coupons)
        self._on_message = on_message
        self._shoppers: dict[str, Shopper] = {}
        self._deadlines = Deadlines()
        self._members: dict[str, BucketMember] = {}
        self.refused: Counter[str] = Counter()
        self.look_at({}, ())
        self._users, self._neighbours = Users(lambda: self._known, 1), Neighbours(lambda: self._known, 1)

    def look_at(self, attributes: Mapping[str, tuple[str, ...]], domains: Iterable[str]) -> None:
        """Look at these attributes of coupons, by domain, from now on, and at no others.

        `domains` are known beside those that have coupons.
        """
        price_minor = self._rules.policy.typical_price_minor
        self.catalogue = Catalogue(self._coupons, price_minor, attributes, domains)
        self._known = Knowledge(self._rules, self.catalogue, {}, prior())

    def take(self, event: BrowseEvent | CartEvent | OrderEvent | FeedbackEvent) -> bool:
        """Take in what a shopper did, in the shop or with a coupon; return whether it is of use."""
        shopper = self._shopper(event.user_id)
        effects = self._users.step(event.user_id, shopper, event, NO_RECORD)
        if not isinstance(effects, Effects):
            raise TypeError("a log triggers no decision of ours: expected no triggers in the policy")
        self._conclude(event.user_id, shopper, effects)
        return not effects.refused

    def observe(self, event: ObservedIssue, on_moment: Callable[[Moment], None]) -> None:
        """Take in that a coupon was given, or none.

        `on_moment` is called with the moment before it, which no later event changes; not if the issue is of no use.
        """
        shopper, effects = self._shopper(event.user_id), Effects()
        moment = observation.sight(event.user_id, shopper, event, self._known, effects)
        if moment is not None:
            on_moment(Moment(moment.user_id, _frozen(shopper), moment.at, moment.context))
            issue = observation.note(event, self._known, NO_FEATURES, b"", (0.0, 0.0, 0.0), 0)
            observation.keep(shopper, issue, self._known, effects)
        self._conclude(event.user_id, shopper, effects)

    def arm_of(self, event: ObservedIssue) -> tuple[CouponSet, int]:
        """Return the coupon that an issue is scored with; see `observation.arm_of`."""
        return observation.arm_of(event, self._known)

    def pass_time(self, at: float) -> None:
        """Close what time alone decides."""
        for user_id in self._deadlines.pop_due(at):
            shopper = self._shoppers[user_id]
            self._conclude(user_id, shopper, self._users.expire(user_id, shopper, at))

    def _shopper(self, user_id: str) -> Shopper:
        found = self._shoppers.get(user_id)
        if found is None:
            found = self._shoppers[user_id] = Shopper()
        return found

    def _conclude(self, user_id: str, shopper: Shopper, effects: Effects) -> None:
        if effects.is_over:
            del self._shoppers[user_id]
        self._deadlines.set(user_id, None if effects.is_over else self._users.due(shopper))
        self.refused.update(refused.reason for refused in effects.refused)
        for message in effects.messages:
            if isinstance(message, TrainingExample):
                self._on_message(message)
            elif isinstance(message, UserVector):
                self._meet_neighbours(message)

    def _meet_neighbours(self, vector: UserVector) -> None:
        key = self._neighbours.state_key(vector, vector.cell)
        member = self._members.setdefault(key, BucketMember())
        effects = self._neighbours.step(key, member, vector, NO_RECORD)
        if effects.is_over:
            del self._members[key]
        for news in effects.messages:
            if isinstance(news, NeighbourUpdate):
                self._users.step(news.user_id, self._shopper(news.user_id), news, NO_RECORD)


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Shopper).decode


def _frozen(shopper: Shopper) -> Shopper:
    """Return a copy of the parts of a shopper that features are made of."""
    frozen = _decode(_encode([shopper.profile, shopper.neighbourhood, shopper.history]))
    frozen.related = copy(shopper.related)
    return frozen
