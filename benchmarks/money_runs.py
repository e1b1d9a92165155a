"""Runs of the money benchmark: one policy on one world each."""

import hashlib
import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec

from stream_coupons.core.catalogue.compiled import CouponSet
from stream_coupons.core.decision.policy import is_holdout
from stream_coupons.core.decision.scoring import Scorer
from stream_coupons.secret import rules_of as all_rules
from stream_coupons.settings import Settings
from stream_coupons_lab.demo.play import rules_of
from stream_coupons_lab.demo.rankings import AllEqual, FixedRanking
from stream_coupons_lab.simulation.behaviour import DAY_S
from stream_coupons_lab.simulation.shoppers import World, WorldSettings

from .average_learnt import AverageLearnt
from .direct_play import DirectPlayed, Listener, play_scorer, redeem_by_day
from .learnable import Learnable, changed_at, fit
from .prices import PricedTrueValue, Prices, Recorded, prices_of
from .retrained import RetrainedDaily
from .runs import TRUE_VALUE, digest_of

ROOT = Path(__file__).parents[1]
NONE = "none"
UNTOLD = "learned_untold"
ABOUT: Mapping[str, str] = {
    NONE: "no coupons",
    "random": "any coupon that the shopper may get",
    "highest_p_redeem": "the coupon most likely to be redeemed, as the product learns it: what most shops do",
    "best_on_average": "one ranking of coupons for all shoppers, by mean true value over all decisions: hindsight",
    "best_on_average_learnt": "one ranking of coupons for all shoppers, learnt online by what a shop can see",
    "learned": "the product",
    UNTOLD: "the product, which is told nothing of the time before the first coupon (--history)",
    "daily": "the product, served by a model that is fitted every night on all labels",
    "week": "the same, fitted on the labels of the last seven days",
    "learnable_bound": "boosted trees on the product's features, fitted on the true value for other shoppers",
    TRUE_VALUE: "the coupon that is truly worth most for this shopper at this moment",
    "true_value_priced": "the same less the prices of scarce stocks and budgets, by a linear programme in hindsight",
}
POLICIES = tuple(ABOUT)
DAYS_KEPT = {"daily": None, "week": 7}
AFTER_TRUE_VALUE = frozenset({"best_on_average", "true_value_priced"})
"""They need what a run of `true_value` has seen."""
WORLDS: Mapping[str, Mapping[str, Any]] = {
    "standard": {},
    "few_coupons": {"coupons": 6},
    "deadweight": {"median_order_ratio": 0.3, "uses_if_ordering": 0.98},
}
"""Settings of the simulated shoppers, by world."""

SIMULATION = (
    "packages/stream-coupons-lab/stream_coupons_lab/simulation/*.py",
    "packages/stream-coupons-lab/stream_coupons_lab/demo/play.py",
    "packages/stream-coupons-lab/stream_coupons_lab/demo/outcomes.py",
    "packages/stream-coupons-lab/stream_coupons_lab/demo/rankings.py",
    "stream_coupons/testing/local.py",
    "benchmarks/direct_play.py",
)
FEATURES = tuple(f"stream_coupons/core/{room}/*.py" for room in ("features", "shopper", "vectors"))
SOURCES: Mapping[str, tuple[str, ...]] = {
    "best_on_average_learnt": (*SIMULATION, "benchmarks/average_learnt.py"),
    "learnable_bound": (*SIMULATION, *FEATURES, "benchmarks/learnable.py"),
    "true_value_priced": (*SIMULATION, "benchmarks/prices.py"),
    "recording": (*SIMULATION, "benchmarks/moments.py"),
    TRUE_VALUE: (*SIMULATION, "benchmarks/prices.py"),
} | dict.fromkeys(("random", "best_on_average"), SIMULATION)
"""Files that a policy depends on; the others depend on all of the product."""
CAPS = (
    "triggers",
    "cooldown_s",
    "max_issues_per_window",
    "issue_window_s",
    "quiet_from_hour",
    "quiet_until_hour",
    "reorder_suppress_s",
    "holdout_ratio",
    "cost_minor",
    "min_value_minor",
)
"""Settings of `policy` that the policies of `SOURCES` depend on."""


class Configuration(msgspec.Struct, frozen=True, kw_only=True):
    """A world but for its seed.

    Attributes
    ----------
    world : str
        One of `WORLDS`.
    shoppers, days : int
        How many.
    drift : float or None
        All tastes change after this many days.
    history : int
        Days before the first coupon, of whose events all policies but `learned_untold` are told. They are not among
        `days`.
    """

    world: str = "standard"
    shoppers: int = 600
    days: int = 21
    drift: float | None = None
    history: int = 0

    def settings(self, seed: int) -> WorldSettings:
        """Return the settings of the world with this seed."""
        days, drift = self.history + self.days, None if self.drift is None else self.history + self.drift
        return WorldSettings(seed=seed, shoppers=self.shoppers, days=days, taste_drift_day=drift, **WORLDS[self.world])

    @property
    def name(self) -> str:
        """Name in tables and charts."""
        drift = "" if self.drift is None else f", tastes change after {self.drift:g} days"
        history = f" after {self.history} without coupons" if self.history else ""
        return f"{self.world.replace('_', ' ')}, {self.shoppers:,} shoppers, {self.days} days{history}{drift}"


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """The result of one policy on one world; money in whole currency units.

    Attributes
    ----------
    key : str
        Digest of what the result depends on: settings, and the source code.
    commit : str
        The commit that was checked out, for the record.
    margin_by_day : list of float
        Expected incremental margin of all coupons given until the end of each day.
    booked : float
        Incremental margin as it happened.
    issues, redemptions : int
        Coupons given, and used.
    redeem_by_day : list of (int, int, float)
        Day, coupons given, and how many were to be expected to be redeemed.
    interests : list of (int, int)
        By day, how many shoppers turned to what was strange to them, and how many were known well enough to say so.
    cpu_s : float
        Processor time of the whole run.
    average_minor : dict
        By coupon, its mean true value: of `true_value`.
    prices : Prices, optional
        Of what is scarce: of `true_value`.
    """

    policy: str
    seed: int
    configuration: Configuration
    key: str
    commit: str
    margin_by_day: list[float]
    booked: float
    issues: int
    redemptions: int
    redeem_by_day: list[tuple[int, int, float]]
    interests: list[tuple[int, int]]
    cpu_s: float
    average_minor: dict[str, float] = {}
    prices: Prices | None = None

    @property
    def margin(self) -> float:
        """Expected incremental margin of the whole run."""
        return self.margin_by_day[-1] if self.margin_by_day else 0.0

    def thirds(self) -> list[float]:
        """Return the margin of each third of the run's days."""
        days = len(self.margin_by_day)
        ends = [0.0, *(self.margin_by_day[third * days // 3 - 1] for third in (1, 2, 3))]
        return [after - before for before, after in itertools.pairwise(ends)]


@dataclass(frozen=True, slots=True)
class Task:
    """A run to be made."""

    policy: str
    seed: int
    configuration: Configuration
    settings: Settings
    key: str
    commit: str
    average_minor: Mapping[str, float] = field(default_factory=dict)
    prices: Prices | None = None

    def play(self) -> Run:
        """Return the run."""
        return play(self)

    def ready(self, truth: Run | None) -> "Task | None":
        """Return the task with what it needs of the run of true value; None if it has to wait for that run."""
        if self.policy not in AFTER_TRUE_VALUE:
            return self
        return truth and replace(self, average_minor=truth.average_minor, prices=truth.prices)


def settings_of(base: Settings) -> Settings:
    """Return the settings that runs are made with: `base`, with one partition, as all runs in one process."""
    return msgspec.structs.replace(base, kafka=msgspec.structs.replace(base.kafka, partitions=1))


def key_of(policy: str, settings: Settings) -> str:
    """Return a digest of what a policy's results depend on beside the configuration and the seed."""
    sources = SOURCES.get(policy)
    rules = settings.policy
    told: Any = [getattr(rules, name) for name in CAPS] if sources else msgspec.structs.replace(settings)
    digest = hashlib.blake2b(msgspec.json.encode(told, order="deterministic"), digest_size=8)
    digest.update(digest_of(ROOT, sources or ("stream_coupons/**/*.py", "benchmarks/retrained.py")))
    return digest.hexdigest()


def play(task: Task) -> Run:
    """Play one world to its end."""
    began, world_settings = time.process_time(), task.configuration.settings(task.seed)
    as_policy = "learned" if task.policy == UNTOLD else task.policy
    settings, cost_minor = rules_of(as_policy, task.settings), task.settings.policy.cost_minor
    world = World(world_settings)
    scorer: Scorer | None = None
    listener: Listener | None = None
    on_day: Callable[[int], None] = lambda _: None  # noqa: E731
    if task.policy == "random":
        scorer = AllEqual()
    elif task.policy == "best_on_average":
        scorer = FixedRanking(task.average_minor, cost_minor)
    elif task.policy == "best_on_average_learnt":
        key, rules = all_rules(settings).key, settings.policy
        scorer = listener = AverageLearnt(
            world.catalogue(), rules, lambda user_id: is_holdout(user_id, rules, key), task.seed
        )
    elif task.policy == "learnable_bound":
        trees = fit(world_settings, settings, task.configuration.history)
        scorer = Learnable(trees, cost_minor, changed_at(world_settings))
    elif task.policy == TRUE_VALUE:
        scorer = Recorded(world, cost_minor)
    elif task.policy == "true_value_priced":
        prices = task.prices or Prices({}, {})
        scorer = PricedTrueValue(world, cost_minor, prices)
    elif task.policy in DAYS_KEPT:
        scorer = listener = retrained = RetrainedDaily(DAYS_KEPT[task.policy])
        on_day = retrained.retrain
    history_days = task.configuration.history
    if task.policy == UNTOLD:
        world.advance(world.now + history_days * DAY_S)
        history_days = 0
    played = play_scorer(task.policy, world, settings, scorer, on_day, listener=listener, history_days=history_days)
    run = _run(task, played)
    if isinstance(scorer, Recorded):
        key, rules = all_rules(settings).key, settings.policy
        choices = [(a, b, c) for user_id, a, b, c in scorer.choices if not is_holdout(user_id, rules, key)]
        coupons = CouponSet(world.catalogue(), rules.typical_price_minor).coupons
        prices = prices_of(choices, coupons)
        run = msgspec.structs.replace(run, average_minor=scorer.average_minor(), prices=prices)
    return msgspec.structs.replace(run, cpu_s=round(time.process_time() - began, 2))


def _run(task: Task, direct: DirectPlayed) -> Run:
    played = direct.played
    return Run(
        policy=task.policy,
        seed=task.seed,
        configuration=task.configuration,
        key=task.key,
        commit=task.commit,
        margin_by_day=[round(margin / 100, 4) for _, margin in played.margin_by_day],
        booked=round(played.statistics.incremental_margin_minor / 100, 4),
        issues=len(played.outcomes.issues),
        redemptions=len(played.outcomes.redeemed),
        redeem_by_day=redeem_by_day(played.outcomes),
        interests=direct.interests,
        cpu_s=0.0,
    )


def in_order_of_length(policies: Sequence[str]) -> list[str]:
    """Return policies with those that take longest first, so that processes end together."""
    slow = ("learnable_bound", TRUE_VALUE, "learned", UNTOLD, "highest_p_redeem", *DAYS_KEPT)
    return sorted(policies, key=lambda policy: slow.index(policy) if policy in slow else len(slow))
