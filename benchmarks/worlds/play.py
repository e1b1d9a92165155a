"""Play a simulated shop against the whole system in one process, message by message.

The clock is that of the shop. Windows close every simulated hour, and models serve as soon as they are learnt. What a
coupon is truly worth is recorded at the moment it is given, before its shopper receives it. Of large worlds that may be
done for a sample of the issues, each of which then counts for several.
"""

import math
from collections import defaultdict
from typing import Protocol

import msgspec
from msgspec import Struct
from msgspec.structs import astuple

from stream_coupons.core.decision.scoring import Scorer, ValueScorer
from stream_coupons.core.draws import PUBLIC_KEY
from stream_coupons.core.messages.decisions import CouponIssue, LoggedDecision
from stream_coupons.core.messages.inputs import FeedbackEvent
from stream_coupons.core.messages.learning import TrainingExample
from stream_coupons.settings import Settings
from stream_coupons.testing import LocalPipeline, ManualClock
from stream_coupons_lab.demo.play import NEVER_S

from .world import DAY_S, Floats, World

TICK_S = 3600.0
SIXTHS = 6


class Listener(Protocol):
    """A policy that learns by itself.

    Attributes
    ----------
    kinds : tuple of type
        Types of the system's messages that it hears, beside those of the shop.
    """

    kinds: tuple[type[Struct], ...]

    def hear(self, message: Struct) -> None:
        """Learn of an event of the shop, or of a message of the system."""

    def learn(self) -> None:
        """Use all that was heard from now on: called every hour."""


class Given(Struct, array_like=True):
    """Some coupons given.

    Attributes
    ----------
    issues : float
        Number of coupons.
    predicted_minor, true_minor : float
        Sums of predicted and true values, minor units.
    true_squares : float
        Sum of the squares of true values.
    lost_minor : float
        Sum of the true values below zero, minor units.
    valued : int
        Number of coupons whose true value was computed.
    """

    issues: float = 0.0
    predicted_minor: float = 0.0
    true_minor: float = 0.0
    true_squares: float = 0.0
    lost_minor: float = 0.0
    valued: int = 0

    def add(self, predicted_minor: float, true_minor: float, weight: float = 1.0) -> None:
        """Count one more coupon, which stands for `weight` coupons."""
        self.issues += weight
        self.predicted_minor += weight * predicted_minor
        self.true_minor += weight * true_minor
        self.true_squares += weight * true_minor**2
        self.lost_minor += weight * min(true_minor, 0.0)
        self.valued += 1

    def plus(self, other: "Given") -> "Given":
        """Return both."""
        return Given(*(own + its for own, its in zip(astuple(self), astuple(other), strict=True)))

    @property
    def error_minor(self) -> float:
        """Standard error of the mean true value, minor units."""
        mean = self.true_minor / self.issues
        return math.sqrt(max(self.true_squares / self.issues - mean**2, 0.0) / max(self.valued - 1, 1))


class Outcome(Struct, frozen=True, kw_only=True):
    """Results of one policy in one world; money in minor units.

    Attributes
    ----------
    sixths : list of Given
        Coupons given in each sixth of the time.
    by_coupon : dict
        Coupons given in each half of the time, by id.
    whole_shop : Given
        Coupons given that have no scope.
    repeats : Given
        Coupons given to shoppers who held the same coupon.
    explored, withheld : Given
        Coupons drawn by chance beside the best, and best coupons that chance withheld.
    refused : Given
        The truly best coupon of each decision in which none was worth giving.
    orders : list of (float, bool)
        Of each coupon withheld by chance: P(order without it), and whether the shopper ordered.
    decisions : dict
        Number of triggers by result or reason: "given", "not_worth_it", "holdout", "cooldown".
    redemptions, discount_minor : int
        Coupons used, and the sum of their discounts.
    events : int
        Number of messages of the shop.
    """

    sixths: list[Given]
    by_coupon: dict[str, list[Given]]
    whole_shop: Given
    repeats: Given
    explored: Given
    withheld: Given
    refused: Given
    orders: list[tuple[float, bool]]
    decisions: dict[str, int]
    redemptions: int
    discount_minor: int
    events: int

    @property
    def margin_minor(self) -> float:
        """Sum of the true values of all coupons given."""
        return sum(each.true_minor for each in self.sixths)

    @property
    def second_half_minor(self) -> float:
        """The same of the second half of the time."""
        return sum(each.true_minor for each in self.sixths[SIXTHS // 2 :])

    @property
    def issues(self) -> float:
        """Number of coupons given."""
        return sum(each.issues for each in self.sixths)

    @property
    def none_share(self) -> float | None:
        """Share of decisions in which no coupon was worth giving, the holdout included; None without decisions."""
        count = self.decisions.get
        decided = sum(count(result, 0) for result in ("given", "not_worth_it", "holdout", "control"))
        return count("not_worth_it", 0) / decided if decided else None


class Truth:
    """True values of the coupons of a world, each computed once for a shopper and a time."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._last: tuple[str, float] | None = None
        self._values: Floats | None = None

    def values(self, user_id: str, at: float) -> Floats:
        """Return the true value of each coupon of the world, minor units, in its order."""
        if self._values is None or self._last != (user_id, at):
            self._values, self._last = self._world.true_values(user_id, at), (user_id, at)
        return self._values

    def forget(self) -> None:
        """Compute values anew, since the world moves on."""
        self._values = None


class Held:
    """Coupons that shoppers hold: given, not used and not expired."""

    def __init__(self) -> None:
        self._expiry: defaultdict[tuple[str, str], dict[str, float]] = defaultdict(dict)
        self._owner: dict[str, tuple[str, str]] = {}

    def give(self, issue: CouponIssue) -> None:
        """Record a coupon that is given."""
        self._owner[issue.issue_id] = owner = issue.user_id, issue.coupon_id
        self._expiry[owner][issue.issue_id] = issue.expires_at

    def use(self, issue_id: str) -> None:
        """Record a coupon that is used."""
        self._expiry[self._owner[issue_id]].pop(issue_id, None)

    def holds(self, user_id: str, coupon_id: str, at: float) -> bool:
        """Return whether a shopper holds a coupon at a time."""
        return any(expires_at > at for expires_at in self._expiry.get((user_id, coupon_id), {}).values())


class Ledger:
    """The coupons given so far, and what they are worth."""

    def __init__(self, world: World, truth: Truth, valued_ratio: float) -> None:
        self._world, self._truth, self._ratio = world, truth, valued_ratio
        self._positions = {coupon.coupon_id: n for n, coupon in enumerate(world.coupons)}
        self._whole = {c.coupon_id for c in world.coupons if not (c.categories or c.brands or c.items)}
        self._held = Held()
        self._sixths = [Given() for _ in range(SIXTHS)]
        self._by_coupon: dict[str, list[Given]] = {}
        self._whole_shop, self._repeats, self._explored = Given(), Given(), Given()
        self._withheld, self._refused = Given(), Given()
        self._orders: list[tuple[float, bool]] = []
        self._redemptions, self._discount_minor = 0, 0

    def give(self, issue: CouponIssue) -> None:
        """Record a coupon that is about to be given."""
        is_repeat = self._held.holds(issue.user_id, issue.coupon_id, issue.issued_at)
        self._held.give(issue)
        if not self._is_valued(issue.issue_id):
            return
        value = float(self._truth.values(issue.user_id, issue.issued_at)[self._positions[issue.coupon_id]])
        length_s = self._world.days * DAY_S
        since_s = min(max(issue.issued_at - self._world.starts_at, 0.0), length_s - 1.0)
        sixth = int(since_s * SIXTHS / length_s)
        halves = self._by_coupon.setdefault(issue.coupon_id, [Given(), Given()])
        parts = [self._sixths[sixth], halves[2 * sixth // SIXTHS]]
        parts += [self._whole_shop] * (issue.coupon_id in self._whole)
        parts += [self._repeats] * is_repeat + [self._explored] * issue.is_explored
        for part in parts:
            part.add(issue.value_minor, value, 1.0 / self._ratio)

    def decide(self, decision: LoggedDecision) -> None:
        """Record a decision that gave no coupon: the value of the one that was withheld, or of the best one refused."""
        row, is_control = decision.best, decision.result == "control"
        if not (is_control or decision.result == "not_worth_it") or not self._is_valued(decision.decision_id):
            return
        values = self._truth.values(decision.user_id, decision.at)
        true = [float(values[self._positions[arm]]) for arm in decision.arms]
        if not is_control:
            self._refused.add(max(decision.values_minor), max(true), 1.0 / self._ratio)
        elif row is not None:
            self._withheld.add(decision.values_minor[row], true[row], 1.0 / self._ratio)

    def close(self, example: TrainingExample) -> None:
        """Record whether a shopper ordered from whom chance withheld a coupon."""
        if example.head == "order" and example.withheld:
            self._orders.append((example.predicted, example.label))

    def _is_valued(self, identity: str) -> bool:
        return self._ratio >= 1.0 or PUBLIC_KEY.uniform("valued", identity) < self._ratio

    def use(self, event: FeedbackEvent) -> None:
        """Record a coupon that was used."""
        self._redemptions += 1
        self._discount_minor += event.discount_minor or 0
        self._held.use(event.issue_id)

    def outcome(self, decisions: dict[str, int], events: int) -> Outcome:
        """Return the results."""
        return Outcome(
            sixths=self._sixths,
            by_coupon=self._by_coupon,
            whole_shop=self._whole_shop,
            repeats=self._repeats,
            explored=self._explored,
            withheld=self._withheld,
            refused=self._refused,
            orders=self._orders,
            decisions=decisions,
            redemptions=self._redemptions,
            discount_minor=self._discount_minor,
            events=events,
        )


def play(
    world: World,
    settings: Settings,
    scorer: Scorer | None = None,
    listener: Listener | None = None,
    truth: Truth | None = None,
    valued_ratio: float = 1.0,
) -> Outcome:
    """Play a world to its end.

    Parameters
    ----------
    world : World
        A world that was not played before.
    settings : Settings
        Settings of the system.
    scorer : Scorer, optional
        Policy in place of the engine.
    listener : Listener, optional
        The scorer itself, if it learns by what the shop sees.
    truth : Truth, optional
        True values of this world, if the scorer reads them, too.
    valued_ratio : float
        Share of the issues whose true value is computed, drawn by their ids.

    Raises
    ------
    RuntimeError
        If the system refuses a message of the world.
    """
    truth = truth or Truth(world)
    ledger = Ledger(world, truth, valued_ratio)
    shop = _Shop(world, settings, scorer, listener)
    shop.listen(LoggedDecision, ledger.decide)
    shop.listen(TrainingExample, ledger.close)
    events, count = world.events(), 0
    message = next(events, None)
    while message is not None:
        count += 1
        issues = shop.send(message)
        if isinstance(message, FeedbackEvent) and message.kind == "purchase":
            ledger.use(message)
        for issue in issues:
            ledger.give(issue)
        truth.forget()
        try:
            message = events.send(issues)
        except StopIteration:
            break
    return ledger.outcome(shop.decisions(), count)


class _Shop:
    """The system, its clock, and the policy that listens."""

    def __init__(self, world: World, settings: Settings, scorer: Scorer | None, listener: Listener | None) -> None:
        self._starts_at, self._tick_at = world.starts_at, world.starts_at + TICK_S
        self._listener, self._clock = listener, ManualClock(world.starts_at)
        self._issues: list[CouponIssue] = []
        self._pipeline = LocalPipeline(
            _settings_of(settings, scorer),
            world.coupons,
            clock=self._clock,
            scorer=scorer,
            on_output=lambda _: None,
        )
        self.listen = self._pipeline.listen
        self.listen(CouponIssue, self._issues.append)
        if listener is not None:
            for kind in listener.kinds:
                self.listen(kind, listener.hear)

    def send(self, message: Struct) -> list[CouponIssue]:
        """Let time pass until a message of the shop, send it, and return the issues that it leads to."""
        at: float = message.occurred_at  # type: ignore[attr-defined]
        if at >= self._tick_at:
            self._tick(at - (at - self._starts_at) % TICK_S)
        self._clock.now = at
        self._pipeline.publish(message)
        if self._pipeline.sent.get("dead-letters"):
            raise RuntimeError(f"the system refused {message}")
        if self._listener is not None:
            self._listener.hear(message)
        issues = self._issues.copy()
        self._issues.clear()
        return issues

    def _tick(self, at: float) -> None:
        """Reach a full hour. Hours without messages need no tick of their own."""
        self._clock.now, self._tick_at = at, at + TICK_S
        self._pipeline.tick()
        if self._listener is not None:
            self._listener.learn()

    def decisions(self) -> dict[str, int]:
        """Return the number of triggers by result or reason."""
        facts = self._pipeline.facts
        return {str(kind): times for (noun, kind), times in sorted(facts.items()) if noun == "decision"}


def _settings_of(settings: Settings, scorer: Scorer | None) -> Settings:
    """Return settings with one partition; without neighbours if the scorer reads no features."""
    change = msgspec.structs.replace
    settings = change(settings, kafka=change(settings.kafka, partitions=1))
    if isinstance(scorer, ValueScorer) and not scorer.reads_features:
        settings = change(settings, neighbourhood=change(settings.neighbourhood, publish_every_s=NEVER_S))
    return settings
