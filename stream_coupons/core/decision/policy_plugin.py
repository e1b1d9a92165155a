"""Policies from other packages: they give each candidate a probability, and the engine draws.

So a propensity is exact whatever the policy does, and a replay draws alike. A policy reads what is eligible and has
stock and money; it returns numbers only, and cannot draw on a budget or issue a coupon.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np

from stream_coupons.core import plugins
from stream_coupons.core.catalogue.compiled import Floats
from stream_coupons.core.errors import BadConfig, PluginError
from stream_coupons.core.rules import PolicyRules

TOLERANCE = 1e-6
"""Largest distance of a sum of probabilities from 1."""


@dataclass(frozen=True, slots=True)
class Offer:
    """The candidates of one decision, n rows in the same order everywhere; arrays are read-only.

    Attributes
    ----------
    user_id, domain : str
        The shopper, and the domain of all candidates.
    at : float
        Time of the decision, UTC epoch seconds.
    coupon_ids : list of str
        The candidates, which are eligible and can be paid for.
    predicted : array, shape (n, 3)
        P(click), P(redeem), P(order in scope without a coupon).
    values_minor, prices_minor : array, shape (n,)
        Expected gain of each coupon over giving none, and the price of its expected cost by its budgets, minor units.
    rules : PolicyRules
        The settings `policy.*`.
    """

    user_id: str
    domain: str
    at: float
    coupon_ids: list[str]
    predicted: Floats
    values_minor: Floats
    prices_minor: Floats
    rules: PolicyRules

    def __post_init__(self) -> None:
        for name in ("predicted", "values_minor", "prices_minor"):
            array = getattr(self, name).view()
            array.flags.writeable = False
            object.__setattr__(self, name, array)

    def __len__(self) -> int:
        return len(self.coupon_ids)

    @property
    def net_minor(self) -> Floats:
        """Value less price: what the engine's own policy goes by, minor units, shape (n,)."""
        return self.values_minor - self.prices_minor


class DecisionPolicy(Protocol):
    """A policy from another package; the setting names an object, or a class that is called without arguments.

    Equal offers must get equal probabilities: a policy has no state and no randomness of its own.
    """

    def probabilities(self, offer: Offer) -> Floats:
        """Return the probability of each candidate, and last that of no coupon: shape (n + 1,), with sum 1."""


@lru_cache
def load_policy(strategy: str) -> DecisionPolicy:
    """Return the policy that `policy.strategy` names, one object for each text.

    Raises
    ------
    BadConfig
        If it cannot be made, or has no `probabilities`.
    """
    setting = "policy.strategy"
    found = plugins.named(strategy, plugins.POLICIES, setting)
    policy: DecisionPolicy = plugins.made(found, f"{setting}: {strategy!r}") if isinstance(found, type) else found
    if not callable(getattr(policy, "probabilities", None)):
        raise BadConfig(
            f"{setting}: {strategy!r} is a {type(policy).__name__} without probabilities: "
            "expected the interface of stream_coupons.core.decision.policy_plugin.DecisionPolicy"
        )
    return policy


def shares(offer: Offer) -> Floats:
    """Return the probabilities of the candidates and of no coupon, shape (n + 1,), by the policy of the settings.

    Raises
    ------
    PluginError
        If the policy raises, or its result is no distribution.
    """
    strategy = offer.rules.strategy
    policy, size = load_policy(strategy), len(offer) + 1
    try:
        found: Floats = np.array(policy.probabilities(offer), np.float64)
    except Exception as error:
        raise PluginError(f"policy {strategy!r} raised {type(error).__name__}: {error}") from error
    is_distribution = found.shape == (size,) and (found >= 0.0).all() and abs(float(found.sum()) - 1.0) <= TOLERANCE
    if not is_distribution:
        raise PluginError(
            f"policy {strategy!r} returned {found.tolist()}: expected {size} probabilities with sum 1, "
            f"of {len(offer)} candidates and of no coupon"
        )
    normalised: Floats = found / found.sum()
    return normalised


def drawn_row(of_rows: Floats, uniform: float) -> int | None:
    """Return the row that a uniform draw in [0, 1) selects; None is no coupon.

    Parameters
    ----------
    of_rows : array, shape (n + 1,)
        Probabilities of the rows, and of no coupon.
    uniform : float
        The draw.

    Examples
    --------
    >>> [drawn_row(np.array([0.25, 0.0, 0.75]), each) for each in (0.0, 0.24, 0.25, 0.99)]
    [0, 0, None, None]
    """
    possible = np.flatnonzero(of_rows)
    nth = int(np.searchsorted(np.cumsum(of_rows[possible]), uniform, side="right"))
    row = int(possible[min(nth, len(possible) - 1)])
    return row if row < len(of_rows) - 1 else None
