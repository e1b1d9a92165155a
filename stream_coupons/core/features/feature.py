"""One object for each numeric feature: its name, bounds, text and prior weights.

A feature is declared once, in the module of its subject. All other code derives from the declarations: the columns of
rows and the name of the feature space (`numeric`), prior weights (`models.linear`), the features of a coupon's effect
(`models.encoding`), sentences (`ops.explain.feature_text`), and the reference page.

There are three kinds, by how often they are computed: once for each shopper and moment, once for each coupon, or for
all rows of a batch at once. The features of this program that depend on the shopper are computed by one function for
each subject; those of other packages, and those of coupons, by a function each.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from stream_coupons.core.catalogue.compiled import CouponSet, Floats
from stream_coupons.core.features.affinity import RowBatch, ShopperMoment

PRIOR_HEADS = ("click", "effect", "demand", "visit")
"""Models of a probability: P(click), P(redeem | no order without the coupon), P(order without the coupon after the
visit | none within it), and P(order within the visit)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """A numeric feature: bounded, and 0 where it carries no information.

    Attributes
    ----------
    name : str
        Unique among numeric and hashed features; part of the name of the feature space. A feature whose computation
        changes gets another name.
    bounds : tuple of float
        Least and greatest value; values beyond are clipped. The default fits logarithms of up to 160 thousand. Models
        have bins, one wide, from -1 to 4.
    text : str or callable
        Continuation of "the coupon ...", with the placeholders `{number}`, `{percent}` and `{whole}` for the number
        that the feature's value states; or a function from that number to such a text.
    number : callable, optional
        Returns the number that a value states; by default the value before the logarithm.
    log_divisor : float
        If it is not 0, the feature is log(1 + max(x, 0)) / log_divisor of the computed x.
    prior : mapping of str to float
        Prior weight by head of `PRIOR_HEADS`, log-odds; a head that is not named has 0.
    is_of_terms : bool
        True if it describes the discount: it does not apply to a shopper who gets no coupon.
    is_of_effect : bool
        True if the coupon's effect is learnt from it: few features, as there are few redemptions.
    """

    name: str
    text: str | Callable[[float], str]
    bounds: tuple[float, float] = (0.0, 12.0)
    number: Callable[[float], float] | None = None
    log_divisor: float = 0.0
    prior: Mapping[str, float] = field(default_factory=dict)
    is_of_terms: bool = False
    is_of_effect: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ShopperFeature(Feature):
    """A feature of the shopper and the moment, alike for all coupons."""

    compute: Callable[[ShopperMoment], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class CouponFeature(Feature):
    """A feature of the coupon, alike for all shoppers: computed once for a catalogue, shape (coupons,)."""

    compute: Callable[[CouponSet], Floats]


@dataclass(frozen=True, slots=True, kw_only=True)
class MatchFeature(Feature):
    """A feature of the shopper, the coupon and the moment together: computed for all rows at once, shape (n,)."""

    compute: Callable[[RowBatch], Floats]
