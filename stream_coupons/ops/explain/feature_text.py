"""Features in words: what one says of the coupon and the shopper, and by how much it moved the odds of redeeming.

A numeric feature declares its text (`core.features.feature`), which states the number that its value stands for. A
feature that has no text is called by its name.
"""

import math

from msgspec import Struct

from stream_coupons.core.features.categories import CATEGORY_TEXTS
from stream_coupons.core.features.feature import Feature
from stream_coupons.core.features.numeric import FEATURE_BY_NAME
from stream_coupons.core.messages.decisions import Reason


class FeatureText(Struct, frozen=True, kw_only=True):
    """A reason and its sentence."""

    feature: str
    value: float
    contribution: float
    """To the log-odds of redeeming."""
    sentence: str


def tell(reason: Reason) -> FeatureText:
    """A reason in words.

    >>> tell(Reason("demand_share", 0.639, 0.3365)).sentence
    'is for what this shopper looks at most (share of interest 34 %): raises the odds of redeeming by 40 %'
    >>> tell(Reason("mood", 1.5, -0.7)).sentence
    'mood is 1.5: lowers the odds of redeeming by 50 %'
    """
    name, value, added = reason.feature, reason.value, reason.contribution
    return FeatureText(
        feature=name, value=value, contribution=added, sentence=f"{_about(name, value)}: {effect(added)}"
    )


def _about(name: str, value: float) -> str:
    if "=" in name:
        return f"comes with {name.replace('*', ' and ')}: experience with all that do"
    if text := CATEGORY_TEXTS.get(name):
        return text
    try:
        return _text_of(FEATURE_BY_NAME[name], value)
    except (KeyError, ArithmeticError, ValueError):  # no such feature, or no value that it can have
        return f"{name} is {value:g}"


def number_of(feature: Feature, value: float) -> float:
    """Return the number that a feature's value states, in the unit of its text.

    >>> round(number_of(FEATURE_BY_NAME["content"], 0.5), 3)
    1.718
    """
    if feature.number is not None:
        return feature.number(value)
    return math.expm1(feature.log_divisor * value) if feature.log_divisor else value


def _text_of(feature: Feature, value: float) -> str:
    number = number_of(feature, value)
    text = feature.text if isinstance(feature.text, str) else feature.text(number)
    return text.format(number=_number(number), percent=f"{_number(100.0 * number)} %", whole=f"{number:.0f}")


def effect(contribution: float) -> str:
    """Return in words how a contribution to the log-odds changes the odds of redeeming."""
    percent = 100.0 * math.expm1(min(abs(contribution), 50.0))
    if percent < 0.5:
        return "hardly changes the odds of redeeming"
    if contribution < 0:
        return f"lowers the odds of redeeming by {100.0 * -math.expm1(contribution):.0f} %"
    if percent < 100:
        return f"raises the odds of redeeming by {percent:.0f} %"
    return f"makes the odds of redeeming {1 + percent / 100:.3g} times as high"


def _number(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 99.5 else f"{value:.2g}"
