"""The catalogue, compiled to arrays, so that all coupons of a domain are judged at once."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from stream_coupons.core.catalogue.content_vectors import CODES, vector_codes
from stream_coupons.core.messages.catalogue import Campaign, Coupon
from stream_coupons.core.messages.inputs import Item
from stream_coupons.core.money.accounts import Accounts, Limit, within_campaign
from stream_coupons.core.shopper.profile import DAY_S
from stream_coupons.core.vectors.items import category_brand
from stream_coupons.core.vectors.sparse import feature_index, stable_hash
from stream_coupons.core.vectors.values import LEVELS, value_hashes

Floats = NDArray[np.float64]
Hashes = NDArray[np.uint32]
Positions = NDArray[np.intp]

BRAND_WEIGHT = 0.5
MAX_PADDING = 4
"""Rows of terms are padded to one length unless that makes them so many times longer than they are."""
MAX_IN_ORDER = 7
"""Terms of a row up to which numpy adds them one after the other, whichever axis they lie along."""

MAX_ATTRIBUTES = 12
"""Attributes of coupons that are looked at, the first by name."""

ABSENT = 0
"""The hash of what is not there."""
PRIOR_DEPTH_RATIO = 0.15
"""Of a discount whose depth is not known: what is usual in the trade."""
MOST_DEPTH_RATIO = 0.5
"""As a number no discount is deeper: the log-odds do not grow with it from half the price to a gift as they do from
nothing to half the price. What is deeper is told by its hashed depth alone."""
NOTHING = Coupon(coupon_id="", discount_minor=0, max_discount_minor=1)
"""A coupon for everything that takes nothing off. No other has an empty id."""
PART_OF_BRAND, PART_OF_ITEM = 0.25, 0.1
"""The part of a category's demand that one brand, or one item, is taken to have before a shopper is known."""


def price_of(coupon: Coupon, default_minor: float) -> float:
    """Typical price of what the coupon is for, minor units."""
    return float(coupon.typical_price_minor or default_minor)


def discount_of(coupon: Coupon, default_price_minor: float) -> float:
    """Return the discount of one redemption at the typical price, minor units; never above the maximum."""
    if coupon.discount_minor is not None:
        given = float(coupon.discount_minor)
    elif coupon.discount_percent is not None:
        given = coupon.discount_percent / 100.0 * price_of(coupon, default_price_minor)
    else:
        given = float(coupon.max_discount_minor)
    return min(given, float(coupon.max_discount_minor))


def depth_of(coupon: Coupon) -> float | None:
    """Return the discount of one redemption as a share of the typical price, [0, 1]; None if that is not known.

    An amount without a price of its own says nothing of depth: a price that stands in for those of a whole shop would
    make every amount above it a gift.

    >>> depth_of(Coupon(coupon_id="c", discount_minor=150, max_discount_minor=150, typical_price_minor=1000))
    0.15
    """
    if coupon.typical_price_minor:
        return min(discount_of(coupon, coupon.typical_price_minor) / coupon.typical_price_minor, 1.0)
    if coupon.discount_minor is None:
        return None if coupon.discount_percent is None else coupon.discount_percent / 100.0
    return None if coupon.discount_minor else 0.0


def is_in_scope(coupon: Coupon, item: Item) -> bool:
    """Return whether the coupon may be used on this item; what the coupon does not name, it does not limit."""
    return (
        (not coupon.items or item.item_id in coupon.items)
        and (not coupon.categories or item.category in coupon.categories)
        and (not coupon.brands or item.brand in coupon.brands)
    )


@dataclass(frozen=True, slots=True)
class Terms:
    """The features that coupons have in common with profiles, as rows of columns of the vocabulary."""

    columns: Positions
    """Rows are padded with column 0, which is nothing."""
    axis: int = -1
    """Along which the terms of a row lie. Few terms are added faster across rows, to the same sum."""
    starts: Positions | None = None
    """Where each row starts, if they are end to end: padding them all to the longest would cost too much."""

    @classmethod
    def of(cls, rows: Sequence[Sequence[int]]) -> "Terms":
        """Return terms of rows of columns."""
        filled = [row or [0] for row in rows]
        sizes = [len(row) for row in filled]
        width = max([*sizes, 1])
        if len(rows) * width > MAX_PADDING * sum(sizes):
            return cls(np.array(list(chain.from_iterable(filled)), np.intp), starts=np.cumsum([0, *sizes[:-1]]))
        padded = np.array([[*row, *[0] * (width - len(row))] for row in filled], np.intp).reshape(len(rows), width)
        return cls(padded) if width > MAX_IN_ORDER else cls(np.ascontiguousarray(padded.T), -2)

    def at(self, positions: Positions, first: Positions) -> "Terms":
        """Return some of the rows, each for a vector of its own that begins at `first` of all vectors end to end."""
        if self.starts is None and self.axis == -2:
            return Terms(self.columns[:, positions] + first, -2)
        if self.starts is None:
            return Terms(self.columns[positions] + first[:, None])
        sizes = np.diff(self.starts, append=len(self.columns))[positions]
        starts = np.cumsum(sizes) - sizes
        place = np.arange(sizes.sum()) + np.repeat(self.starts[positions] - starts, sizes)
        return Terms(self.columns[place] + np.repeat(first, sizes), starts=starts)

    def score(self, vectors: Floats) -> Floats:
        """Return the sum of each vector over the columns of every row, shape (..., rows), of (..., columns)."""
        values = vectors.take(self.columns, axis=-1)
        return values.sum(axis=self.axis) if self.starts is None else np.add.reduceat(values, self.starts, axis=-1)

    def greatest(self, vectors: Floats) -> Floats:
        """Return the greatest value of each vector in the columns of every row, shapes as in `score`."""
        values = vectors.take(self.columns, axis=-1)
        return values.max(axis=self.axis) if self.starts is None else np.maximum.reduceat(values, self.starts, axis=-1)


class Scopes(NamedTuple):
    """The scopes of some rows, as terms; `narrowest` are those of the narrowest that its coupon names."""

    categories: Terms
    brands: Terms
    items: Terms
    narrowest: Terms

    def content(self, vectors: Floats) -> Floats:
        """Return R(u, i) = sum_k w(i, k) f(u, k) of each vector and row; shapes as in `Terms.score`."""
        brands = BRAND_WEIGHT * self.brands.score(vectors)
        return self.categories.score(vectors) + brands + self.items.score(vectors)


class Pairs(NamedTuple):
    """Rows of a moment, `owner`, with a coupon each, at `position`; `scopes` are over vectors of all moments, end to
    end."""

    owner: Positions
    position: Positions
    scopes: Scopes


def _scope(coupon: Coupon) -> list[str]:
    """Names of the features that an item in the coupon's scope has: the narrowest that the coupon names."""
    if coupon.items:
        return [f"item:{item_id}" for item_id in coupon.items]
    if coupon.categories and coupon.brands:
        return [category_brand(category, brand) for category in coupon.categories for brand in coupon.brands]
    return [f"category:{name}" for name in coupon.categories] + [f"brand:{name}" for name in coupon.brands]


def _prior_part(coupon: Coupon) -> float:
    """Return the part of its categories' demand that the coupon's items or brands are taken to have.

    >>> _prior_part(Coupon(coupon_id="c", max_discount_minor=1, categories=["tea"], brands=["a", "b"]))
    0.5
    """
    if coupon.items:
        return min(PART_OF_ITEM * len(coupon.items), 1.0)
    return min(PART_OF_BRAND * len(coupon.brands), 1.0) if coupon.brands else 1.0


def _static_hashes(coupon: Coupon, *, gives_nothing: bool) -> list[int]:
    """Hashes of what every coupon may have; only of what it is for, if it stands for giving none.

    What a coupon does not say is absent, too: where none says it, a value for "not said" would be in every row
    and every cross, and share what is learnt of all.
    """
    return [
        ABSENT if gives_nothing else feature_index(f"coupon={coupon.coupon_id}"),
        feature_index(f"kind={coupon.kind}") if coupon.kind else ABSENT,
        feature_index(f"category={coupon.categories[0]}") if coupon.categories else ABSENT,
        feature_index(f"brand={coupon.brands[0]}") if coupon.brands else ABSENT,
        ABSENT if gives_nothing else _depth_hash(coupon),
    ]


def _depth_hash(coupon: Coupon) -> int:
    """Of the depth in tenths; of the amount to one digit, if it is not known how deep that is."""
    if coupon.discount_minor is None and coupon.discount_percent is None:
        return ABSENT
    depth_ratio = depth_of(coupon)
    if depth_ratio is None:
        return feature_index(f"amount={discount_of(coupon, 0.0):.0e}")
    return feature_index(f"depth={round(depth_ratio * 10)}")


class CouponSet:
    """The coupons of one domain in order of their ids, and what scoring needs of them as arrays.

    Attributes are read-only arrays of shape (coupons,), unless they say otherwise.

    Parameters
    ----------
    accounts : Accounts, optional
        Of the coupons and their campaigns; None: no coupon has a campaign.
    nothing : iterable of Coupon
        Pseudo-coupons, behind the others, that represent giving none: what is hashed of each is only what it is for.
        Each may have the id of one of the others, whose history is then its own.
    """

    def __init__(
        self,
        coupons: Iterable[Coupon],
        default_price_minor: float,
        attributes: tuple[str, ...] | None = None,
        *,
        nothing: Iterable[Coupon] = (),
        accounts: Accounts | None = None,
    ) -> None:
        self._default_price_minor = default_price_minor
        given = sorted(coupons, key=lambda coupon: coupon.coupon_id)
        self.coupons: tuple[Coupon, ...] = (*given, *nothing)
        self.position = {coupon.coupon_id: i for i, coupon in enumerate(given)}
        self.positions_of: defaultdict[str, list[int]] = defaultdict(list)
        """By id, the positions of the coupon and of the pseudo-coupons that have its history."""
        for i, coupon in enumerate(self.coupons):
            self.positions_of[coupon.coupon_id].append(i)
        self.vocabulary: dict[int, int] = {}
        each = self.coupons
        self.valid_from = np.array([c.valid_from for c in each])
        self.valid_until = np.array([c.valid_until for c in each])
        self.is_paused = np.array([c.paused for c in each], dtype=bool)
        known_accounts = accounts or Accounts(given)
        self.accounts: list[tuple[Limit, ...]] = [known_accounts.of(c) for c in each]
        """Accounts that each coupon draws on: its stock, then those of money."""
        self.limited = [tuple(limit for limit in limits if limit.most is not None) for limits in self.accounts]
        """Those of them that have a limit."""
        self.priced = [tuple(limit for limit in limits if limit.is_priced) for limits in self.limited]
        """Those of them that have a price."""
        self._for_nobody = [position for position, c in enumerate(each) if c.max_per_user == 0]
        self._of_first_item: defaultdict[str, list[int]] = defaultdict(list)
        for position, c in enumerate(each):
            if c.items:
                self._of_first_item[c.items[0]].append(position)
        depths = [depth_of(c) for c in each]
        price = np.array([price_of(c, default_price_minor) for c in each])
        self.discount_minor = np.array([discount_of(c, default_price_minor) for c in each])
        self.price_minor: Floats = price
        self.margin_ratio: Floats = np.array([c.margin_ratio for c in each])
        self.margin_minor = price * self.margin_ratio
        self._percent = np.array([c.discount_percent or 0.0 for c in each])
        self._amount_minor = np.array([c.discount_minor or 0 for c in each], np.float64)
        self._most_minor = np.array([c.max_discount_minor for c in each], np.float64)
        self.has_items = np.array([bool(c.items) for c in each], dtype=bool)
        self.redeem_within_s = np.array([c.redeem_within_s for c in each])
        self.price_log2 = np.log2(np.maximum(price, 1.0))
        self.static_numeric: Floats = np.stack(
            [
                np.array([PRIOR_DEPTH_RATIO if depth is None else min(depth, MOST_DEPTH_RATIO) for depth in depths]),
                np.log1p(self.discount_minor) / 10.0,
                np.log1p(self.redeem_within_s / DAY_S) / 4.0,
                np.log1p(np.array([len(c.items) for c in each])) / 3.0,
            ],
            axis=1,
        ).reshape(len(each), 4)
        self.scopes = Scopes(
            self._terms([[f"category:{name}" for name in c.categories] for c in each]),
            self._terms([[f"brand:{name}" for name in c.brands] for c in each]),
            self._terms([[f"item:{name}" for name in c.items] for c in each]),
            self._terms([_scope(c) for c in each]),
        )
        self.category_price_log2: Floats = self._category_prices()
        """Mean logarithm of the typical prices of each category's coupons, by column; 0 where there is none."""
        self.first_category: Positions = np.array(
            [self.category_column(c.categories[0]) if c.categories else 0 for c in each], np.intp
        )
        """Column of what `categories` begins with; 0 if there is none."""
        self.names_category = np.array([bool(c.categories) for c in each], dtype=bool)
        self.names_finer = np.array([bool(c.items or c.brands) for c in each], dtype=bool)
        self.prior_part: Floats = np.array([_prior_part(c) for c in each])
        """The part of its categories' demand that a coupon's scope has, before anything is known of a shopper."""
        # Never empty: what is not in the vocabulary is looked up, too.
        known = np.array(sorted(self.vocabulary.items()) or [(0, 0)])
        self._sorted_indices: Hashes = known[:, 0].astype(np.uint32)
        self._sorted_columns: Positions = known[:, 1].astype(np.intp)
        named = sorted({name for c in each for name in c.attributes}) if attributes is None else attributes
        self.attributes = tuple(named)[:MAX_ATTRIBUTES]
        """Names of the attributes that are looked at; every coupon that lacks one is known by that."""
        self.static_hashes: Hashes = np.array(
            [_static_hashes(c, gives_nothing=i >= len(given)) for i, c in enumerate(each)], dtype=np.uint32
        ).reshape(len(each), 5)
        """Of what every coupon has."""
        self.attribute_hashes: Hashes = np.array(
            [[value_hashes(name, c.attributes.get(name)) for name in self.attributes] for c in each], dtype=np.uint32
        ).reshape(len(each), len(self.attributes), LEVELS)
        """Of each attribute, from coarse to fine, shape (coupons, attributes, LEVELS)."""
        self.attribute_hashes[len(given) :] = ABSENT
        self.has_vectors = any(c.vector is not None for c in each)
        """True if any coupon has a vector."""
        codes = CODES if self.has_vectors else 0
        self.vector_hashes: Hashes = np.array(
            [vector_codes(c.vector) if c.vector is not None else [ABSENT] * codes for c in each], dtype=np.uint32
        ).reshape(len(each), codes)
        """Of the codes of each vector, shape (coupons, CODES); (coupons, 0) if no coupon has a vector."""
        self.kinds = {kind: number for number, kind in enumerate(sorted({c.kind for c in each} - {""}), start=1)}
        self.kind: Positions = np.array([self.kinds.get(c.kind, 0) for c in each], np.intp)
        """Number of its kind in `kinds`; 0 if it has none."""
        self._alone: dict[int, CouponSet] = {}

    def alone(self, position: int) -> "CouponSet":
        """The set of this one coupon: what is looked at for it costs no more than it must."""
        found = self._alone.get(position)
        if found is None:
            found = self._alone[position] = CouponSet(
                [self.coupons[position]], self._default_price_minor, self.attributes
            )
        return found

    def __len__(self) -> int:
        return len(self.coupons)

    def in_question(self, given: Iterable[str], ordered: Iterable[str]) -> set[int]:
        """Positions of the coupons that may be denied to a shopper who was given these, and ordered these items.

        A cap needs one that was given, unless it is zero; and who ordered all items of a coupon ordered the first.
        """
        found = {position for one in given if (position := self.position.get(one)) is not None}
        return found.union(self._for_nobody, *(self._of_first_item.get(item_id, ()) for item_id in ordered))

    def _category_prices(self) -> Floats:
        of_column: defaultdict[int, list[float]] = defaultdict(list)
        for coupon, price_log2 in zip(self.coupons, self.price_log2.tolist(), strict=True):
            for name in coupon.categories:
                of_column[self.category_column(name)].append(price_log2)
        prices = np.zeros(len(self.vocabulary) + 1)
        for column, each in of_column.items():
            prices[column] = sum(each) / len(each)
        return prices

    def discounts_minor(self, positions: Positions, values_minor: Floats) -> Floats:
        """Return what coupons take off orders of these values, minor units, shape (n,)."""
        asked = values_minor * self._percent[positions] / 100.0 + self._amount_minor[positions]
        taken: Floats = np.minimum(np.minimum(asked, self._most_minor[positions]), values_minor)
        return taken

    @property
    def width(self) -> int:
        """The length of the longest array of one moment: one number for each feature, term or coupon."""
        return max(len(self.vocabulary) + 1, *(each.columns.size for each in self.scopes[:3]))

    def pairs(self, chosen: Sequence[Positions]) -> Pairs:
        """Return a row for each of the positions that are chosen for each moment."""
        owner, position = np.repeat(np.arange(len(chosen)), [*map(len, chosen)]), np.concatenate(chosen)
        first = owner * (len(self.vocabulary) + 1)
        return Pairs(owner, position, Scopes(*(each.at(position, first) for each in self.scopes)))

    def _terms(self, rows: list[list[str]]) -> Terms:
        return Terms.of([[self._column(feature_index(name)) for name in row] for row in rows])

    def _column(self, index: int) -> int:
        return self.vocabulary.setdefault(index, len(self.vocabulary) + 1)

    def dense(self, vectors: Sequence[tuple[Hashes, Floats]]) -> Floats:
        """Return vectors of (indices, weights) as dense ones over the vocabulary, shape (vectors, columns)."""
        indices, weights = (np.concatenate(part) for part in zip(*vectors, strict=True))
        row = np.repeat(np.arange(len(vectors)), [len(each) for each, _ in vectors])
        dense = np.zeros((len(vectors), len(self.vocabulary) + 1))
        dense[row, self._columns(indices)] = weights
        dense[:, 0] = 0.0
        return dense

    def _columns(self, indices: Hashes) -> Positions:
        """Columns of features; 0 of those that are not in the vocabulary."""
        place = np.minimum(np.searchsorted(self._sorted_indices, indices), len(self._sorted_indices) - 1)
        return np.where(self._sorted_indices[place] == indices, self._sorted_columns[place], 0)

    def category_column(self, name: str) -> int:
        """Column of a category; 0 when no coupon is for it."""
        return self.vocabulary.get(feature_index(f"category:{name}"), 0)


class Catalogue:
    """All coupons known; immutable: a change makes a new one.

    Parameters
    ----------
    attributes : mapping, optional
        Names of the attributes that are looked at, by domain; all that the coupons of the domain have, if not given.
    others : iterable of str
        Domains that are known although they have no coupon.
    campaigns : iterable of Campaign
        A coupon takes part in its campaign's time and pause.

    Attributes
    ----------
    accounts : Accounts
        All limits of stock and money.
    """

    def __init__(
        self,
        coupons: Iterable[Coupon],
        default_price_minor: float = 1000.0,
        attributes: Mapping[str, tuple[str, ...]] | None = None,
        others: Iterable[str] = (),
        campaigns: Iterable[Campaign] = (),
    ) -> None:
        self.campaigns = {campaign.campaign_id: campaign for campaign in campaigns}
        self.by_id = {coupon.coupon_id: self._as_in_campaign(coupon) for coupon in coupons}
        self.accounts = Accounts(self.by_id.values(), self.campaigns.values())
        self._default_price_minor = default_price_minor
        by_domain: dict[str, list[Coupon]] = {}
        for coupon in self.by_id.values():
            by_domain.setdefault(coupon.domain, []).append(coupon)
        self.domains = {
            domain: CouponSet(
                members,
                default_price_minor,
                None if attributes is None else attributes.get(domain, ()),
                accounts=self.accounts,
            )
            for domain, members in by_domain.items()
        }
        self.names = frozenset({*self.domains, *others})
        """The domains known."""
        self._bare: dict[str, Coupon] = {}
        self._nothing: dict[str, CouponSet] = {}
        self._beside: dict[tuple[str, str, int | None], CouponSet] = {}
        self._scope_marks: dict[str, int] = {}

    def _as_in_campaign(self, coupon: Coupon) -> Coupon:
        if coupon.campaign_id is None:
            return coupon
        valid_from, valid_until, paused = within_campaign(coupon, self.campaigns)
        return msgspec.structs.replace(coupon, valid_from=valid_from, valid_until=valid_until, paused=paused)

    def of_domain(self, domain: str) -> CouponSet | None:
        """The coupons of one domain; None when there are none."""
        return self.domains.get(domain)

    def value_of(self, item: Item, coupon: Coupon) -> int:
        """Return the value of an ordered item, minor units, by the coupon's typical price if it has none."""
        price = price_of(coupon, self._default_price_minor) if item.price_minor is None else item.price_minor
        return round(price * (1.0 if item.quantity is None else item.quantity))

    def scope_mark(self, coupon_id: str) -> int:
        """Return a mark of the scope of a coupon, which an edit changes; 0 of an unknown coupon."""
        coupon = self.by_id.get(coupon_id)
        if coupon is not None and coupon_id not in self._scope_marks:
            named = [sorted(names) for names in (coupon.items, coupon.categories, coupon.brands)]
            parts = (part for names in named for part in (str(len(names)), *names))
            self._scope_marks[coupon_id] = stable_hash(*parts) | 1
        return self._scope_marks.get(coupon_id, 0)

    def nothing_of(self, domain: str, arms: Iterable[str]) -> CouponSet:
        """Return the set of the one pseudo-coupon that represents giving none of these coupons; see `bare_of`."""
        bare = self.bare_of(domain, arms)
        if bare.coupon_id not in self._nothing:
            self._nothing[bare.coupon_id] = CouponSet([], self._default_price_minor, nothing=[bare])
        return self._nothing[bare.coupon_id]

    def beside_nothing(self, domain: str, bare: Coupon, position: int | None = None) -> CouponSet:
        """Return the coupons of a domain, or the one at a position, with a pseudo-coupon of `bare_of` behind them."""
        key = domain, bare.coupon_id, position
        if key not in self._beside:
            coupons = self.domains.get(domain)
            members = () if coupons is None else coupons.coupons if position is None else [coupons.coupons[position]]
            attributes = () if coupons is None else coupons.attributes
            self._beside[key] = CouponSet(members, self._default_price_minor, attributes, nothing=[bare])
        return self._beside[key]

    def bare_of(self, domain: str, arms: Iterable[str]) -> Coupon:
        """Return the pseudo-coupon that represents giving none of these coupons: it takes nothing off.

        It is for what all of them are for; for everything, if they differ in that or are not known.
        """
        known = (self.by_id.get(arm) for arm in arms)
        coupons = [coupon for coupon in known if coupon is not None and coupon.domain == domain]
        # By what the narrowest names, not by pairs of these: there may be 10,000 of each coupon.
        scopes = {frozenset(c.items) if c.items else (frozenset(c.categories), frozenset(c.brands)) for c in coupons}
        one = coupons[0] if len(scopes) == 1 else NOTHING
        if one.coupon_id not in self._bare:
            self._bare[one.coupon_id] = Coupon(
                coupon_id=one.coupon_id,
                categories=one.categories,
                brands=one.brands,
                items=one.items,
                discount_minor=0,
                max_discount_minor=1,
                typical_price_minor=one.typical_price_minor,
                redeem_within_s=one.redeem_within_s,
            )
        return self._bare[one.coupon_id]
