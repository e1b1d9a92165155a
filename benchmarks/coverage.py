"""How often `ope`'s intervals hold the true value of a second policy, on logs that the engine itself wrote.

`python -m benchmarks.coverage --runs 200 --jobs 2`. Every run is another world of simulated shoppers, who get at most
one coupon each from the engine: candidates, features, values, stock and budgets, the exploring choice and the record of
the decision are the product's own. `ope` then values other policies on what the engine wrote and the shoppers ordered.

The true value of a policy is what it brings at the same moments, in expectation: at each of them the simulation states
what every coupon would bring, and the policy, of what was not sold out then, how likely it gives each. That is what
playing it there earns, without the chance of one play. Beside it stands what the same shoppers ordered of their own
accord, which no coupon changes.
"""

import argparse
import json
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from stream_coupons.core.messages.decisions import LoggedDecision
from stream_coupons.core.messages.inputs import OrderEvent
from stream_coupons.kafka import topics
from stream_coupons.kafka.codec import encode
from stream_coupons.kafka.records import Output
from stream_coupons.models.linear import prior
from stream_coupons.settings import Settings
from stream_coupons.testing import LocalPipeline
from stream_coupons_lab.ope import own_valuation, policies, valuation
from stream_coupons_lab.ope.ope import Estimator, Logged
from stream_coupons_lab.ope.own_decisions import OwnDecisions, arrays
from stream_coupons_lab.ope.own_log import OwnLog
from stream_coupons_lab.ope.policies import Policy
from stream_coupons_lab.simulation.shoppers import World, WorldSettings

DAY_S = 86400.0
NEVER_S = 1e12
SLICE_S = 3600.0
WINDOW_S = DAY_S
DECIDE_DAYS = 1
"""In which the engine decides on each shopper once, at their first trigger."""
PROGRESS_EVERY = 20
POLICIES = ("greedy", "epsilon:0.1", "average", "random", "always:coupon-00")
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Setup:
    """Settings of a run: shoppers, coupons, exploration, and whether coupons sell out."""

    shoppers: int = 400
    coupons: int = 6
    exploration_ratio: float = 0.4
    sells_out: bool = False
    policies: tuple[str, ...] = POLICIES


@dataclass(frozen=True, slots=True)
class Held:
    """Of one policy in one run: by estimator, the truth and whether its interval holds it; minor units a decision."""

    policy: str
    truth: float
    values: dict[Estimator, tuple[float, bool]]
    """(error of the estimate, whether the interval holds the truth), of the policy's value."""
    gains: dict[Estimator, tuple[float, bool]]
    """Gain over the policy that decided, in the same form."""
    effective: float
    sold_out: float


class _Run:
    """One world that the engine decides in, and all that `ope` may know of it, apart from the truth."""

    def __init__(self, seed: int, setup: Setup) -> None:
        self.setup = setup
        days = DECIDE_DAYS + int(WINDOW_S / DAY_S)
        self.world = World(WorldSettings(seed=seed, shoppers=setup.shoppers, coupons=setup.coupons, days=days))
        # A few units each, so that most of what is wanted is gone by the middle of the run. Of some coupons there are
        # enough: where all are sold out nothing is decided.
        few = max(2, setup.shoppers // (4 * setup.coupons)) if setup.sells_out else None
        terms = {"budget_minor": None, "caps": [], "redeem_within_s": WINDOW_S}
        self.coupons = [
            msgspec.structs.replace(coupon, stock=few if number % 3 else None, **terms)
            for number, coupon in enumerate(self.world.catalogue())
        ]
        self.settings = _settings(setup)
        self.log, self.own_orders = OwnLog(), OwnLog()
        for log in (self.log, self.own_orders):
            for coupon in self.coupons:
                log.take(topics.CATALOG.name, encode(coupon))
        self.worth: dict[str, dict[str, float]] = {}
        """By decision, what each arm would truly bring."""
        self._new: list[LoggedDecision] = []
        self._issues: list[Any] = []
        self._decided: set[str] = set()
        self._decode = {topic.name: msgspec.json.Decoder(topic.message) for topic in (topics.DECISIONS, topics.ISSUES)}
        self.pipeline = LocalPipeline(self.settings, self.coupons, scorer=prior(), on_output=self._take)

    def _take(self, output: Output) -> None:
        if output.topic == topics.ISSUES.name:
            self._issues.append(self._decode[output.topic].decode(output.value or b""))
        elif output.topic == topics.DECISIONS.name:
            decision = self._decode[output.topic].decode(output.value or b"")
            self.log.take(output.topic, output.value)
            self.own_orders.take(output.topic, output.value)
            self._new.append(decision)
            self._decided.add(decision.user_id)

    def play(self) -> None:
        """Play the world to its end; shoppers who were decided on only order and answer from then on."""
        world = self.world
        last_trigger = world.settings.start_at + DECIDE_DAYS * DAY_S
        while world.now < world.ends_at:
            for topic, message in world.advance(min(world.now + SLICE_S, world.ends_at)):
                if topic in (topics.ORDER.name, topics.FEEDBACK.name):
                    self.log.take(topic, encode(message))
                    if isinstance(message, OrderEvent) and message.order_id.startswith("order-"):
                        self.own_orders.take(topic, encode(message))
                user_id, at = message.user_id, message.occurred_at  # type: ignore[attr-defined]
                if topic != topics.FEEDBACK.name and user_id not in self._decided and at < last_trigger:
                    self.pipeline.publish(message)
            self._tell_truth()
            for issue in self._issues:
                world.receive(issue, issue.issued_at)
            self._issues.clear()
        # The log ends with the last window.
        for log in (self.log, self.own_orders):
            log.ends_at = world.ends_at

    def _tell_truth(self) -> None:
        for decision in self._new:
            arms = [coupon for coupon in self.world.catalogue() if coupon.coupon_id in set(decision.arms)]
            ends_at = decision.at + WINDOW_S
            worth = self.world.worth(decision.user_id, arms, decision.at, ends_at).margin_minor.tolist()
            self.worth[decision.decision_id] = dict(zip((coupon.coupon_id for coupon in arms), worth, strict=True))
        self._new.clear()


def _settings(setup: Setup) -> Settings:
    plain = Settings()
    change = msgspec.structs.replace
    policy = {
        "triggers": frozenset({"browse", "cart"}),
        "cooldown_s": NEVER_S,
        "holdout_ratio": 0.0,
        "exploration_ratio": setup.exploration_ratio,
        "explored_candidates": setup.coupons,
        "min_value_minor": -1000.0,
    }
    policy = {name: value for name, value in policy.items() if name in plain.policy.__struct_fields__}
    return change(
        plain,
        policy=change(plain.policy, **policy),
        neighbourhood=change(plain.neighbourhood, publish_every_s=NEVER_S),
    )


def run(seed: int, setup: Setup) -> list[Held]:
    """Play a world and value every policy on its log."""
    playing = _Run(seed, setup)
    playing.play()
    log, rules = playing.log, playing.settings.policy
    domain = playing.world.settings.domain
    decisions = arrays(list(log.decisions.values()), domain, log.ends_at - WINDOW_S)
    reward, before = own_valuation.outcomes(log, decisions, domain, WINDOW_S, rules)
    of_own_accord, _ = own_valuation.outcomes(playing.own_orders, decisions, domain, WINDOW_S, rules)
    of_own_accord = of_own_accord + rules.cost_weight * rules.cost_minor * (decisions.chosen > 0)
    model = own_valuation.predicted(decisions, reward, before)
    logged = Logged(decisions.shopper, decisions.chosen, decisions.propensity, reward, model)
    worth = _true_worth(playing, decisions) - rules.cost_weight * rules.cost_minor * decisions.is_coupon
    choices, is_known = decisions.choices(rules), decisions.logging > 0
    deciding = policies.target(Policy("epsilon", str(setup.exploration_ratio)), choices, rules)
    sold_out = decisions.sold_out.sum()
    base, level = float((deciding * worth).sum(axis=1).mean()), float(of_own_accord.mean())
    found = []
    for name in setup.policies:
        policy = policies.parse(name, decisions.names)
        valued = valuation.value(policy, choices, logged, rules, is_known).valuation
        earned = float((policies.target(policy, choices, rules) * worth).sum(axis=1).mean())
        found.append(
            Held(
                policy=name,
                truth=earned,
                values={each: _held(valued.values[each], level + earned) for each in Estimator},
                gains={each: _held(valued.gains[each], earned - base) for each in Estimator},
                effective=valued.diagnostics.effective,
                sold_out=float(sold_out / (sold_out + decisions.is_coupon.sum())),
            )
        )
    return found


def _held(interval: Any, truth: float) -> tuple[float, bool]:
    return interval.value - truth, bool(interval.low <= truth <= interval.high)


def _true_worth(playing: _Run, decisions: OwnDecisions) -> Floats:
    """Return what each arm would truly bring, shape (n, a)."""
    ordered = {(one.at, one.user_id): one.decision_id for one in playing.log.decisions.values()}
    worth = np.zeros(decisions.arm.shape)
    for row, shopper in enumerate(decisions.shopper.tolist()):
        of_decision = playing.worth[ordered[float(decisions.at[row]), decisions.user_ids[shopper]]]
        for column in range(1, decisions.arm.shape[1]):
            if decisions.arm[row, column] > 0:
                worth[row, column] = of_decision[decisions.names[decisions.arm[row, column]]]
    return worth


def measure(runs: int, setup: Setup, jobs: int, first_seed: int = 0) -> dict[str, Any]:
    """Return, by policy, how often each interval held the truth, over all runs."""
    of_policy: defaultdict[str, list[Held]] = defaultdict(list)
    for done, of_run in enumerate(_runs(runs, setup, jobs, first_seed), start=1):
        for held in of_run:
            of_policy[held.policy].append(held)
        if done % PROGRESS_EVERY == 0:
            print(f"{done} of {runs} runs", file=sys.stderr, flush=True)
    return {
        "runs": runs,
        "setup": msgspec.to_builtins(setup),
        "policies": {name: _summary(of_runs) for name, of_runs in of_policy.items()},
    }


def _runs(runs: int, setup: Setup, jobs: int, first_seed: int) -> Iterator[list[Held]]:
    seeds = range(first_seed, first_seed + runs)
    if jobs == 1:
        yield from (run(seed, setup) for seed in seeds)
        return
    with ProcessPoolExecutor(jobs) as pool:
        yield from pool.map(run, seeds, [setup] * runs, chunksize=1)


def _summary(of_runs: list[Held]) -> dict[str, Any]:
    found: dict[str, Any] = {
        "truth_minor": float(np.mean([held.truth for held in of_runs])),
        "effective": float(np.mean([held.effective for held in of_runs])),
        "sold_out": float(np.mean([held.sold_out for held in of_runs])),
    }
    for what in ("values", "gains"):
        found[what] = {}
        for each in Estimator:
            pairs = [getattr(held, what)[each] for held in of_runs]
            covered = Counter(is_held for _, is_held in pairs)
            errors = np.array([error for error, _ in pairs])
            found[what][str(each)] = {
                "covered": covered[True] / len(pairs),
                "mean_error_minor": float(errors.mean()),
                "standard_error_of_that": float(errors.std(ddof=1) / len(pairs) ** 0.5) if len(pairs) > 1 else None,
            }
    return found


def _print(found: dict[str, Any]) -> None:
    table = Table(
        "policy",
        "true",
        "ESS",
        "sold out",
        *(f"{what} {each.value}" for what in ("value", "gain") for each in Estimator),
        title=f"intervals of 95 % that hold the truth, of {found['runs']} runs",
        title_justify="left",
    )
    table.columns[0].no_wrap = True
    for name, of_policy in found["policies"].items():
        table.add_row(
            name,
            f"{of_policy['truth_minor']:.1f}",
            f"{of_policy['effective']:.0f}",
            f"{of_policy['sold_out']:.0%}",
            *(f"{of_policy[what][str(each)]['covered']:.0%}" for what in ("values", "gains") for each in Estimator),
        )
    Console().print(table)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    plain = Setup()
    parser.add_argument("--runs", type=int, default=200, help="worlds (default: %(default)s)")
    parser.add_argument("--shoppers", type=int, default=plain.shoppers, help="of each world (default: %(default)s)")
    parser.add_argument("--coupons", type=int, default=plain.coupons, help="of each world (default: %(default)s)")
    parser.add_argument("--exploration", type=float, default=plain.exploration_ratio, help="(default: %(default)s)")
    parser.add_argument("--sold-out", action="store_true", help="a few units of each coupon, which sell out")
    parser.add_argument("--seed", type=int, default=0, help="of the first world (default: %(default)s)")
    parser.add_argument("--jobs", type=int, default=1, help="processes (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    given = parser.parse_args()
    setup = Setup(given.shoppers, given.coupons, given.exploration, given.sold_out)
    found = measure(given.runs, setup, given.jobs, given.seed)
    if given.json:
        print(json.dumps(found, indent=1))
    else:
        _print(found)


if __name__ == "__main__":
    main()
