"""Rows of features of a (shopper, coupon, moment): bounded numbers and hashed categories.

Numeric features are those of `numeric`. Categorical features and crosses (`categories`) are hashed into `DIMENSIONS`
indices by a mix of 32-bit hashes, without a vocabulary (Weinberger et al. 2009: Feature hashing for large scale
multitask learning).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import NamedTuple
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from stream_coupons.core.catalogue.compiled import MAX_ATTRIBUTES, CouponSet, Floats, Positions
from stream_coupons.core.catalogue.content_vectors import BITS, CODES
from stream_coupons.core.catalogue.coupon_terms import ABSENT, MOST_DEPTH_RATIO, PRIOR_DEPTH_RATIO
from stream_coupons.core.features.affinity import Interests, Moment, RowBatch, look
from stream_coupons.core.features.categories import (
    COUPON_CATEGORIES,
    CROSSES,
    MOMENT_CATEGORIES,
    coupon_hashes,
)
from stream_coupons.core.features.numeric import NUMERIC, numbers_of
from stream_coupons.core.features.shopper_features import MOST_ABOVE, RECENCY_SCALE
from stream_coupons.core.rules import ProfileRules
from stream_coupons.core.shopper.habits import HOURS, WEEKDAYS, WEEKEND
from stream_coupons.core.shopper.profile import Profile
from stream_coupons.core.shopper.state import EXPOSURE_HALF_LIFE_S, WEEKLY_EXPOSURE_HALF_LIFE_S
from stream_coupons.core.vectors.sparse import feature_index, name_index
from stream_coupons.core.vectors.value_binning import LEVELS, TILES, Value, value_hashes

Indices = NDArray[np.uint32]

DIMENSIONS = 2**16
FIRST_OF_TERMS = DIMENSIONS // 2
"""First index of the features of the coupon itself: its id, kind, depth, attributes and vector, and all their crosses.
Below are the features of its scope, the shopper and the moment: those that a shopper without a coupon has, too."""
GROUPS = 1024
"""Number of groups. A hashed feature is `index + DIMENSIONS * group`; a group has the features of one name, whatever
their values, so that a model may learn a variance for each name."""
MAX_CONTEXT = 32
"""Keys of a context that are hashed, the first by name."""
MOST_PAIRED = 8
"""Keys of a context that are crossed with each other, the first by name."""

OF_EVERY_COUPON = tuple(each.name for each in COUPON_CATEGORIES)
OF_MOMENT = tuple(each.name for each in MOMENT_CATEGORIES)
HASHED = (*OF_EVERY_COUPON, *OF_MOMENT, *(each.name for each in CROSSES))
"""The first hashed columns. Then follow those of every attribute of the coupon, of its vector if any coupon of the set
has one, and of every key of the context; see `hashed_names`."""

CROSSED_WITH_VECTOR = ("shopper",)
CROSSED_WITH_CONTEXT = ("coupon", "kind", "category", "depth")
_OF_TERMS = {each.name for each in COUPON_CATEGORIES if each.is_of_terms}
_ALONE_OF_TERMS = [name in _OF_TERMS for name in (*OF_EVERY_COUPON, *OF_MOMENT)]
_CROSSES_OF_TERMS = [not _OF_TERMS.isdisjoint((each.one, each.other)) for each in CROSSES]
_CONTEXT_OF_TERMS = [False] * LEVELS + [name in _OF_TERMS for name in CROSSED_WITH_CONTEXT]


def _groups(names: Iterable[str]) -> Indices:
    """Return the group of each name, not yet modulo `GROUPS`."""
    return np.array([feature_index(name) for name in names], np.uint32)


Part = tuple[Indices, Indices, Sequence[bool] | NDArray[np.bool_], Indices]
"""Some columns: two hashes each, as arrays (n, columns); True for columns of the coupon itself; and their groups."""
MOST_REDEEMED = 5
"""Coupons redeemed from which on shoppers are alike."""
HOURS_OF_BLOCK = 4
_ONE, _FACTOR = np.uint32(1), np.uint32(0x9E3779B1)
PLACES = np.uint32(DIMENSIONS - 1)
"""Mask of the index of a hashed feature, without its group."""
OF_SECOND = 0x9E3779B1
"""Factor of the second key of a pair, so that its group differs from that of the reversed pair."""

_ALONE_GROUPS = _groups((*OF_EVERY_COUPON, *OF_MOMENT))
_CROSSES_GROUPS = _groups(each.name for each in CROSSES)
_VECTOR_GROUPS = _groups(("vector", *(f"{name}*vector" for name in CROSSED_WITH_VECTOR)))
MAX_PLACES = (
    len(HASHED)
    + MAX_ATTRIBUTES * (LEVELS + 1)
    + CODES * (1 + len(CROSSED_WITH_VECTOR))
    + MAX_CONTEXT * (LEVELS + len(CROSSED_WITH_CONTEXT) + MAX_ATTRIBUTES)
    + MOST_PAIRED * (MOST_PAIRED - 1) // 2
)
"""Largest number of hashed columns."""
_CONSTANTS = (
    CROSSED_WITH_CONTEXT,
    MOST_PAIRED,
    DIMENSIONS,
    FIRST_OF_TERMS,
    GROUPS,
    LEVELS,
    CROSSED_WITH_VECTOR,
    CODES,
    BITS,
    PRIOR_DEPTH_RATIO,
    MOST_DEPTH_RATIO,
    RECENCY_SCALE,
    MOST_ABOVE,
    TILES,
    EXPOSURE_HALF_LIFE_S,
    WEEKLY_EXPOSURE_HALF_LIFE_S,
)


def schema_of(numeric: Iterable[str], hashed: Iterable[str]) -> str:
    """Return the name of the feature space with these features and this program's constants.

    Parameters
    ----------
    numeric, hashed : iterable of str
        Names of the numeric features and of the first hashed columns, in order.
    """
    space = (tuple(numeric), tuple(hashed), *_CONSTANTS)
    return blake2b(repr(space).encode(), digest_size=8).hexdigest()


SCHEMA = schema_of(NUMERIC, HASHED)
"""Name of this feature space. A model of another one is carried over by the names of its features, or refused."""


def hashed_names(
    attributes: Mapping[str, Value] = {}, context: Mapping[str, Value] = {}, *, has_vectors: bool = False
) -> tuple[str, ...]:
    """Return the names of the hashed columns of a row.

    Parameters
    ----------
    attributes : mapping
        Values by name, of all attributes that are compiled for the coupon's set.
    context : mapping
        Values by key.
    has_vectors : bool
        True if any coupon of the set has a vector.

    Examples
    --------
    >>> hashed_names({}, {"city": "Bonn"})[-2:]
    ('city=Bonn*category', 'city=Bonn*depth')
    """
    if not attributes and not context and not has_vectors:
        return HASHED
    names = list(HASHED)
    of_coupon = [f"{name}={value}" for name, value in attributes.items()]
    for attribute in of_coupon:
        names += [attribute] * LEVELS + [f"shopper*{attribute}"]
    if has_vectors:
        for name in ("vector", *(f"{other}*vector" for other in CROSSED_WITH_VECTOR)):
            names += [name] * CODES
    of_context = [f"{name}={value}" for name, value in sorted(context.items())[:MAX_CONTEXT]]
    for index, one in enumerate(of_context):
        before = of_context[:index] if index < MOST_PAIRED else ()
        names += [one] * LEVELS + [f"{one}*{other}" for other in (*CROSSED_WITH_CONTEXT, *of_coupon, *before)]
    return tuple(names)


@dataclass(frozen=True, slots=True)
class Subject:
    """The shopper and the coupons of some rows. Models do not read it; rankings and a simulation's ground truth do."""

    user_id: str
    coupons: CouponSet
    positions: Positions
    at: float


@dataclass(frozen=True, slots=True)
class FeatureRows:
    """Features of some candidates: `numeric` (n, len(NUMERIC)) and `hashed` (n, len(HASHED) or more).

    Hashed features are indices with their groups; 0 is an absent feature. `subjects` are those of the rows, in order.
    """

    numeric: Floats
    hashed: Indices
    subjects: tuple[Subject, ...] = ()

    def __len__(self) -> int:
        return len(self.numeric)


def _mix(halves: Indices, others: Indices | np.uint32) -> Indices:
    """Return the index of each pair of hashes within its range, the first times `_FACTOR`."""
    mixed: Indices = halves ^ others
    mixed ^= mixed >> np.uint32(15)
    mixed *= np.uint32(0x85EBCA6B)
    mixed ^= mixed >> np.uint32(13)
    mixed %= np.uint32(FIRST_OF_TERMS - 1)
    return mixed


def _offsets(of_terms: Sequence[bool] | NDArray[np.bool_], groups: Indices) -> Indices:
    """Return the start of each column's range: `FIRST_OF_TERMS` if it is of terms, in the range of its group."""
    first = np.where(of_terms, np.uint32(FIRST_OF_TERMS), np.uint32(1))
    offsets: Indices = first + groups % np.uint32(GROUPS) * np.uint32(DIMENSIONS)
    return offsets


def _hashed(part: Part) -> Indices:
    """Return the hashed features of a part; 0 where one of the two hashes is absent."""
    one, other, of_terms, groups = part
    hashed: Indices = (_mix(one * _FACTOR, other) + _offsets(of_terms, groups)) * ((one != ABSENT) & (other != ABSENT))
    return hashed


def extract(
    moments: Sequence[Moment],
    coupons: CouponSet,
    chosen: Sequence[Positions],
    rules: ProfileRules,
    rows: RowBatch | None = None,
) -> FeatureRows:
    """Return the features of each moment's shopper with each of the coupons chosen for it.

    A row does not depend on the rows beside it, to the last bit: decisions do not depend on batches.

    Parameters
    ----------
    moments : sequence of Moment
        At least one.
    coupons : CouponSet
        Coupons of one domain.
    chosen : sequence of arrays of int
        For each moment, positions in `coupons`.
    rules : ProfileRules
        Half-lives.
    rows : RowBatch, optional
        These rows, if they are looked at already.

    Returns
    -------
    FeatureRows
        A row for each position chosen; numbers are rounded to four decimals, so that a stored row is the scored one.
    """
    rows = rows or look(Interests.of(moments, coupons, rules), chosen)
    return FeatureRows(numbers_of(rows).round(4), _hashes(moments, rows), _subjects(moments, coupons, chosen))


def blank(moments: Sequence[Moment], coupons: CouponSet, chosen: Sequence[Positions]) -> FeatureRows:
    """Return rows of zeros with their subjects, for scorers that read no features; parameters as of `extract`."""
    count = sum(map(len, chosen))
    numeric, hashed = np.zeros((count, len(NUMERIC))), np.zeros((count, len(HASHED)), np.uint32)
    return FeatureRows(numeric, hashed, _subjects(moments, coupons, chosen))


def _subjects(moments: Sequence[Moment], coupons: CouponSet, chosen: Sequence[Positions]) -> tuple[Subject, ...]:
    return tuple(
        Subject(moment.user_id, coupons, positions, moment.at)
        for moment, positions in zip(moments, chosen, strict=True)
    )


class _CouponHashes(NamedTuple):
    """Hashed columns of the coupons of a set, as far as they do not depend on the moment; 0 is absent.

    Attributes
    ----------
    alone : array, shape (coupons, a)
        Columns of the coupon alone: its categories, then the values of its attributes and its vector.
    halves, is_there : array, shape (coupons, b)
        Columns that are crossed with the moment: the coupon's hash times `_FACTOR`; 1 unless it is absent.
    crossed : array of int, shape (b,)
        The category of the moment that each of them is crossed with.
    offsets : array, shape (b,)
        See `_offsets`.
    order : array of int or None
        Place of each column among those of `alone`, of the moment, and the crossed ones; None if in this order already.
    of_context : array, shape (coupons, c)
        Hashes that are crossed with the keys of a context.
    """

    alone: Indices
    halves: Indices
    is_there: Indices
    crossed: Positions
    offsets: Indices
    order: Positions
    of_context: Indices

    @classmethod
    def of(cls, coupons: CouponSet) -> "_CouponHashes":
        """Return the columns of a set."""
        categories, values, codes = coupon_hashes(coupons), coupons.attribute_hashes, coupons.vector_hashes
        n, slots, c = len(coupons), len(coupons.attributes), codes.shape[1]
        one = np.concatenate((categories, values.reshape(n, -1), codes), axis=1)
        of_attributes = _attribute_groups(coupons).reshape(slots, LEVELS + 1)
        own = len(OF_EVERY_COUPON)
        alone = (
            one,
            np.ones_like(one),
            [*_ALONE_OF_TERMS[:own], *[True] * (one.shape[1] - own)],
            np.concatenate((_ALONE_GROUPS[:own], of_attributes[:, :LEVELS].ravel(), _VECTOR_GROUPS[:1].repeat(c))),
        )
        with_moment = [OF_EVERY_COUPON.index(each.other) for each in CROSSES]
        crossed = np.concatenate((categories[:, with_moment], values[:, :, 0], codes), axis=1)
        shopper = OF_MOMENT.index("shopper")
        of_context = [OF_EVERY_COUPON.index(name) for name in CROSSED_WITH_CONTEXT]
        return cls(
            _hashed(alone),
            crossed * _FACTOR,
            (crossed != ABSENT).astype(np.uint32),
            np.array([*(OF_MOMENT.index(each.one) for each in CROSSES), *[shopper] * (slots + c)], np.intp),
            _offsets(
                [*_CROSSES_OF_TERMS, *[True] * (slots + c)],
                np.concatenate((_CROSSES_GROUPS, of_attributes[:, LEVELS], _VECTOR_GROUPS[1:].repeat(c))),
            ),
            _order(slots, c),
            np.concatenate((categories[:, of_context], values[:, :, 0]), axis=1),
        )


def _order(slots: int, codes: int) -> Positions:
    """Return the place of each column of `hashed_names` among those of coupons alone, of moments, and the crossed ones.

    Parameters
    ----------
    slots, codes : int
        Number of attributes, and of codes of a vector.
    """
    own, moment, crosses = len(OF_EVERY_COUPON), len(OF_MOMENT), len(CROSSES)
    first_of_moment = own + slots * LEVELS + codes
    first_crossed = first_of_moment + moment
    values = np.arange(slots * LEVELS).reshape(slots, LEVELS) + own
    each = np.concatenate((values, first_crossed + crosses + np.arange(slots)[:, None]), axis=1)
    return np.concatenate(
        (
            np.arange(own),
            np.arange(first_of_moment, first_crossed + crosses),
            each.ravel(),
            np.arange(first_of_moment - codes, first_of_moment),
            np.arange(codes) + first_crossed + crosses + slots,
        )
    )


def favourite(profile: Profile) -> str:
    """Return the category of greatest weight; empty when none is known.

    Examples
    --------
    >>> favourite(Profile(categories={"tea": 1.0, "milk": 2.0}))
    'milk'
    """
    categories = profile.categories
    return max(categories, key=lambda name: (categories[name], name), default="")


def _moment_hashes(moment: Moment) -> list[int]:
    """Return the hashes of the shopper and the moment, in the order of `MOMENT_CATEGORIES`.

    A block of hours needs few examples and is crossed; the clock, one hour, is for peaks. Both are UTC.
    """
    hour, weekday = int(moment.at // 3600.0 % HOURS), int(moment.at // 86400.0 % WEEKDAYS)
    profile, redeemed = moment.shopper.profile, moment.shopper.history.redeemed
    return [
        crc32(text.encode())  # `name_index`
        for text in (
            f"shopper={moment.user_id}",
            f"hour={hour // HOURS_OF_BLOCK}",
            f"weekday={weekday}",
            f"taste={favourite(profile)}",
            f"redeemer={min(int(redeemed), MOST_REDEEMED)}",
            f"clock={hour}",
            f"weekend={weekday in WEEKEND}",
        )
    ]


_MOMENT_OFFSETS = _offsets(_ALONE_OF_TERMS[len(OF_EVERY_COUPON) :], _ALONE_GROUPS[len(OF_EVERY_COUPON) :])


def _hashes(moments: Sequence[Moment], rows: RowBatch) -> Indices:
    """Return the hashed features, in the order of `hashed_names`; 0 where a moment has fewer keys than others."""
    coupons, owner, position = rows.coupons, rows.owner, rows.position
    known = coupons.once(_CouponHashes.of)
    of_moments = [_moment_hashes(each) for each in moments]
    hashes = np.array(of_moments, np.uint32)
    others = hashes.take(known.crossed, axis=1)
    if len(moments) > 1:
        others = others.take(owner, axis=0)
    alone = _mix(hashes * _FACTOR, _ONE) + _MOMENT_OFFSETS
    crossed = _mix(known.halves.take(position, axis=0), others)
    crossed += known.offsets
    crossed *= known.is_there.take(position, axis=0)
    if any(ABSENT in each for each in of_moments):
        alone *= hashes != ABSENT
        crossed *= others != ABSENT
    hashed = np.concatenate((known.alone.take(position, axis=0), alone.take(owner, axis=0), crossed), axis=1)
    if hashed.shape[1] > len(HASHED):
        hashed = hashed.take(known.order, axis=1)
    if any(each.context for each in moments):
        context, keys = (array.take(owner, axis=0) for array in _context_hashes(moments))
        of_keys = _of_context(context, keys, known.of_context.take(position, axis=0), coupons.once(_groups_of_context))
        hashed = np.concatenate((hashed, _hashed(of_keys)), axis=1)
    return hashed


def _attribute_groups(coupons: CouponSet) -> Indices:
    """Return the groups of the columns of all attributes."""
    return _groups(name for each in coupons.attributes for name in (*[f"{each}="] * LEVELS, f"shopper*{each}="))


def _groups_of_context(coupons: CouponSet) -> Indices:
    """Return the groups of what each key of a context is crossed with."""
    return _groups((*CROSSED_WITH_CONTEXT, *coupons.attributes))


def _of_context(context: Indices, keys: Indices, crossed: Indices, groups: Indices) -> Part:
    """Return the columns of every key: its value, its crosses with all of `crossed` (n, m), and with earlier keys.

    The columns of one key lie together, so that those of a moment with fewer keys are the first ones.
    """
    n, slots, _ = context.shape
    m = crossed.shape[1]
    one, other = _with_crosses(context, crossed)
    of_terms = _CONTEXT_OF_TERMS + [True] * (m - len(CROSSED_WITH_CONTEXT))
    alone = np.concatenate((np.zeros(LEVELS, np.uint32), groups))
    second, first = np.tril_indices(min(slots, MOST_PAIRED), -1)
    order = np.argsort(np.concatenate((np.repeat(np.arange(slots), LEVELS + m), second)), kind="stable")
    of_pairs = keys[:, second] * np.uint32(OF_SECOND) ^ keys[:, first]
    return (
        np.concatenate((one, context[:, second, 0]), axis=1)[:, order],
        np.concatenate((other, context[:, first, 0]), axis=1)[:, order],
        np.array(of_terms * slots + [False] * len(second))[order],
        np.concatenate(((keys[:, :, None] ^ alone).reshape(n, -1), of_pairs), axis=1)[:, order],
    )


def _with_crosses(values: Indices, crossed: Indices) -> tuple[Indices, Indices]:
    """Return for every slot of values (n, slots, LEVELS) each level alone, then the coarsest with `crossed` (n, m)."""
    n, slots, _ = values.shape
    m = crossed.shape[1]
    one = np.concatenate((values, np.repeat(values[:, :, :1], m, axis=2)), axis=2)
    other = np.concatenate((np.ones_like(values), np.broadcast_to(crossed[:, None, :], (n, slots, m))), axis=2)
    return one.reshape(n, slots * (LEVELS + m)), other.reshape(n, slots * (LEVELS + m))


def _context_hashes(moments: Sequence[Moment]) -> tuple[Indices, Indices]:
    """Return hashes of every key's value, shape (moments, most keys, LEVELS), and of the keys, ordered by name."""
    each = [sorted(moment.context.items())[:MAX_CONTEXT] for moment in moments]
    most = max(map(len, each))
    hashes = np.full((len(each), most, LEVELS), ABSENT, np.uint32)
    keys = np.zeros((len(each), most), np.uint32)
    for row, values in enumerate(each):
        if values:
            hashes[row, : len(values)] = [value_hashes(name, value) for name, value in values]
            keys[row, : len(values)] = [name_index(f"{name}:") for name, _ in values]
    return hashes, keys
