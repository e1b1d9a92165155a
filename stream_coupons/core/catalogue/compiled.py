"""The coupons of a domain, compiled to arrays, so that all of them are judged at once."""

from collections import defaultdict
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain, pairwise
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from stream_coupons.core.caps import Cap
from stream_coupons.core.catalogue.campaign_states import stop_of
from stream_coupons.core.catalogue.content_vectors import CODES, vector_codes
from stream_coupons.core.catalogue.coupon_terms import (
    ABSENT,
    may_overlap,
    price_of,
    prior_part,
    scope_features,
)
from stream_coupons.core.catalogue.discount import discount_of
from stream_coupons.core.catalogue.occasions import Occasions, has_occasions
from stream_coupons.core.messages.catalogue import Campaign, Coupon
from stream_coupons.core.money.accounts import Accounts, Limit
from stream_coupons.core.reasons import Ineligible
from stream_coupons.core.shopper.issue_counts import IssueCounts
from stream_coupons.core.vectors.sparse import feature_index
from stream_coupons.core.vectors.value_binning import LEVELS, value_hashes

Scores = NDArray[np.float64]
Columns = NDArray[np.intp]

BRAND_WEIGHT = 0.5
MAX_PADDING = 4
"""Rows are padded to one length unless that makes them this many times longer in all."""
MAX_IN_ORDER = 7
"""Columns of a row up to which numpy adds them one after the other, whichever axis they lie along."""


@dataclass(frozen=True, slots=True)
class ScopeColumns:
    """For each coupon, the columns of the vocabulary that its scope has in common with profiles."""

    columns: Columns
    """Rows are padded with column 0, which is always zero."""
    axis: int = -1
    """Axis along which the columns of a row lie. Short rows are added faster across rows, to the same sum."""
    starts: Columns | None = None
    """Start of each row if the rows lie end to end: padding them all to the longest would cost too much."""

    @classmethod
    def of(cls, rows: Sequence[Sequence[int]]) -> "ScopeColumns":
        """Return the columns of these rows in the layout that is summed fastest."""
        filled = [row or [0] for row in rows]
        sizes = [len(row) for row in filled]
        width = max([*sizes, 1])
        if len(rows) * width > MAX_PADDING * sum(sizes):
            return cls(np.array(list(chain.from_iterable(filled)), np.intp), starts=np.cumsum([0, *sizes[:-1]]))
        padded = np.array([[*row, *[0] * (width - len(row))] for row in filled], np.intp).reshape(len(rows), width)
        return cls(padded) if width > MAX_IN_ORDER else cls(np.ascontiguousarray(padded.T), -2)

    def at(self, positions: Columns, first: Columns) -> "ScopeColumns":
        """Return some of the rows, each for a vector of its own.

        Parameters
        ----------
        positions : array of int, shape (n,)
            Rows.
        first : array of int, shape (n,)
            Index at which the vector of each row begins in all vectors end to end.
        """
        if self.starts is None and self.axis == -2:
            return ScopeColumns(self.columns.take(positions, axis=1) + first, -2)
        if self.starts is None:
            return ScopeColumns(self.columns.take(positions, axis=0) + first[:, None])
        sizes = np.diff(self.starts, append=len(self.columns))[positions]
        starts = np.cumsum(sizes) - sizes
        place = np.arange(sizes.sum()) + np.repeat(self.starts[positions] - starts, sizes)
        return ScopeColumns(self.columns[place] + np.repeat(first, sizes), starts=starts)

    def score(self, vectors: Scores) -> Scores:
        """Return the sum of each vector over the columns of every row, shape (..., rows).

        Parameters
        ----------
        vectors : array, shape (..., columns)
            Values by column of the vocabulary; that of column 0 is 0.

        Examples
        --------
        >>> ScopeColumns.of([[1, 2], [], [2]]).score(np.array([0.0, 1.0, 3.0])).tolist()
        [4.0, 0.0, 3.0]
        """
        return _reduced(np.add, vectors.take(self.columns, axis=-1), self)


def _reduced(ufunc: np.ufunc, values: Scores, of: ScopeColumns) -> Scores:
    """Return the sums, or the greatest, of values that lie as the columns of some rows."""
    reduced: Scores
    if of.starts is not None:
        reduced = ufunc.reduceat(values, of.starts, axis=-1)
    else:
        reduced = ufunc.reduce(values, axis=of.axis)
    return reduced


class Scopes:
    """Scopes of coupons; `narrowest` has the features of the narrowest scope that each coupon lists."""

    def __init__(
        self, categories: ScopeColumns, brands: ScopeColumns, items: ScopeColumns, narrowest: ScopeColumns
    ) -> None:
        self.categories, self.brands, self.items, self.narrowest = self._each = categories, brands, items, narrowest
        self.sizes = [each.columns.size for each in self._each]
        self._parts: list[slice] = []
        """Places of the columns of each in `_joined`; none if some lie in another layout."""
        if all(each.axis == -2 for each in self._each):
            self._joined = np.concatenate([each.columns for each in self._each])
            bounds = accumulate([len(each.columns) for each in self._each], initial=0)
            self._parts = [slice(*pair) for pair in pairwise(bounds)]

    def sums(
        self, vectors: Scores, positions: Columns, first: Columns, summed: Sequence[slice], compared: slice
    ) -> list[Scores]:
        """Return sums of vectors over the scopes of some rows, each of shape (vectors, n).

        Parameters
        ----------
        vectors : array, shape (vectors, columns)
            Each those of all moments, end to end.
        positions, first : array of int, shape (n,)
            As of `ScopeColumns.at`.
        summed : sequence of slice
            The vectors whose sums are returned: over categories, brands, items, and the narrowest scope.
        compared : slice
            The vectors whose greatest values in the categories are returned behind the sums.
        """
        if self._parts:
            values = vectors.take(self._joined.take(positions, axis=1) + first, axis=1)
            each = [np.add.reduce(values[some, part], axis=1) for some, part in zip(summed, self._parts, strict=True)]
            return [*each, np.maximum.reduce(values[compared, self._parts[0]], axis=1)]
        scopes = [each.at(positions, first) for each in self._each]
        sums = [scope.score(vectors[some]) for some, scope in zip(summed, scopes, strict=True)]
        return [*sums, _reduced(np.maximum, vectors[compared].take(scopes[0].columns, axis=-1), scopes[0])]

    def content(self, vectors: Scores) -> Scores:
        """Return R(u, i) = sum_k w(i, k) f(u, k) of each vector and row; shapes as in `ScopeColumns.score`."""
        brands = BRAND_WEIGHT * self.brands.score(vectors)
        return self.categories.score(vectors) + brands + self.items.score(vectors)


Floats = NDArray[np.float64]
Hashes = NDArray[np.uint32]
Positions = NDArray[np.intp]
Derived = TypeVar("Derived")

MAX_ATTRIBUTES = 12
"""Attributes of a domain's coupons that are compiled, the first by name."""


class CouponSet:
    """The coupons of one domain in order of their ids, and what scoring needs of them as arrays.

    Attributes are read-only arrays of shape (coupons,), unless they say otherwise.

    Parameters
    ----------
    coupons : iterable of Coupon
        In any order.
    default_price_minor : float
        Typical price of a coupon that has none, minor units.
    attributes : tuple of str, optional
        Names of the attributes that are compiled; None: those of all coupons.
    accounts : Accounts, optional
        Accounts of the coupons and their campaigns; None: no coupon has a campaign.
    campaigns : mapping, optional
        Campaigns by id: each has a rule, caps and times for its coupons.
    groups : mapping, optional
        Exclusion group by the id of each coupon that has one, of all domains.
    approved : container of str, optional
        Ids of the campaigns that are approved; None where no approval is asked for.
    is_shadow : bool
        True if the coupons of staged campaigns are those to choose among, for the record only.

    Attributes
    ----------
    rules : list of tuple of str
        Eligibility rules of each coupon: its own, and that of its campaign.
    """

    def __init__(  # noqa: PLR0913 - all that coupons are compiled with
        self,
        coupons: Iterable[Coupon],
        default_price_minor: float,
        attributes: tuple[str, ...] | None = None,
        *,
        accounts: Accounts | None = None,
        campaigns: Mapping[str, Campaign] | None = None,
        groups: Mapping[str, str] | None = None,
        approved: Container[str] | None = None,
        is_shadow: bool = False,
    ) -> None:
        self.coupons: tuple[Coupon, ...] = tuple(sorted(coupons, key=lambda coupon: coupon.coupon_id))
        self._default_price_minor = default_price_minor
        self._alone: dict[int, CouponSet] = {}
        self._overlapping: dict[int, frozenset[int]] = {}
        self._derived: dict[Callable[[CouponSet], Any], Any] = {}
        self.position = {coupon.coupon_id: i for i, coupon in enumerate(self.coupons)}
        of_campaigns = {name: campaign.eligible_if for name, campaign in (campaigns or {}).items()}
        self.rules = [(c.eligible_if, of_campaigns.get(c.campaign_id or "", "")) for c in self.coupons]
        self.has_rules = any(map(any, self.rules))
        self._compile_caps(campaigns or {})
        self._compile_states(campaigns or {}, approved, is_shadow=is_shadow)
        self._groups = groups or {}
        self._index_coupons()
        self._compile_limits(accounts or Accounts(self.coupons))
        self._compile_prices()
        self._compile_scopes()
        self._compile_hashes(attributes)

    def _index_coupons(self) -> None:
        """Look up coupons by id, and those that a shopper's past may exclude."""
        self.positions_of: defaultdict[str, list[int]] = defaultdict(list)
        """By id, the positions of the coupon and of the pseudo-coupons that have its history."""
        self._of_first_item: defaultdict[str, list[int]] = defaultdict(list)
        self._of_group: defaultdict[str, list[int]] = defaultdict(list)
        for position, coupon in enumerate(self.coupons):
            self.positions_of[coupon.coupon_id].append(position)
            if coupon.items:
                self._of_first_item[coupon.items[0]].append(position)
            if coupon.exclusion_group:
                self._of_group[coupon.exclusion_group].append(position)
        priority = [coupon.priority for coupon in self.coupons]
        self.priority: Positions | None = np.array(priority, np.intp) if any(priority) else None
        """Priority of each coupon; None if all have the same."""
        self.kinds = {kind: number for number, kind in enumerate(sorted({c.kind for c in self.coupons} - {""}), 1)}
        self.kind: Positions = np.array([self.kinds.get(c.kind, 0) for c in self.coupons], np.intp)
        """Number of the coupon's kind in `kinds`; 0 if it has none."""

    def _compile_caps(self, campaigns: Mapping[str, Campaign]) -> None:
        """Look up caps, and the coupons of each campaign that has some; compile occasions."""
        has_some = any(map(has_occasions, self.coupons)) or any(map(has_occasions, campaigns.values()))
        self.occasions = Occasions(self.coupons, campaigns) if has_some else None
        """Weekdays, hours and channels; None if there are none."""
        members: defaultdict[str, list[int]] = defaultdict(list)
        self.caps: list[tuple[Sequence[Cap], Sequence[Cap]]] = []
        """Caps of each coupon, and of its campaign."""
        for position, coupon in enumerate(self.coupons):
            campaign = campaigns.get(coupon.campaign_id or "")
            self.caps.append((coupon.caps, campaign.caps if campaign is not None else ()))
            if campaign is not None and (campaign.caps or campaign.holdout_ratio):
                members[campaign.campaign_id].append(position)
        places = {name: np.array(each) for name, each in members.items()}
        self.capped_campaigns = {name: (caps, places[name]) for name in places if (caps := campaigns[name].caps)}
        """Caps of each campaign that has some, and the positions of its coupons."""
        self.holdouts = {name: (r, places[name]) for name in places if (r := campaigns[name].holdout_ratio)}
        """Holdout ratio of each campaign that has one, and the positions of its coupons."""
        zeros = [any(cap.n == 0 for cap in (*own, *shared)) for own, shared in self.caps]
        self._for_nobody = [position for position, is_zero in enumerate(zeros) if is_zero]

    def _compile_states(
        self, campaigns: Mapping[str, Campaign], approved: Container[str] | None, *, is_shadow: bool
    ) -> None:
        """Compile pauses, approvals and the states of campaigns."""
        of = [campaigns.get(coupon.campaign_id or "") for coupon in self.coupons]
        self.stops = [stop_of(coupon, of[at], approved) for at, coupon in enumerate(self.coupons)]
        """Reason why nobody gets each coupon for now; None if some do."""
        chosen = Ineligible.STAGED if is_shadow else None
        self.is_open = np.array([stop is chosen for stop in self.stops], dtype=bool)
        """True for coupons to choose among."""
        ramped: defaultdict[str, list[int]] = defaultdict(list)
        for position, campaign in enumerate(of):
            if campaign is not None and campaign.state == "ramp":
                ramped[campaign.campaign_id].append(position)
        self.ramps = [(campaigns[name], np.array(members)) for name, members in ramped.items()]
        """Campaigns that are ramped up, with the positions of their coupons."""

    def _compile_limits(self, accounts: Accounts) -> None:
        """Compile the times and the accounts of each coupon."""
        each = self.coupons
        self.valid_from = np.array([c.valid_from for c in each])
        self.valid_until = np.array([c.valid_until for c in each])
        self.redeem_within_s = np.array([c.redeem_within_s for c in each])
        self.accounts: list[tuple[Limit, ...]] = [accounts.of(c) for c in each]
        """Accounts that each coupon draws on: its stock, then those of money."""
        self.limited = [tuple(limit for limit in limits if limit.most is not None) for limits in self.accounts]
        """Accounts of each coupon that have a limit."""
        self.priced = [tuple(limit for limit in limits if limit.is_priced) for limits in self.limited]
        """Limited accounts of each coupon that have a price."""

    def _compile_prices(self) -> None:
        """Compile prices, discounts and margins, minor units."""
        each, default_minor = self.coupons, self._default_price_minor
        self.price_minor: Floats = np.array([price_of(c, default_minor) for c in each])
        self.price_log2 = np.log2(np.maximum(self.price_minor, 1.0))
        self.states_price = np.array([bool(c.typical_price_minor) for c in each], dtype=bool)
        """True if the catalogue states the coupon's typical price."""
        self.discounts = [discount_of(c) for c in each]
        """The discount of each coupon."""
        self.any_minimum = any(one.min_spend_minor or one.min_pieces > 1 for one in self.discounts)
        self.discount_minor = np.array(
            [one.at(price_of(c, default_minor)) for one, c in zip(self.discounts, each, strict=True)]
        )
        self.margin_ratio: Floats = np.array([c.margin_ratio for c in each])
        self.margin_minor = self.price_minor * self.margin_ratio
        self._percent = np.array([one.percent for one in self.discounts])
        self._fixed_minor = np.array([one.fixed_minor for one in self.discounts])
        self.most_minor: Floats = np.array([one.most_minor for one in self.discounts], np.float64)
        """The most that one redemption of each coupon takes off."""
        self._is_off_order = np.array([one.is_off_order for one in self.discounts], dtype=bool)

    def _compile_scopes(self) -> None:
        """Compile the vocabulary of all scopes, and the scope of each coupon as columns of it."""
        each = self.coupons
        self.vocabulary: dict[int, int] = {}
        """Column of each feature, from 1 on: column 0 is of features that no scope has."""
        self.scopes = Scopes(
            self._columns_of([[f"category:{name}" for name in c.categories] for c in each]),
            self._columns_of([[f"brand:{name}" for name in c.brands] for c in each]),
            self._columns_of([[f"item:{name}" for name in c.items] for c in each]),
            self._columns_of([scope_features(c) for c in each]),
        )
        self.columns = len(self.vocabulary) + 1
        """Number of columns of a dense vector over the vocabulary."""
        self.width = max(self.columns, *self.scopes.sizes)
        """The length of the longest array of one moment: of features, columns of scopes, or coupons."""
        self.category_columns = {
            name: self.vocabulary[feature_index(f"category:{name}")] for c in each for name in c.categories
        }
        """Column of each category that a coupon is for."""
        self.category_price_log2: Floats = self._category_prices()
        """Mean logarithm of the typical prices of each category's coupons, by column; 0 where there is none."""
        self.first_category: Positions = np.array(
            [self.category_columns[c.categories[0]] if c.categories else 0 for c in each], np.intp
        )
        """Column of the first category; 0 if there is none."""
        self.names_category = np.array([bool(c.categories) for c in each], dtype=bool)
        self.names_finer = np.array([bool(c.items or c.brands) for c in each], dtype=bool)
        self.names_part = self.names_category & self.names_finer
        """True of coupons for some brands or items of their categories."""
        self.is_for_all = ~(self.names_category | self.names_finer)
        """True of coupons for the whole shop."""
        self.any_for_all = bool(self.is_for_all.any())
        self.has_items = np.array([bool(c.items) for c in each], dtype=bool)
        self.any_items = bool(self.has_items.any())
        self.prior_part: Floats = np.array([prior_part(c) for c in each])
        """Prior share of the coupon's scope in the demand for its categories."""
        # Never empty: features that are not in the vocabulary are looked up, too.
        known = np.array(sorted(self.vocabulary.items()) or [(0, 0)])
        self._sorted_indices: Hashes = known[:, 0].astype(np.uint32)
        self._sorted_columns: Positions = np.array([*known[:, 1].tolist(), 0], np.intp)

    def _compile_hashes(self, attributes: tuple[str, ...] | None) -> None:
        """Compile the hashes of attributes and vectors."""
        each = self.coupons
        self.gives_nothing = [not coupon.coupon_id for coupon in each]
        """True for the pseudo-coupon of the no-coupon arm: only its scope is hashed."""
        named = sorted({name for c in each for name in c.attributes}) if attributes is None else attributes
        self.attributes = tuple(named)[:MAX_ATTRIBUTES]
        """Names of the attributes that are compiled; a coupon that lacks one has the hash of null."""
        self.attribute_hashes: Hashes = np.array(
            [[value_hashes(name, c.attributes.get(name)) for name in self.attributes] for c in each], dtype=np.uint32
        ).reshape(len(each), len(self.attributes), LEVELS)
        """Hashes of each attribute, from coarse to fine, shape (coupons, attributes, LEVELS)."""
        self.has_vectors = any(c.vector is not None for c in each)
        """True if any coupon has a vector."""
        codes = CODES if self.has_vectors else 0
        self.vector_hashes: Hashes = np.array(
            [vector_codes(c.vector) if c.vector is not None else [ABSENT] * codes for c in each], dtype=np.uint32
        ).reshape(len(each), codes)
        """Hashes of the codes of each vector, shape (coupons, CODES); (coupons, 0) if no coupon has a vector."""

    def alone(self, position: int) -> "CouponSet":
        """Return the set of this one coupon, so that its features cost no more than they must."""
        found = self._alone.get(position)
        if found is None:
            found = self._alone[position] = CouponSet(
                [self.coupons[position]], self._default_price_minor, self.attributes
            )
        return found

    def once(self, function: Callable[["CouponSet"], Derived]) -> Derived:
        """Return the value of a function of this set, computed on its first call.

        >>> coupons = CouponSet([Coupon(coupon_id="c", max_discount_minor=1)], 1000.0)
        >>> coupons.once(len)
        1
        """
        if function not in self._derived:
            self._derived[function] = function(self)
        found: Derived = self._derived[function]
        return found

    def __len__(self) -> int:
        return len(self.coupons)

    def in_question(self, given: IssueCounts, ordered: Iterable[str]) -> set[int]:
        """Return the coupons that a shopper's past may exclude.

        Its caps exclude a coupon that was given, or one with a cap of zero; those of campaigns are apart. A shopper
        who ordered all items of a coupon ordered the first.

        Parameters
        ----------
        given : IssueCounts
            Coupons that the shopper was given.
        ordered : iterable of str
            Ids of the items that the shopper ordered.

        Returns
        -------
        set of int
            Positions; a superset of the coupons that are excluded.
        """
        found = {position for one in given.coupons if (position := self.position.get(one)) is not None}
        return found.union(self._for_nobody, *(self._of_first_item.get(item_id, ()) for item_id in ordered))

    def overlapping(self, position: int) -> frozenset[int]:
        """Return the positions of the coupons whose scope may overlap with that of one, its own among them."""
        found = self._overlapping.get(position)
        if found is None:
            one = self.coupons[position]
            found = frozenset(other for other, coupon in enumerate(self.coupons) if may_overlap(coupon, one))
            self._overlapping[position] = found
        return found

    def excluded_by(self, held: str) -> list[int]:
        """Return the positions of the coupons that are not given to a shopper who holds this one.

        Parameters
        ----------
        held : str
            Id of the coupon that is held; one that is unknown excludes none.
        """
        position = self.position.get(held)
        if position is None:
            return []
        terms = ((other, self.coupons[other].not_while_held) for other in self.overlapping(position))
        return [other for other, term in terms if term == "overlapping" or (term == "same" and other == position)]

    def of_group(self, held: str) -> Sequence[int]:
        """Return the positions of the coupons in the exclusion group of one that is held, of any domain."""
        group = self._groups.get(held)
        return () if group is None else self._of_group.get(group, ())

    def _category_prices(self) -> Floats:
        of_column: defaultdict[int, list[float]] = defaultdict(list)
        for coupon, price_log2 in zip(self.coupons, self.price_log2.tolist(), strict=True):
            for name in coupon.categories:
                of_column[self.category_columns[name]].append(price_log2)
        prices = np.zeros(self.columns)
        for column, each in of_column.items():
            prices[column] = sum(each) / len(each)
        return prices

    def discounts_minor(self, positions: Positions, values_minor: Floats) -> Floats:
        """Return the discounts of coupons on orders.

        Parameters
        ----------
        positions : array of int, shape (n,)
            One coupon for each order.
        values_minor : array of float, shape (n,)
            Values of the orders in the coupons' scopes, minor units.

        Returns
        -------
        array of float, shape (n,)
            Minor units; at most the coupon's maximum and, if it is taken off the order, the order's value.
        """
        asked = values_minor * self._percent[positions] / 100.0 + self._fixed_minor[positions]
        taken: Floats = np.minimum(asked, self.most_minor[positions])
        np.minimum(taken, values_minor, out=taken, where=self._is_off_order[positions])
        return taken

    def _columns_of(self, rows: list[list[str]]) -> ScopeColumns:
        """Return the columns of rows of feature names; a new name gets the next column."""
        indices = [[feature_index(name) for name in row] for row in rows]
        return ScopeColumns.of(
            [[self.vocabulary.setdefault(index, len(self.vocabulary) + 1) for index in row] for row in indices]
        )

    def fill(self, dense: Floats, sparse: Sequence[tuple[Hashes, Floats]]) -> None:
        """Set dense vectors over the vocabulary to sparse ones; features that are not in the vocabulary are left out.

        Parameters
        ----------
        dense : array, shape (..., columns)
            Zeros, contiguous.
        sparse : sequence of (indices, weights)
            As many.
        """
        indices = np.concatenate([each for each, _ in sparse])
        first = np.arange(0, dense.size, self.columns).repeat([len(each) for each, _ in sparse])
        place = self._sorted_indices.searchsorted(indices)
        column = np.where(self._sorted_indices.take(place, mode="clip") == indices, self._sorted_columns[place], 0)
        dense.reshape(-1)[first + column] = np.concatenate([weights for _, weights in sparse])
        dense[..., 0] = 0.0
