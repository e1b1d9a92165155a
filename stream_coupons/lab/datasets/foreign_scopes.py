"""Scopes of another system's coupons that name none, inferred from attributes with the values of items."""

from collections.abc import Iterable, Mapping
from typing import Literal

import msgspec

from stream_coupons.core.messages.catalogue import Coupon
from stream_coupons.core.messages.inputs import Item

Scope = Literal["categories", "brands"]

SHARED_RATIO = 0.5
"""Minimum share of an attribute's values that items must have, too, for the attribute to name their scope."""


def infer_scopes(coupons: Iterable[Coupon], items: Iterable[Item]) -> tuple[list[Coupon], dict[str, Scope]]:
    """Coupons that name nothing, with the categories and brands that one of their attributes names; and which does.

    An attribute names categories if at least half of its values, all of them texts, are categories of items. Of several
    it is the one with most of these. It stays an attribute.
    """
    unscoped = [coupon for coupon in coupons if not (coupon.categories or coupon.brands or coupon.items)]
    values: dict[str, set[object]] = {}
    for coupon in unscoped:
        for name, value in coupon.attributes.items():
            if value is not None:
                values.setdefault(name, set()).add(value)
    if not values:
        return [], {}
    named: dict[str, Scope] = {}
    categories, brands = set(), set()
    for item in items:
        categories.add(item.category or None)  # an empty name is none
        brands.add(item.brand or None)
    known: tuple[tuple[Scope, set[str | None]], ...] = (("categories", categories), ("brands", brands))
    for scope, words in known:
        naming = _naming({name: each for name, each in values.items() if name not in named}, words)
        if naming is not None:
            named[naming] = scope
    return [_with_scope(coupon, named) for coupon in unscoped if named.keys() & coupon.attributes.keys()], named


def _naming(values: Mapping[str, set[object]], words: set[str | None]) -> str | None:
    """The attribute whose values are these words, if there is one."""
    shared = {
        name: len(each & words)
        for name, each in values.items()
        if all(isinstance(value, str) for value in each) and len(each & words) >= max(SHARED_RATIO * len(each), 1)
    }
    return max(shared, key=lambda name: (shared[name], name), default=None)


def _with_scope(coupon: Coupon, named: Mapping[str, Scope]) -> Coupon:
    said = {scope: coupon.attributes.get(name) for name, scope in named.items()}
    return msgspec.structs.replace(coupon, **{scope: [value] for scope, value in said.items() if value is not None})
