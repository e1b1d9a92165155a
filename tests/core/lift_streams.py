"""Streams of shoppers who come back, half of them enrolling at once, looked at after every event."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream_coupons.core.measurement.lift import FOLDS, contrast, critical_value

Floats = NDArray[np.float64]

DAYS = 60.0
DAYS_BEFORE = 28.0
ORDERS_A_DAY = 0.1
VALUE = 1000.0


@dataclass(frozen=True)
class Shoppers:
    """How shoppers differ, and what being treated does to them.

    Attributes
    ----------
    count : int
        Shoppers.
    holdout_ratio : float
        Share of the holdout.
    shape : float
        Shape of the gamma distribution of the rates of orders; small: few order most.
    sigma : float
        Deviation of the logarithm of an order's value.
    is_regular : bool
        True if shoppers stock up: one order delays the next.
    late : float
        Share that enrols later than the first day.
    more : float
        Share of orders that the treated add.
    cheaper : float
        Share of an order's value that the treated get off.
    """

    count: int = 400
    holdout_ratio: float = 0.2
    shape: float = 1.0
    sigma: float = 1.0
    is_regular: bool = False
    late: float = 0.5
    more: float = 0.0
    cheaper: float = 0.0


WORLDS = {
    "plain": Shoppers(),
    "heavy tails": Shoppers(sigma=1.6),
    "few order most": Shoppers(shape=0.3, count=600),
    "stocking up": Shoppers(is_regular=True),
    "small holdout": Shoppers(count=900, holdout_ratio=0.05, sigma=1.3),
    "even arms": Shoppers(count=250, holdout_ratio=0.5),
    "all at once": Shoppers(late=0.0),
}


@dataclass(frozen=True)
class Looks:
    """One look after each event, shape (looks,) each; errors are infinite before the first one with an interval."""

    value: Floats
    truth: Floats
    error: Floats
    half: Floats
    """Half of the interval's width."""

    @property
    def has_interval(self) -> NDArray[np.bool_]:
        return np.isfinite(self.error)

    def ever_excludes(self, effect: Floats | float) -> bool:
        return bool((np.abs(self.value - effect) > self.half).any())

    def ever_significant(self) -> bool:
        """By a z-test of 95 % at each look."""
        return bool((np.abs(self.value) > 1.96 * self.error).any())


@dataclass(frozen=True)
class Stream:
    """Enrolments and orders of some shoppers; events are in order of time, shape (events,) each."""

    is_holdout: NDArray[np.bool_]
    covariates: Floats
    at: Floats
    shopper: NDArray[np.intp]
    value: Floats
    is_order: NDArray[np.bool_]
    gain: Floats
    """Expected effect on each shopper a day."""
    enrolled: Floats

    def looks(self, *, adjusted: bool) -> Looks:
        sums, before = self._sums(adjusted=adjusted)
        found = contrast(sums)
        n = sums[..., 0, 0].sum(axis=1)
        share = n.min(axis=1) / n.sum(axis=1)
        is_first = self.is_order & (before == 0)
        critical = critical_value(share * self.is_order.cumsum(), share * is_first.cumsum())
        error = np.where(np.isfinite(critical), found.error, np.inf)
        return Looks(found.value, self._truth(), error, critical * error)

    def _truth(self) -> Floats:
        """Mean expected effect so far on the shoppers enrolled so far."""
        count = np.cumsum(~self.is_order)
        gain = self.gain[np.argsort(self.enrolled, kind="stable")]
        start = np.sort(self.enrolled)
        rates, starts = np.cumsum(gain)[count - 1], np.cumsum(gain * start)[count - 1]
        return (rates * self.at - starts) / count

    def _sums(self, *, adjusted: bool) -> tuple[Floats, NDArray[np.intp]]:
        """Sums of products at each look, and the orders of the shopper before it."""
        width = self.covariates.shape[1] if adjusted else 0
        rows = np.column_stack([np.ones(len(self.is_holdout)), self.covariates[:, :width]])[self.shopper]
        brought, before = self._before()
        added = np.zeros((len(self.at), width + 2, width + 2))
        added[:, :-1, :-1] = np.where(self.is_order[:, None, None], 0.0, rows[:, :, None] * rows[:, None, :])
        added[:, :-1, -1] = added[:, -1, :-1] = rows * self.value[:, None]
        added[:, -1, -1] = 2 * brought * self.value + self.value**2
        sums = np.zeros((len(self.at), FOLDS, 2, width + 2, width + 2))
        arm = self.is_holdout[self.shopper].astype(int)
        sums[np.arange(len(self.at)), self.shopper % FOLDS, arm] = added
        return np.cumsum(sums, axis=0, out=sums), before

    def _before(self) -> tuple[Floats, NDArray[np.intp]]:
        """Value and number of the orders of each event's shopper before it."""
        by_shopper = np.argsort(self.shopper, kind="stable")
        brought, before = np.empty(len(self.at)), np.empty(len(self.at), dtype=np.intp)
        first = np.searchsorted(self.shopper[by_shopper], np.arange(len(self.is_holdout)))
        for found, amounts in ((brought, self.value), (before, self.is_order)):
            total = np.cumsum(amounts[by_shopper]) - amounts[by_shopper]
            found[by_shopper] = total - total[first][self.shopper[by_shopper]]
        return brought, before


def stream(kind: Shoppers, seed: int) -> Stream:
    """Draw a stream."""
    rng = np.random.default_rng([seed, kind.count, int(100 * kind.sigma)])
    n = kind.count
    is_holdout = rng.random(n) < kind.holdout_ratio
    enrolled = np.where(rng.random(n) < kind.late, rng.uniform(0, DAYS, n), rng.uniform(0, 1, n))
    rate = rng.gamma(kind.shape, ORDERS_A_DAY / kind.shape, n)
    size = VALUE * np.exp(rng.normal(0, 0.5, n) - 0.125)
    orders_before = rng.poisson(rate * DAYS_BEFORE)
    before = size * orders_before * rng.lognormal(-0.02, 0.2, n)
    grown = np.where(is_holdout, 1.0, 1.0 + kind.more)
    shopper, at = _orders(rng, rate * grown, enrolled, is_regular=kind.is_regular)
    value = size[shopper] * rng.lognormal(-(kind.sigma**2) / 2, kind.sigma, len(at))
    value *= np.where(is_holdout[shopper], 1.0, 1.0 - kind.cheaper)
    order = np.argsort(np.concatenate([enrolled, at]), kind="stable")
    start = enrolled / DAYS
    return Stream(
        is_holdout=is_holdout,
        covariates=np.column_stack([start, before / 1000, start * before / 1000]),
        at=np.concatenate([enrolled, at])[order],
        shopper=np.concatenate([np.arange(n), shopper])[order],
        value=np.concatenate([np.zeros(n), value])[order],
        is_order=(np.arange(n + len(at)) >= n)[order],
        gain=rate * size * ((1 + kind.more) * (1 - kind.cheaper) - 1),
        enrolled=enrolled,
    )


def _orders(
    rng: np.random.Generator, rate: Floats, enrolled: Floats, *, is_regular: bool
) -> tuple[NDArray[np.intp], Floats]:
    if not is_regular:
        shopper = np.repeat(np.arange(len(rate)), rng.poisson(rate * (DAYS - enrolled)))
        return shopper, rng.uniform(enrolled[shopper], DAYS)
    pause = 1.0 / np.maximum(rate, 0.01)
    gaps = pause[:, None] * rng.uniform(0.8, 1.2, (len(rate), int(DAYS)))
    gaps[:, 0] = pause * rng.random(len(rate))
    at = enrolled[:, None] + np.cumsum(gaps, axis=1)
    shopper, place = np.nonzero(at < DAYS)
    return shopper, at[shopper, place]
