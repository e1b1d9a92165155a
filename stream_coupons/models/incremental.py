r"""Learner of the parts of a coupon's value: what came of those who got it, over what was predicted for them.

A part of coupon i is the model's prediction times a ratio :math:`\rho_i`. Seen and predicted sums fade with time, as
coupons change, and the ratio is drawn to that of the shop, as a Gamma-Poisson posterior is:

.. math:: \rho_i = \frac{\sum \text{seen} + \kappa\,\rho}{\sum \text{predicted} + \kappa}

How much the shop's ratio counts, :math:`\kappa`, is learnt from the shop itself (empirical Bayes [1]_): where coupons
differ much beyond chance it is small. Predicted is by the models when the outcome is learnt, not as stored with the
decision: a stored prediction would count twice what the models have learnt since.

Orders anyway of those who got a coupon are seen in two ways. Orders on which it was not used are a share 1 - u of them,
without any comparison of shoppers; as u may differ by coupon, they move the ratio by a part of their own. The same
choice withheld from a shopper by chance shows all of them [2]_.

Some of the orders that a coupon adds in its scope are taken from the rest of the shop. What holders order there, less
what those order from whom the same choice was withheld, over what is added in scope, is one number for the shop.

References
----------
.. [1] Efron, B., and Morris, C. (1973). Stein's estimation rule and its competitors: an empirical Bayes approach.
       Journal of the American Statistical Association 68.
.. [2] Johnson, G., Lewis, R., and Nubbemeyer, E. (2017). Ghost ads. Journal of Marketing Research 54(6).
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_coupons.core.catalogue.compiled import Floats
from stream_coupons.core.catalogue.viewed_prices import NOTHING_VIEWED, ViewedPrices
from stream_coupons.core.decision.incremental import (
    ANYWAY,
    DISCOUNT,
    DOUBTED,
    KEPT_RATIO,
    OWN_SHARE,
    OWN_VALUE,
    PARTS,
    REDEEMED,
    REDEEMED_VALUE,
    UNUSED,
    USES_RATIO,
    IncrementalMargin,
    OrderTimes,
)
from stream_coupons.core.features.rows import DIMENSIONS
from stream_coupons.models.states import State, check_finite, check_names, check_no_less, check_places

WITHHELD = ANYWAY
"""Sums of `ANYWAY` are those of coupons that chance withheld."""
IN_SCOPE, OTHERS, OTHERS_WITHHELD = range(len(PARTS), len(PARTS) + 3)
"""Further sums: the value of orders in scope of those who got the coupon, and what is expected of them without it; the
value of orders out of scope and its square, of those who got the coupon, and of those from whom it was withheld."""
KINDS = len(PARTS) + 3
SEEN, PREDICTED, NUMBER = range(3)
SQUARES = PREDICTED
COUNTS, VALUES = (REDEEMED, UNUSED), (REDEEMED_VALUE, OWN_VALUE, DISCOUNT)
"""Parts that are counted, and those that are sums of money."""
WEEK_S = 7 * 86400.0
HALF_LIVES_S = np.array([21.0, 2.5]) * 86400.0
"""Times in which the outcomes of a coupon lose half of their weight: of its usual ratios, and of its recent ones."""
USUAL, RECENT = range(len(HALF_LIVES_S))
SHAPE = (len(HALF_LIVES_S), KINDS, 3)
SHOP_STRENGTH = 30.0
"""Expected outcomes at which the observed ratio of the shop counts half."""
PRIOR_STRENGTH: Mapping[int, float] = {
    REDEEMED: 10.0,
    UNUSED: 10.0,
    REDEEMED_VALUE: 10.0,
    OWN_VALUE: 10.0,
    DISCOUNT: 50.0,
}
"""Expected outcomes of a coupon at which its own ratio counts half, until the shop shows how its coupons differ."""
RECENT_STRENGTH = 30.0
"""Expected recent outcomes of a coupon at which they count as much as its usual ratio, until the shop shows how its
coupons change."""
PRIOR_COUPONS = 10.0
"""Coupons for which `PRIOR_STRENGTH` counts, among those of the shop."""
MIN_STRENGTH, MAX_STRENGTH = 0.1, 100.0
"""Bounds of the expected outcomes at which a coupon's own ratio counts half."""
WITHHELD_STRENGTH = 12.0
"""Expected orders of withheld choices at which they count as much for a coupon as its unused orders."""
MIN_OUTCOMES = 1e-9
MAX_TIMES = 10.0
"""Bound of an order's value, or its discount, over the expected one: one forged order must not decide for all."""
KEPT_SPREAD = 0.2
"""Prior standard deviation of `IncrementalMargin.kept_ratio`."""
INFLATION = 2.0
"""Factor of the variance of outcomes: those of one shopper whose windows overlap are not independent."""
PRIOR_OWN_ORDERS = 10.0
"""Expected orders of holders, without their coupons, at which the observed share of use counts half."""
MAX_USES_RATIO = 0.98
ANYWAY_ERROR = 0.1
"""Relative error of the orders that would be placed anyway, which no coupon's outcomes show."""


class CouponOutcome(NamedTuple):
    """The outcome of an issue, or of a coupon withheld by chance.

    Attributes
    ----------
    redeem, anyway, uses : float
        P(redeem), P(order without the coupon) and the share of such orders that use it, as the models predict them now.
    order_minor, discount_minor : float
        Value of an order in scope, and discount, as expected at decision time, minor units; 0 if unknown.
    is_given, ordered, redeemed : bool
        True for an issue, if the shopper ordered in scope, and if the coupon was used.
    value_minor, taken_minor, other_minor : float
        Value of all orders in scope, discount on them, and value of all other orders, minor units.
    at : float
        Time at which it is known, UTC epoch seconds.
    weight : float
        Number of outcomes that it stands for.
    """

    redeem: float
    anyway: float
    uses: float
    order_minor: float
    discount_minor: float
    is_given: bool
    ordered: bool
    redeemed: bool
    value_minor: float
    taken_minor: float
    other_minor: float
    at: float
    weight: float = 1.0


class IncrementalLearner:
    """Model of the parts of the value of the coupons of one domain."""

    def __init__(self) -> None:
        self._sums: dict[int, tuple[float, Floats]] = {}
        """By hashed feature of a coupon: time, and sums of shape (len(HALF_LIVES_S), KINDS, 3): seen, predicted, and
        their number."""
        self._shop: Floats = np.ones(len(PARTS))
        """Ratios of the shop before its own outcomes."""
        self._anyway = self._unused = 0.0
        """Sums over holders: expected orders without their coupons, and orders on which the coupon was not used."""
        self._since = self._until = 0.0
        """Times of the first and of the last outcome, UTC epoch seconds; 0 before the first."""
        self._served: IncrementalMargin | None = None

    @property
    def uses_ratio(self) -> float:
        """Share of the orders that would be placed anyway, on which a coupon is used.

        An order without the coupon would have been placed anyway.
        """
        unused = (self._unused + (1.0 - USES_RATIO) * PRIOR_OWN_ORDERS) / (self._anyway + PRIOR_OWN_ORDERS)
        return min(max(1.0 - unused, 0.0), MAX_USES_RATIO)

    def learn_one(self, coupon: int, outcome: CouponOutcome) -> None:
        """Learn the outcome of an issue or of a coupon withheld by chance.

        Parameters
        ----------
        coupon : int
            Hashed feature of the coupon, without its group.
        outcome : CouponOutcome
            The outcome.
        """
        one, news = outcome, np.zeros((KINDS, 3))
        times = OrderTimes.of(one.redeem, one.anyway, one.uses)
        if one.is_given:
            news[REDEEMED] = one.redeemed, one.redeem, 1.0
            news[UNUSED] = one.ordered and not one.redeemed, (1.0 - one.uses) * one.anyway, 1.0
        else:
            news[WITHHELD] = one.ordered, one.anyway, 1.0
        if one.order_minor > 0.0:
            value, other = (min(each, MAX_TIMES * one.order_minor) for each in (one.value_minor, one.other_minor))
            if value > 0.0 and one.redeemed:
                news[REDEEMED_VALUE] = value, one.order_minor * times.redeemed, 1.0
            elif value > 0.0:
                news[OWN_VALUE] = value, one.order_minor * (times.unused if one.is_given else times.anyway), 1.0
            news[OTHERS if one.is_given else OTHERS_WITHHELD] = other, other**2, 1.0
            if one.is_given:
                news[IN_SCOPE] = value, one.anyway * times.anyway * one.order_minor, 1.0
        if one.redeemed and one.discount_minor > 0.0:
            news[DISCOUNT] = min(one.taken_minor, MAX_TIMES * one.discount_minor), one.discount_minor, 1.0
        self._since, self._until = min(self._since or one.at, one.at), max(self._until, one.at)
        at, sums = self._sums.get(coupon, (one.at, np.zeros((len(HALF_LIVES_S), *news.shape))))
        faded = sums * np.exp2(-max(one.at - at, 0.0) / HALF_LIVES_S)[:, None, None]
        self._sums[coupon] = max(at, one.at), faded + one.weight * news
        self._served = None

    def learn_use(self, anyway: float, *, ordered: bool, redeemed: bool, weight: float = 1.0) -> None:
        """Learn from one holder on which share of the orders that would be placed anyway a coupon is used.

        Parameters
        ----------
        anyway : float
            P(order without the coupon).
        ordered, redeemed : bool
            True if the shopper ordered in scope, and if the coupon was used.
        weight : float
            Number of holders that it stands for, times the share of their orders that a coupon may be used on.
        """
        self._anyway += weight * anyway
        self._unused += weight * (ordered and not redeemed)
        self._served = None

    def start_from(self, donor: "IncrementalLearner") -> None:
        """Start from the ratios of another shop; nothing is known of this one's coupons."""
        self._shop, self._served = donor.served.ratios[-1].copy(), None

    @property
    def served(self) -> IncrementalMargin:
        """The model as decisions use it."""
        if self._served is None:
            places = sorted(self._sums)
            ages_s = np.array([self._until - self._sums[place][0] for place in places])
            sums = np.array([self._sums[place][1] for place in places]).reshape(-1, *SHAPE)
            sums *= np.exp2(-ages_s[:, None] / HALF_LIVES_S)[:, :, None, None]
            ratios, spreads = ratios_of(sums, self._shop)
            self._served = IncrementalMargin(
                np.array(places, np.int64),
                ratios,
                spreads,
                self.uses_ratio,
                kept_ratio_of(sums[:, USUAL], ratios),
                is_first_week=self._until - self._since < WEEK_S,
            )
        return self._served

    def state(self) -> State:
        """Return the serialized model."""
        places = sorted(self._sums)
        return {
            "places": np.array(places, np.uint32),
            "times": np.array([self._sums[place][0] for place in places], np.float64),
            "sums": np.array([self._sums[place][1] for place in places], np.float64).reshape(-1, *SHAPE),
            "shop": self._shop,
            "own_orders": np.array([self._anyway, self._unused]),
            "span": np.array([self._since, self._until]),
        }

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Resume from the output of `state`.

        Raises
        ------
        SnapshotMismatch
            If it does not fit.
        """
        check_state(state)
        kept = zip(state["times"].tolist(), state["sums"].copy(), strict=True)
        self._sums = dict(zip(state["places"].tolist(), kept, strict=True))
        self._shop = state["shop"].copy()
        self._anyway, self._unused = state["own_orders"].tolist()
        self._since, self._until = state["span"].tolist()
        self._served = None


def ratios_of(sums: Floats, shop: Floats) -> tuple[Floats, Floats]:
    """Return the ratios of coupons, and their spreads: the attributes of `IncrementalMargin`.

    Before the first outcome of any coupon the predictions stand as they are: their spreads are zero.

    Parameters
    ----------
    sums : array, shape (n, *SHAPE)
        Usual and recent sums of each coupon: seen, predicted, and their number.
    shop : array, shape (len(PARTS),)
        Ratios of the shop before its own outcomes.
    """
    found, spread = np.ones((len(sums) + 1, len(PARTS))), np.zeros((len(sums) + 1, len(PARTS)))
    for part in (*COUNTS, *VALUES):
        found[:, part], spread[:, part] = _ratio(sums[:, :, part], float(shop[part]), part)
    withheld, unused = sums[:, USUAL, WITHHELD], found[:, UNUSED]
    seen, predicted = withheld[:, :NUMBER].sum(axis=0)
    level = (seen + SHOP_STRENGTH * shop[ANYWAY] * unused[-1] / shop[UNUSED]) / (predicted + SHOP_STRENGTH)
    by_use = level * (unused / unused[-1]) ** OWN_SHARE
    found[:, ANYWAY] = by_use
    known = np.append(withheld[:, PREDICTED] * by_use[:-1], 0.0) + WITHHELD_STRENGTH
    found[:-1, ANYWAY] *= (withheld[:, SEEN] + WITHHELD_STRENGTH) / known[:-1]
    spread[:, ANYWAY] = np.sqrt(1.0 / known + ANYWAY_ERROR**2)
    return found, spread[:, DOUBTED] if len(sums) else np.zeros((1, len(DOUBTED)))


def kept_ratio_of(sums: Floats, ratios: Floats) -> float:
    """Return the share of the orders added in scope that add to those of the whole shop.

    The posterior mean of a normal prior: what is lost out of scope has a standard error that is far larger than that
    of what is added in scope.

    Parameters
    ----------
    sums : array, shape (n, KINDS, 3)
        Sums of each coupon.
    ratios : array, shape (n + 1, len(PARTS))
        Output of `ratios_of`.
    """
    given, withheld = sums[:, OTHERS].sum(axis=0), sums[:, OTHERS_WITHHELD].sum(axis=0)
    if min(given[NUMBER], withheld[NUMBER]) < 2.0:
        return KEPT_RATIO
    means, variances = zip(*(_moments(each) for each in (given, withheld)), strict=True)
    in_scope = sums[:, IN_SCOPE]
    anyway = in_scope[:, PREDICTED] * ratios[:-1, ANYWAY] * ratios[:-1, OWN_VALUE]
    added = float((in_scope[:, SEEN] - anyway).sum() / in_scope[:, NUMBER].sum())
    error = INFLATION * (variances[0] / given[NUMBER] + variances[1] / withheld[NUMBER])
    # Precisions of 1 - kept: of the prior, and of what is lost out of scope over what is added in scope.
    prior, seen = KEPT_SPREAD**-2, max(added, 0.0) ** 2 / max(error, 1e-9)
    lost = prior * (1.0 - KEPT_RATIO) + max(added, 0.0) * (means[1] - means[0]) / max(error, 1e-9)
    return float(min(max(1.0 - lost / (prior + seen), 0.0), 1.0))


def _moments(sums: Floats) -> tuple[float, float]:
    mean = float(sums[SEEN] / sums[NUMBER])
    return mean, max(float(sums[SQUARES] / sums[NUMBER]) - mean**2, 0.0)


def _ratio(sums: Floats, prior: float, part: int) -> tuple[Floats, Floats]:
    """Return the ratio of a part by coupon and, last, that of the shop; and the spreads of their logarithms.

    The usual ratio of a coupon is drawn to that of the shop, and its recent one to the usual one.

    Parameters
    ----------
    sums : array, shape (n, len(HALF_LIVES_S), 3)
        Usual and recent sums of each coupon: seen, predicted, and their number.
    prior : float
        Ratio of the shop before its own outcomes.
    part : int
        Index in `PARTS`.
    """
    seen, predicted, number = np.moveaxis(sums, 2, 0)
    if part in VALUES and number.any():
        unit = max(predicted.sum() / number.sum(), MIN_OUTCOMES)
        seen, predicted = seen / unit, predicted / unit
    shop = (seen[:, USUAL].sum() + SHOP_STRENGTH * prior) / (predicted[:, USUAL].sum() + SHOP_STRENGTH)
    noise = float(shop**2 if part in VALUES else shop)
    ratio, known = np.full(len(sums), shop), np.full(len(sums), 0.0)
    for kept, strength in ((USUAL, PRIOR_STRENGTH[part]), (RECENT, RECENT_STRENGTH)):
        ratio, known = _drawn(seen[:, kept], predicted[:, kept], ratio, noise, strength)
    # Of a Gamma posterior: the relative spread of a mean of `known` orders, or of as many expected events.
    known = np.append(known, PRIOR_STRENGTH[part])
    return np.append(ratio, shop), np.maximum(known if part in VALUES else known * shop, MIN_OUTCOMES) ** -0.5


def _drawn(seen: Floats, predicted: Floats, centre: Floats, noise: float, strength: float) -> tuple[Floats, Floats]:
    r"""Return the ratios of coupons, each drawn to its centre, and the outcomes that they are known by: shape (n,).

    Seen sums vary around :math:`\rho_i` times the predicted ones by as much as counts do; sums of money, in units of a
    mean order, by as much as the order itself. How far ratios lie from their centres is found by the method of moments.

    Parameters
    ----------
    seen, predicted : array, shape (n,)
        Sums of each coupon.
    centre : array, shape (n,)
        Ratio that each is drawn to.
    noise : float
        Variance of what is seen for each expected outcome.
    strength : float
        Expected outcomes at which a ratio counts as much as its centre, before the shop shows how far they differ.
    """
    excess = ((seen - centre * predicted) ** 2 - noise * predicted) / (predicted + 1.0)
    weight = predicted**2 / (predicted + 1.0)
    variance = (excess.sum() + PRIOR_COUPONS * noise / strength) / (weight.sum() + PRIOR_COUPONS)
    strength = max(noise / variance, MIN_STRENGTH) if variance > noise / MAX_STRENGTH else MAX_STRENGTH
    return (seen + strength * centre) / (predicted + strength), predicted + strength


def check_state(state: Mapping[str, NDArray[Any]]) -> None:
    """Refuse a state that is not one of `IncrementalLearner`.

    Raises
    ------
    SnapshotMismatch
    """
    check_names(state, {"places", "times", "sums", "shop", "own_orders", "span"})
    size = len(check_places(state, DIMENSIONS - 1))
    check_finite(state, "times", (size,))
    check_finite(state, "sums", (size, *SHAPE))
    check_finite(state, "shop", (len(PARTS),))
    check_finite(state, "own_orders", (2,))
    check_finite(state, "span", (2,))
    check_no_less(state, ["times", "sums", "own_orders", "span"])
    check_no_less(state, ["shop"], np.finfo(np.float64).tiny)


def served_by(state: Mapping[str, NDArray[Any]]) -> IncrementalMargin:
    """Return the model of a state, as decisions use it; parameters and errors as of `check_state`."""
    check_state(state)
    learner = IncrementalLearner()
    learner.restore(state)
    return learner.served


class ShopModels(NamedTuple):
    """Models that a decision reads beside the probabilities of the heads."""

    viewed_prices: ViewedPrices
    """Prices that visitors look at."""
    incremental: IncrementalMargin
    """Parts of the value of coupons."""


@lru_cache
def prior_shop_models() -> ShopModels:
    """Return those before learning."""
    return ShopModels(NOTHING_VIEWED, IncrementalLearner().served)
