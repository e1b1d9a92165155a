"""The simulated shoppers: hidden tastes and habits that no event states."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream_coupons_lab.simulation.assortment import BRANDS, CATEGORIES, Assortment

Floats = NDArray[np.float64]

SEGMENTS = 5
HOURS = np.arange(24) + 0.5
MEDIAN_ORDER_RATIO = 0.13
MAX_ORDER_RATIO = 0.6


@dataclass(frozen=True, slots=True, eq=False)
class Tastes:
    """Tastes of U shoppers over C categories and I products; read only.

    Attributes
    ----------
    segment : NDArray[np.intp]
        The latent segment of each shopper, shape (U,).
    share, share_cumulative : Floats
        Distribution of a shopper's interest over categories, shape (U, C), rows sum to 1.
    look, look_cumulative : Floats
        P(product | browsing in its category), shape (U, I); a category's entries sum to 1, so the
        cumulative one rises from c to c + 1 over category c.
    buy, buy_cumulative : Floats
        P(product | ordering in its category), same shape: a brand may be browsed often and hardly bought.
    """

    segment: NDArray[np.intp]
    share: Floats
    share_cumulative: Floats
    look: Floats
    look_cumulative: Floats
    buy: Floats
    buy_cumulative: Floats


@dataclass(frozen=True, slots=True, eq=False)
class CommonTastes:
    """Means that shoppers' tastes are drawn around: the same for all shoppers of a world.

    Attributes
    ----------
    centres : Floats
        Interest in categories by segment, shape (SEGMENTS, C), rows sum to 1.
    appeal : Floats
        Appeal of brands by segment, shape (SEGMENTS, brands).
    fame : Floats
        Fame of brands, shape (brands,).
    """

    centres: Floats
    appeal: Floats
    fame: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Population:
    """Everything hidden about U shoppers; arrays are read only.

    Attributes
    ----------
    activity : Floats
        Sessions a day, shape (U,).
    hours_cumulative : Floats
        Distribution function of a session's hour at 0, 1, ..., 24, shape (U, 25).
    order_ratio : Floats
        P(order | session in this category, nothing bought there lately), shape (U, C).
    price_sensitivity : Floats
        Sensitivity to discounts, shape (U,), around 1.
    amount_taste : Floats
        Factor on the felt depth of an amount off against a percentage, shape (U,), around 1.
    curiosity : Floats
        Factor on the inclination to click, shape (U,), around 1.
    irritability : Floats
        Factor on the fatigue by many coupons, shape (U,), around 1.
    tastes : tuple[Tastes, ...]
        One, or two when tastes change.
    order_appeal : Floats
        Factor on `order_ratio` that a category has for all shoppers, shape (1, C).
    common : tuple[CommonTastes, ...]
        Means that each of `tastes` was drawn around.
    """

    activity: Floats
    hours_cumulative: Floats
    order_ratio: Floats
    price_sensitivity: Floats
    amount_taste: Floats
    curiosity: Floats
    irritability: Floats
    tastes: tuple[Tastes, ...]
    order_appeal: Floats
    common: tuple[CommonTastes, ...]


def make_population(  # noqa: PLR0913 - what shoppers are drawn from
    seed: int,
    assortment: Assortment,
    shoppers: int,
    sessions_per_day: float,
    *,
    drifts: bool,
    median_order_ratio: float = MEDIAN_ORDER_RATIO,
    like: "Population | None" = None,
) -> Population:
    """Draw shoppers.

    Habits and each set of tastes come from generators of their own, so whether tastes change later
    alters nothing before they do.

    Parameters
    ----------
    median_order_ratio : float
        Median over shoppers and categories of `Population.order_ratio`.
    like : Population, optional
        Other shoppers of the same world: what all shoppers have in common is taken from these.
    """
    habits, before, after = (
        np.random.default_rng(child) for child in np.random.SeedSequence(seed, spawn_key=(1,)).spawn(3)
    )
    level = habits.normal(0.0, 0.35, shoppers)
    sensitivity = np.exp(-0.8 * level + habits.normal(0.0, 0.45, shoppers))
    generators = (before, after) if drifts else (before,)
    activity = sessions_per_day * habits.gamma(2.5, 1 / 2.5, shoppers)
    hours = _hours(habits, shoppers)
    inclination = np.exp(habits.normal(0.0, 0.45, (shoppers, 1)))
    order_appeal = np.exp(habits.normal(0.0, 0.25, (1, len(CATEGORIES)))) if like is None else like.order_appeal
    known = [None] * len(generators) if like is None else like.common
    drawn = [
        _tastes(rng, assortment, level, sensitivity, common) for rng, common in zip(generators, known, strict=True)
    ]
    return Population(
        activity=activity,
        hours_cumulative=hours,
        order_ratio=np.minimum(MAX_ORDER_RATIO, median_order_ratio * inclination * order_appeal),
        price_sensitivity=sensitivity,
        amount_taste=np.exp(habits.normal(0.0, 0.35, shoppers)),
        curiosity=np.exp(habits.normal(0.0, 0.5, shoppers)),
        irritability=np.exp(habits.normal(0.0, 0.5, shoppers)),
        tastes=tuple(tastes for tastes, _ in drawn),
        order_appeal=order_appeal,
        common=tuple(common for _, common in drawn),
    )


def _hours(rng: np.random.Generator, shoppers: int) -> Floats:
    peaks = np.array([7.5, 12.5, 20.0]) + rng.normal(0.0, 0.8, (shoppers, 3))
    mix = rng.dirichlet((0.8, 0.6, 1.6), shoppers)
    density = np.einsum("up,uph->uh", mix, np.exp(-0.5 * ((HOURS - peaks[:, :, None]) / 1.8) ** 2)) + 0.01
    cumulative = np.cumsum(density / density.sum(axis=1, keepdims=True), axis=1)
    cumulative[:, -1] = 1.0
    return np.concatenate([np.zeros((shoppers, 1)), cumulative], axis=1)


def _tastes(
    rng: np.random.Generator, assortment: Assortment, level: Floats, sensitivity: Floats, common: CommonTastes | None
) -> tuple[Tastes, CommonTastes]:
    """Draw tastes around what is common to all shoppers; draw that, too, if it is not given."""
    shoppers, categories, brands = level.size, len(CATEGORIES), len(BRANDS)
    segment = rng.integers(0, SEGMENTS, shoppers)
    centres = rng.dirichlet(np.full(categories, 0.4), SEGMENTS) if common is None else common.centres
    gammas = rng.gamma(7.0 * centres[segment] + 0.35)
    share = (gammas + 0.01) / (gammas + 0.01).sum(axis=1, keepdims=True)
    of_segment = rng.normal(0.0, 0.7, (SEGMENTS, brands)) if common is None else common.appeal
    appeal = of_segment[segment] + rng.normal(0.0, 0.7, (shoppers, brands))
    fame_of_all = rng.normal(0.0, 0.8, brands) if common is None else common.fame
    fame = fame_of_all + rng.normal(0.0, 0.3, (shoppers, brands))
    price_level, brand = assortment.price_level, assortment.brand
    closeness = -0.5 * ((price_level - level[:, None]) / 0.5) ** 2
    thrift = -0.5 * ((price_level - level[:, None] + 0.25 * sensitivity[:, None]) / 0.5) ** 2
    look = _within_category(assortment, (fame + 0.3 * appeal)[:, brand] + closeness)
    buy = _within_category(assortment, (0.3 * fame + 1.5 * appeal)[:, brand] + thrift)
    tastes = Tastes(
        segment=segment,
        share=share,
        share_cumulative=np.cumsum(share, axis=1),
        look=look,
        look_cumulative=np.cumsum(look, axis=1),
        buy=buy,
        buy_cumulative=np.cumsum(buy, axis=1),
    )
    return tastes, CommonTastes(centres, of_segment, fame_of_all)


def _within_category(assortment: Assortment, utility: Floats) -> Floats:
    """Multinomial logit choice among the products of each category."""
    weight = np.exp(utility)
    total = np.add.reduceat(weight, assortment.first[:-1], axis=1)
    return np.asarray(weight / total[:, assortment.category])
