"""Runs of the benchmark over worlds: one policy on one world each."""

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import msgspec
import threadpoolctl
from msgspec.structs import astuple

from stream_coupons.core.decision.policy import is_holdout
from stream_coupons.core.decision.scoring import ValueScorer
from stream_coupons.core.messages.learning import TrainingExample
from stream_coupons.secret import rules_of as all_rules
from stream_coupons.settings import Settings
from stream_coupons_lab.demo.rankings import FixedRanking

from ..average_learnt import AverageLearnt
from ..learnable import CouponTrees, Learnable, Recorder
from ..money_runs import CAPS, ROOT
from ..runs import TRUE_VALUE, digest_of
from .play import Given, Outcome, Truth, play
from .policies import AtRandom, NoRepeats, TrueValues
from .pooled import Pooled
from .registry import world_class
from .world import World

ENGINE = "engine"
NONE = "none"
RANKING_TRUE = "ranking_true"
ABOUT: Mapping[str, str] = {
    NONE: "no coupons",
    "random": "any coupon that the shopper may get",
    "ranking_learnt": "one ranking of coupons for all shoppers, learnt online by what a shop can see",
    "pooled": "a linear model of outcomes, pooled over coupons and shoppers, learnt online",
    ENGINE: "the product",
    "learnable": "boosted trees fitted on the true value of this shop's coupons for other shoppers",
    RANKING_TRUE: "one ranking of coupons for all shoppers, by mean true value over all decisions: hindsight",
    TRUE_VALUE: "the coupon that is truly worth most for this shopper at this moment",
}
POLICIES = tuple(ABOUT)
HINDSIGHT = frozenset({TRUE_VALUE, RANKING_TRUE, "learnable"})
"""Policies that know true values, and refuse what is worth nothing."""
SYSTEM = (
    "stream_coupons/core/decision/table.py",
    "stream_coupons/core/decision/policy.py",
    "stream_coupons/core/decision/pipeline.py",
    "stream_coupons/core/decision/commit.py",
    "stream_coupons/core/decision/open_issues.py",
    "stream_coupons/core/shopper/state.py",
    "stream_coupons/core/messages/*.py",
    "benchmarks/worlds/play.py",
    "benchmarks/worlds/policies.py",
    "benchmarks/worlds/world.py",
    "benchmarks/worlds/_*.py",
)
FEATURES = tuple(f"stream_coupons/core/{room}/*.py" for room in ("features", "shopper", "vectors", "catalogue"))
SOURCES: Mapping[str, tuple[str, ...]] = {
    ENGINE: ("stream_coupons/**/*.py", *SYSTEM),
    "ranking_learnt": (*SYSTEM, "benchmarks/average_learnt.py"),
    "pooled": (*SYSTEM, *FEATURES, "stream_coupons/core/decision/*.py", "benchmarks/worlds/pooled.py"),
    "learnable": (*SYSTEM, *FEATURES, "benchmarks/learnable.py"),
}
"""Files that a policy depends on beside its world; by default `SYSTEM`."""


MOST_OF_TRUE_VALUE = 2000
"""Shoppers of the largest worlds that true value plays: in larger ones it earns as much per shopper."""


class Shop(msgspec.Struct, frozen=True, kw_only=True):
    """A world but for its seed.

    Attributes
    ----------
    world : str
        Name of the world's module.
    shoppers : int
        Number of shoppers.
    days : float
        Length of the simulated time.
    """

    world: str
    shoppers: int = 400
    days: float = 21.0

    @property
    def bounded(self) -> "Shop":
        """The world that true value plays in place of this one."""
        return msgspec.structs.replace(self, shoppers=min(self.shoppers, MOST_OF_TRUE_VALUE))

    def open(self, seed: int, draw: int = 0) -> World:
        """Return the world with a seed, and with a draw of its shoppers."""
        return world_class(self.world)(seed, self.shoppers, self.days, draw)


class WorldRun(msgspec.Struct, frozen=True, kw_only=True):
    """The result of one policy on one world.

    Attributes
    ----------
    key : str
        Digest of what the result depends on: settings, and source code.
    commit : str
        The commit that was checked out, for the record.
    cpu_s : float
        Processor time of the whole run.
    average_minor : dict
        Mean true value of each coupon over all decisions, minor units: of `true_value`.
    margin_without_minor : float or None
        Expected margin of the whole shop without coupons, minor units: of `true_value`.
    """

    policy: str
    seed: int
    configuration: Shop
    key: str
    commit: str
    outcome: Outcome
    cpu_s: float
    average_minor: dict[str, float] = {}
    margin_without_minor: float | None = None

    def scaled(self, shoppers: int) -> "WorldRun":
        """Return the run as if of a world of so many shoppers."""
        times = shoppers / self.configuration.shoppers
        sixths = [Given(*(times * each for each in astuple(given))) for given in self.outcome.sixths]
        return msgspec.structs.replace(
            self,
            outcome=msgspec.structs.replace(self.outcome, sixths=sixths),
            margin_without_minor=None if self.margin_without_minor is None else times * self.margin_without_minor,
        )


@dataclass(frozen=True, slots=True)
class WorldTask:
    """A run to be made."""

    policy: str
    seed: int
    configuration: Shop
    settings: Settings
    key: str
    commit: str
    average_minor: Mapping[str, float] = field(default_factory=dict)
    valued_ratio: float = 1.0

    def ready(self, truth: WorldRun | None) -> "WorldTask | None":
        """Return the task with what it needs of the run of true value; None if it has to wait for that run."""
        if self.policy != RANKING_TRUE:
            return self
        return truth and replace(self, average_minor=truth.average_minor)

    def play(self) -> WorldRun:
        """Return the run, made on one core."""
        with threadpoolctl.threadpool_limits(1):
            return self._played()

    def _played(self) -> WorldRun:
        began, world = time.process_time(), self.configuration.open(self.seed)
        truth = Truth(world)
        scorer = self._scorer(world, truth)
        player = None if scorer is None else _without_repeats(scorer)
        outcome = play(world, settings_of(self.policy, self.settings), player, player, truth, self.valued_ratio)
        run = WorldRun(
            policy=self.policy,
            seed=self.seed,
            configuration=self.configuration,
            key=self.key,
            commit=self.commit,
            outcome=outcome,
            cpu_s=round(time.process_time() - began, 2),
        )
        if not isinstance(scorer, TrueValues):
            return run
        margin_minor = self.configuration.open(self.seed).margin_without()
        return msgspec.structs.replace(
            run, average_minor=scorer.average_minor(), margin_without_minor=float(margin_minor)
        )

    def _scorer(self, world: World, truth: Truth) -> ValueScorer | None:
        """Return the policy; None for the engine."""
        rules, key = self.settings.policy, all_rules(self.settings).key
        match self.policy:
            case "random":
                return AtRandom(self.seed)
            case "ranking_learnt":
                return AverageLearnt(world.coupons, rules, lambda user: is_holdout(user, rules, key), self.seed)
            case "pooled":
                return Pooled(world.coupons, rules, self.seed)
            case "learnable":
                return Learnable(self._trees(), cost_minor=0.0)
            case "ranking_true":
                return FixedRanking(self.average_minor, cost_minor=0.0)
            case "true_value":
                return TrueValues(world, truth)
        return None

    def _trees(self) -> CouponTrees:
        """Return trees fitted on the true values of the same shop with other shoppers."""
        world = self.configuration.open(self.seed, draw=1)
        truth = Truth(world)
        recorder = Recorder(TrueValues(world, truth).values_of, self.seed)
        player = NoRepeats(recorder)
        play(world, settings_of("learnable", self.settings), player, player, truth)
        return recorder.trees(len(world.coupons))


def _without_repeats(scorer: ValueScorer) -> NoRepeats:
    if isinstance(scorer, Pooled):
        return NoRepeats(scorer, scorer, (TrainingExample,))
    return NoRepeats(scorer, scorer if isinstance(scorer, AverageLearnt) else None)


def settings_of(policy: str, settings: Settings) -> Settings:
    """Return the settings of a policy: those that are not the product do not explore by its rules."""
    if policy == ENGINE:
        return settings
    rules = msgspec.structs.replace(settings.policy, exploration_ratio=0.0, control_ratio=0.0)
    if policy in HINDSIGHT:
        rules = msgspec.structs.replace(rules, min_value_minor=0.0)
    return msgspec.structs.replace(settings, policy=rules)


def key_of(policy: str, world: str, settings: Settings, valued_ratio: float = 1.0) -> str:
    """Return a digest of what the results of a policy in a world depend on beside size and seed."""
    read: Any = settings if policy == ENGINE else [getattr(settings.policy, name) for name in CAPS]
    digest = hashlib.blake2b(msgspec.json.encode([read, valued_ratio], order="deterministic"), digest_size=8)
    digest.update(_sources(policy, world))
    return digest.hexdigest()


@lru_cache
def _sources(policy: str, world: str) -> bytes:
    return digest_of(ROOT, (*SOURCES.get(policy, SYSTEM), f"benchmarks/worlds/{world}.py"))


def tasks_of(
    shops: Sequence[Shop],
    seeds: Sequence[int],
    policies: Sequence[str],
    settings: Settings,
    commit: str,
    valued_ratio: float = 1.0,
) -> list[WorldTask]:
    """Return all runs, seed by seed, so that every world is known soon; `true_value` before what needs it.

    True value plays worlds of at most `MOST_OF_TRUE_VALUE` shoppers, and so does the ranking that it leads to.
    """
    ordered = sorted((policy for policy in policies if policy != NONE), key=lambda policy: policy != TRUE_VALUE)
    named = {
        (policy, seed, shop.bounded if policy in (TRUE_VALUE, RANKING_TRUE) else shop): None
        for seed in seeds
        for shop in shops
        for policy in ordered
    }
    keys = {each: key_of(each[0], each[2].world, settings, valued_ratio) for each in named}
    return [WorldTask(*each, settings, key, commit, valued_ratio=valued_ratio) for each, key in keys.items()]
