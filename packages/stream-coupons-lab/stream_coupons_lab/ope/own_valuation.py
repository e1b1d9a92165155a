r"""Other policies, and giving nothing, valued on the engine's own log.

**The reward** of a decision, given or not, is what the shopper brought within a window after it: the margin of all
their orders less all discounts that they used, and the cost of sending if a coupon was given. It is the same outcome
for every arm, so it needs no assumption of which orders a coupon touches: those that it takes from other products, or
from coupons that the shopper has or will get, count. An outcome in the coupon's scope alone would vary less, but of
two coupons it is two different outcomes. Estimated is the effect of deciding one trigger otherwise, all others as they
were. With windows that overlap, what is lost to the caps of later coupons is in it. What a policy would change of the
shopper's later states is not.

**The reward model** of the doubly robust estimator is linear in the value of the arm and in what the shopper brought
before, fitted to other shoppers (cross-fitting [1]_): the decision's own outcome is never in its own prediction.

References
----------
.. [1] Chernozhukov et al. (2018). Double/debiased machine learning for treatment and structural parameters.
       Econometrics Journal 21(1).
"""

import math
from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

from stream_coupons.core.errors import BadConfig
from stream_coupons.core.messages.fields import NO_COUPON
from stream_coupons.core.plurals import counted
from stream_coupons.core.rules import PolicyRules, ShopRules
from stream_coupons_lab.ope import valuation
from stream_coupons_lab.ope.ope import Logged
from stream_coupons_lab.ope.own_decisions import OwnDecisions, arrays
from stream_coupons_lab.ope.own_log import NO_MONEY, OwnLog
from stream_coupons_lab.ope.policies import KINDS, Policy
from stream_coupons_lab.ope.rewards import Reward
from stream_coupons_lab.ope.valuation import Valued

Floats = NDArray[np.float64]

FOLDS = 5
RIDGE = 1.0
"""Penalty of the weights of standardised columns."""
NEVER = "what the live policy would never have chosen there"


@dataclass(frozen=True, slots=True)
class OwnReport:
    """The values of other policies on the engine's own log; `warnings` name what may make them wrong."""

    domain: str
    window_s: float
    decisions: int
    shoppers: int
    coupons: int
    sold_out: float
    """Share of the coupons that shoppers might have got, over the decisions, that were sold out."""
    valued: list[Valued]
    warnings: list[str]
    notes: list[str]
    currency: str | None
    """Currency of the margin; its values are in minor units all the same."""
    conclusion: str
    """Sentence on another policy and ours."""
    reward: Reward = Reward.MARGIN


def report(
    log: OwnLog,
    policies: tuple[Policy, ...],
    rules: PolicyRules,
    *,
    domain: str | None = None,
    window_s: float | None = None,
    shop: ShopRules | None = None,
) -> OwnReport:
    """Value policies on a log.

    Parameters
    ----------
    domain : str, optional
        The one with most decisions, if not given.
    window_s : float, optional
        Time after a decision in which orders count, seconds; by default the longest redemption window of an arm.
    shop : ShopRules, optional
        Currencies.

    Raises
    ------
    BadConfig
        If nothing can be valued.
    """
    domain = domain or _largest_domain(log)
    window_s = window_s or log.window_s()
    decisions = arrays(list(log.decisions.values()), domain, log.ends_at - window_s)
    reward, before = outcomes(log, decisions, domain, window_s, rules)
    logged = Logged(
        decisions.shopper, decisions.chosen, decisions.propensity, reward, predicted(decisions, reward, before)
    )
    asked = policies or (*map(Policy, KINDS), Policy("always", NO_COUPON))
    choices, is_known = decisions.choices(rules), decisions.logging > 0
    valued = [valuation.value(policy, choices, logged, rules, is_known) for policy in asked]
    sold_out, arms = decisions.sold_out.sum(), decisions.is_coupon.sum()
    currency = shop.currency(domain) if shop is not None else None
    return OwnReport(
        domain=domain,
        window_s=window_s,
        decisions=len(decisions),
        shoppers=len(decisions.user_ids),
        coupons=len(decisions.names) - 1,
        sold_out=float(sold_out / (sold_out + arms)),
        valued=valued,
        warnings=[doubt for each in valued for doubt in valuation.doubts(each, NEVER)],
        notes=_notes(log, decisions, domain),
        currency=currency,
        conclusion=valuation.conclusion(valued, len(decisions), Reward.MARGIN, currency, NEVER),
    )


def _largest_domain(log: OwnLog) -> str:
    counts = Counter(decision.domain for decision in log.decisions.values())
    if not counts:
        raise BadConfig(
            "the log has no decisions on record: expected records of the topic decisions; is "
            "policy.decisions_logged_ratio 0?"
        )
    return max(counts, key=lambda name: (counts[name], name))


def _notes(log: OwnLog, decisions: OwnDecisions, domain: str) -> list[str]:
    notes = [f"{count} decisions are left out: {result}" for result, count in decisions.left_out.most_common()]
    if others := sum(one.domain != domain for one in log.decisions.values()):
        notes.append(f"{others} decisions are of other domains (--domain)")
    if log.unreadable:
        notes.append(f"left out {counted(log.unreadable, 'record')}: not a valid message")
    return notes


def outcomes(
    log: OwnLog, decisions: OwnDecisions, domain: str, window_s: float, rules: PolicyRules
) -> tuple[Floats, Floats]:
    """Return the reward of each decision, shape (n,), and what the shopper brought before it, shape (n, 2).

    Before it is the window's time before, and all of the past.
    """
    money = log.money()
    of_shopper = [money.get((user_id, domain), NO_MONEY) for user_id in decisions.user_ids]
    windows = np.array([(0.0, window_s), (-window_s, 0.0), (-math.inf, 0.0)])
    sums = [
        [of_shopper[shopper].between(*window).margin_minor for window in at + windows]
        for shopper, at in zip(decisions.shopper.tolist(), decisions.at.tolist(), strict=True)
    ]
    found = np.array(sums)
    reward: Floats = found[:, 0] - rules.cost_weight * rules.cost_minor * (decisions.chosen > 0)
    return reward, found[:, 1:]


def predicted(decisions: OwnDecisions, reward: Floats, before: Floats) -> Floats:
    """Return what each arm was expected to bring, by a model that did not see the shopper's outcomes, shape (n, a).

    Parameters
    ----------
    before : array, shape (n, k)
        What is known of the shopper at the moment.
    """
    rows = np.arange(len(decisions))
    value = np.where(decisions.arm >= 0, decisions.value, 0.0)
    gave = (decisions.chosen > 0).astype(np.float64)
    known = np.column_stack([before, value.max(axis=1), value[rows, decisions.chosen], gave])
    scaler = StandardScaler().fit(known)
    found = np.zeros(value.shape)
    for fold in range(FOLDS):
        held = decisions.shopper % FOLDS == fold
        if not held.any() or held.all():
            continue
        model = Ridge(alpha=RIDGE).fit(scaler.transform(known[~held]), reward[~held])
        of_value, of_giving = (model.coef_ / scaler.scale_)[-2:]
        nothing = known[held] * ([1.0] * (known.shape[1] - 2) + [0.0, 0.0])
        base = model.predict(scaler.transform(nothing))
        found[held] = base[:, None] + value[held] * of_value + decisions.is_coupon[held] * of_giving
    return found
