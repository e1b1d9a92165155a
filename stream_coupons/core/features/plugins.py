"""Numeric features that other installed packages declare, by the entry point group `stream_coupons.features`.

They are found once, when the program starts: every command in one environment has the same features. The name of the
feature space contains theirs, so that models and stored rows of other features are carried over by name, or refused.
"""

import re
from collections.abc import Iterable
from importlib.metadata import EntryPoint, entry_points

from stream_coupons.core import plugins
from stream_coupons.core.errors import BadConfig
from stream_coupons.core.features.feature import PRIOR_HEADS, CouponFeature, Feature, MatchFeature, ShopperFeature

NAME = re.compile(r"[a-z][a-z0-9_]*")
MAX_BOUND = 1000.0
"""Bound of a feature; examples with larger values are refused."""
KINDS = (ShopperFeature, CouponFeature, MatchFeature)


def installed_features(taken: Iterable[str], found: Iterable[EntryPoint] | None = None) -> tuple[Feature, ...]:
    """Return the features of installed packages, by the names of their entry points and in their own order.

    Parameters
    ----------
    taken : iterable of str
        Names of other features.
    found : iterable of EntryPoint, optional
        Each names a tuple of features, `module:attribute`; by default those of the installed packages.

    Raises
    ------
    BadConfig
        If one cannot be imported, or does not name features with new names and finite bounds.
    """
    found = entry_points(group=plugins.FEATURES) if found is None else found
    names, features = set(taken), list[Feature]()
    for point in sorted(found, key=lambda each: each.name):
        for feature in tuple(plugins.load(point, plugins.FEATURES)):
            if wrong := _wrong(feature, names):
                raise BadConfig(f"entry point {point.name} of {plugins.FEATURES} ({point.value}): {wrong}")
            names.add(feature.name)
            features.append(feature)
    return tuple(features)


def _wrong(feature: object, taken: Iterable[str]) -> str:
    """Return the fault of a declaration; an empty text if there is none."""
    if not isinstance(feature, KINDS):
        return f"{feature!r} is no {', '.join(kind.__name__ for kind in KINDS)}"
    if not NAME.fullmatch(feature.name):
        return f"the name {feature.name!r} is not of the form {NAME.pattern}"
    if feature.name in taken:
        return f"the name {feature.name} is taken"
    low, high = feature.bounds
    if not -MAX_BOUND <= low < high <= MAX_BOUND:
        return f"{feature.name}: bounds are {feature.bounds}, expected (low, high) within {MAX_BOUND:g}"
    try:
        if isinstance(feature.text, str):
            feature.text.format(number="", percent="", whole="")
    except (LookupError, ValueError):
        return f"{feature.name}: the text {feature.text!r} has other placeholders than number, percent and whole"
    if unknown := set(feature.prior) - set(PRIOR_HEADS):
        return f"{feature.name}: prior names {sorted(unknown)}, expected {', '.join(PRIOR_HEADS)}"
    return ""
