"""Every policy of interest valued on the decisions of a log, with what makes the figures doubtful."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from stream_coupons.core.errors import BadConfig
from stream_coupons.core.rules import PolicyRules
from stream_coupons.settings import Settings
from stream_coupons_lab.datasets.foreign import ForeignLog
from stream_coupons_lab.offline import arm_effects
from stream_coupons_lab.offline.arm_effects import ArmEffect
from stream_coupons_lab.offline.logged_decisions import LoggedDecisions, decisions_of, missing_arms
from stream_coupons_lab.offline.progressive_run import ProgressiveRun
from stream_coupons_lab.ope import ope, policies
from stream_coupons_lab.ope.ope import Estimator, Logged, Valuation
from stream_coupons_lab.ope.policies import ArmScores, Policy
from stream_coupons_lab.ope.rewards import Reward, rewards
from stream_coupons_lab.reports.axes import compared, factor, format_interval, format_value

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

OURS = ("greedy", "epsilon")
NEVER = "arms that the log never chose"
SHOWN = 20
"""Policies in the text of a report."""
MOST_CONSTANTS = 30
FEW_EFFECTIVE = 100
FEW_REWARDED = 10


@dataclass(frozen=True, slots=True)
class Valued:
    """A policy and its value.

    Attributes
    ----------
    unsupported : float
        Share of its choices of which nothing is known: the log never made them, or never could have.
    """

    policy: str
    valuation: Valuation
    unsupported: float

    def is_of_all(self, decisions: int) -> bool:
        """Return True if it is valued on so many decisions; always:ARM is on those that could have its arm."""
        return self.valuation.diagnostics.decisions == decisions


@dataclass(frozen=True, slots=True, repr=False)
class ValuationReport:
    """The values of policies; `warnings` name what may make them wrong, `notes` how they were found.

    Attributes
    ----------
    currency : str or None
        Currency of a margin; its values are in minor units all the same.
    conclusion : str
        Sentence on our policy and the logging one.
    """

    reward: Reward
    currency: str | None
    decisions: int
    shoppers: int
    arms: int
    valued: list[Valued]
    effects: list[ArmEffect]
    warnings: list[str]
    notes: list[str]
    conclusion: str

    def __repr__(self) -> str:
        shown = [_line(one, self.decisions, self.reward, self.currency) for one in self.valued[:SHOWN]]
        more = [f"  ... {len(self.valued) - SHOWN} more in `valued`"] * (len(self.valued) > SHOWN)
        counts = f"{len(self.effects)} effects, {len(self.warnings)} warnings, {len(self.notes)} notes"
        noun = self.reward.in_unit(self.currency)
        title = f"{noun} of {self.decisions:,} decisions about {self.shoppers:,} shoppers: {counts}"
        return "\n".join((title, *shown, *more, self.conclusion))


@dataclass(frozen=True, slots=True)
class Question:
    """The policies to value, and how; if none are given: ours, the logging one, random and every constant arm."""

    reward: Reward = Reward.CLICK
    policies: tuple[Policy, ...] = ()
    skip_ratio: float = 0.0
    seed: int = 0


def value_log(
    log: ForeignLog,
    settings: Settings,
    question: Question,
    feed: Callable[[ProgressiveRun], None] = lambda running: running.feed_all(),
) -> ValuationReport:
    """Score every arm of a log's decisions in order of time, and answer a question about them.

    Parameters
    ----------
    feed : callable
        Feeds all records of the log to a run.

    Raises
    ------
    BadConfig
        If the log cannot answer it.
    """
    warnings = missing_arms(log)
    running = ProgressiveRun(log, settings, score_arms=True)
    feed(running)
    scored = running.finish()
    known = decisions_of(scored, log, settings.policy.typical_price_minor)
    currencies = {settings.shop.currency(domain) for domain in log.domains}
    found = report(known, question, settings.policy, currencies.pop() if len(currencies) == 1 else None)
    if currencies and question.reward is Reward.MARGIN:
        found.warnings.append("the log's domains have several currencies: their minor units are added as they are")
    found.warnings[:0] = warnings
    if open_ones := len(scored) - len(known):
        found.notes.insert(0, f"{open_ones} issues are left out: their window was open when the log ended")
    return found


def report(
    decisions: LoggedDecisions, question: Question, rules: PolicyRules, currency: str | None = None
) -> ValuationReport:
    """Answer a question; money is in minor units of a currency.

    Raises
    ------
    BadConfig
        If the log cannot answer it.
    """
    found = rewards(decisions, question.reward, rules)
    notes, warnings = list(found.notes), list[str]()
    propensity = propensities_of(decisions, warnings)
    # Skipped decisions count in what is estimated from the log, never in the values.
    kept = ~np.isnan(propensity)
    kept[: int(question.skip_ratio * len(decisions))] = False
    if not kept.any():
        raise BadConfig("no decision is left to value a policy on")
    decisions, propensity = decisions.at_rows(kept), propensity[kept]
    found = replace(found, reward=found.reward[kept], predicted=found.predicted[kept], worth=found.worth[kept])
    logged = Logged(decisions.shopper, decisions.chosen, propensity, found.reward, found.predicted)
    asked = question.policies or _default(decisions, notes)
    choices = ArmScores(decisions.names, decisions.arm, found.worth, decisions.is_arm)
    is_known = decisions.times_chosen[decisions.arm] > 0
    valued = [value(policy, choices, logged, rules, is_known) for policy in asked]
    for each in valued:
        warnings += doubts(each, NEVER)
    return ValuationReport(
        reward=question.reward,
        currency=currency,
        decisions=len(decisions),
        shoppers=len(np.unique(decisions.shopper)),
        arms=len(decisions.names),
        valued=valued,
        effects=arm_effects.measure(decisions, found, propensity, question.seed),
        warnings=warnings,
        notes=notes,
        conclusion=conclusion(valued, len(decisions), question.reward, currency, NEVER, OURS),
    )


def propensities_of(decisions: LoggedDecisions, warnings: list[str]) -> Floats:
    """Return the propensities of what was chosen, NaN where unknown; add a warning if some are.

    Raises
    ------
    BadConfig
        If none is known.
    """
    unknown = np.isnan(decisions.propensity)
    if unknown.all():
        raise BadConfig(
            "no decision of the log has a propensity, and no other policy can be valued without: give each issue the "
            "probability with which its arm was chosen"
        )
    if unknown.any():
        warnings.append(
            f"{int(unknown.sum())} of {len(decisions)} decisions have no propensity and are left out: if it lacks "
            "for a reason that matters, all values are biased"
        )
    return decisions.propensity


def _default(decisions: LoggedDecisions, notes: list[str]) -> tuple[Policy, ...]:
    chosen = [name for name, times in zip(decisions.names, decisions.times_chosen, strict=True) if times]
    never = len(decisions.names) - len(chosen)
    if never:
        notes.append(f"{never} arms were never chosen: nothing is known of them, always taking one is not valued")
    if len(chosen) > MOST_CONSTANTS:
        notes.append(
            f"always: the {MOST_CONSTANTS} arms most often chosen of {len(chosen)}; others by --policy always:ARM"
        )
    if len(chosen) > 2:
        notes.append("the best of several constant arms is the best partly by chance")
    constants = (Policy("always", name) for name in chosen[:MOST_CONSTANTS])
    return (*map(Policy, ("logged", "greedy", "epsilon", "random")), *constants)


def value(policy: Policy, choices: ArmScores, logged: Logged, rules: PolicyRules, is_known: Mask) -> Valued:
    """Value one policy, on the decisions that could have its arm.

    Parameters
    ----------
    is_known : array of bool, shape (n, a)
        The arms of which the log can tell something.
    """
    if policy.kind == "logged":
        return Valued(str(policy), ope.value_logged(logged), 0.0)
    target = policies.target(policy, choices, rules)
    rows: Mask = target.sum(axis=1) > 0
    unsupported = float((target * ~is_known)[rows].sum() / rows.sum())
    return Valued(str(policy), ope.value(logged.at(rows), target[rows]), unsupported)


def doubts(each: Valued, unknown: str) -> list[str]:
    """Return the reasons to doubt the value of a policy; `unknown` names the choices of which nothing is known."""
    found, doubts = each.valuation.diagnostics, []
    if each.unsupported > 1e-9:
        doubts.append(
            f"{each.policy}: {each.unsupported:.1%} of its choices are {unknown}; IPS counts them as nothing, SNIPS as "
            "the rest, DR by its model alone"
        )
    elif found.is_off:
        doubts.append(
            f"{each.policy}: the mean weight is {found.mean_weight.value:.3f}, expected about 1: the propensities are "
            "wrong, or it chooses what could not be chosen"
        )
    if found.effective < FEW_EFFECTIVE or found.rewarded < FEW_REWARDED:
        doubts.append(
            f"{each.policy}: rests on {found.effective:.0f} effective decisions and {found.rewarded} rewards: too few"
        )
    return doubts


def conclusion(
    valued: Sequence[Valued], decisions: int, reward: Reward, currency: str | None, never: str, ours: Sequence[str] = ()
) -> str:
    """Return a sentence that compares one policy with the logging one, by the doubly robust estimate.

    It is one of `ours` where these were valued, else `always:none` or another one: the first without doubts, so it does
    not depend on the values.

    Parameters
    ----------
    decisions : int
        Number of all decisions.
    never : str
        As of `doubts`.
    ours : sequence of str
        Kinds of policies that are the engine's, where another system decided.
    """
    others = [one for one in valued if one.policy != "logged"]
    others.sort(key=lambda one: one.policy != "always:none")
    others = [one for kind in ours for one in others if one.policy.startswith(kind)] or others
    if not others:
        return "No conclusion: only the logging policy was valued."
    one = next((each for each in others if not doubts(each, never)), others[0])
    for doubt in doubts(one, never):
        return f"No conclusion: {doubt}."
    gain, n = one.valuation.gains[Estimator.DR], one.valuation.diagnostics.decisions
    if math.isnan(gain.low):
        return f"No conclusion: {one.policy}: all decisions have the same reward."
    name = f"The engine's policy ({one.policy})" if one.policy.startswith(tuple(ours)) else f"The policy {one.policy}"
    unit = reward.unit(currency)
    size, side = compared(gain, factor(unit))
    what = f"{unit} of margin a decision" if reward is Reward.MARGIN else f"{reward.noun} per 100 decisions"
    where = "" if n == decisions else f", on the {n:,} of {decisions:,} decisions that could have its arm"
    if not side:
        return f"{name} is not distinguishable from the logging policy at 95 %: it brings {size} {what} more{where}."
    return f"{name} would have brought {size} {what} {side} than the logging policy{where}: significant at 95 %."


def _line(one: Valued, decisions: int, reward: Reward, currency: str | None) -> str:
    """Return a policy with its value as text, for people."""
    value, unit = one.valuation.values[Estimator.DR], reward.unit(currency)
    span = format_interval(value.low, value.high, unit) or "unknown"
    where = "" if one.is_of_all(decisions) else f" on {one.valuation.diagnostics.decisions:,} decisions"
    return f"  {one.policy}: {format_value(value.value, unit)} ({span}){where}"
