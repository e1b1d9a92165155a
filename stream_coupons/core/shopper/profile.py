"""A shopper's behaviour, folded one event at a time.

Weights decay with age. They are kept by forward decay: an event at t adds base * 2^((t - L) / half_life) for a fixed
landmark L, and a reader at time `at` multiplies by 2^((L - at) / half_life). So folding is a sum, costs the same
however much is remembered, and commutes: events of different topics may arrive in any order. (Cormode, Shkapenyuk,
Srivastava, Xu 2009: Forward decay, section IV.) Landmarks are multiples of LANDMARK_HALF_LIVES half-lives; when time
passes one, the weights are rescaled, so they stay within a double's range. A profile stores the half-life of its
weights: when another one is set, they keep their values as of its latest event, and fade by the new one from then on.
Commuting ends where a bound makes the profile forget: the weakest interests, the oldest event ids.
"""

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import chain

import numpy as np
from msgspec import Struct, field
from numpy.typing import NDArray

from stream_coupons.core.draws import DIGEST_BYTES, stable_digest
from stream_coupons.core.messages.inputs import BrowseEvent, CartEvent, Item, OrderEvent
from stream_coupons.core.rules import ProfileRules
from stream_coupons.core.shopper.baskets import NO_ORDERS, Baskets
from stream_coupons.core.shopper.habits import (
    MAX_CATEGORIES,
    Categories,
    Counts,
    Habits,
    admit,
    count_ordered,
    habit_fading,
    note_cart,
    note_orders,
    note_time,
    unpack_habits,
)
from stream_coupons.core.shopper.imputation import LastLabel, Series, fill_labels, fill_price, remember_context
from stream_coupons.core.vectors.sparse import SparseVector, interest_indices, price_index, top

LANDMARK_HALF_LIVES = 256
MAX_RECENT_ORDERS = 64
MAX_PRICE_WEIGHT = 60.0
"""Largest weight of all prices in a category: above it, old prices fade as new ones come."""
DAYS_KEPT = 64
HOUR_S = 3600.0
DAY_S = 86400.0


class PriceLevel(Struct, array_like=True):
    """Weighted mean of the prices that a shopper looked at in a category."""

    weight: float = 0.0
    total: float = 0.0
    """Weighted sum of the logarithms (base 2) of prices in minor units."""


class Profile(Struct, array_like=True):
    """A shopper's behaviour, bounded in size. Mutable; owned by one step at a time.

    Weights and counts are in the units of `landmark` and `half_life_s`; read them with `decay`.
    """

    landmark: float = 0.0
    category_interests: SparseVector = field(default_factory=dict)
    finer_interests: SparseVector = field(default_factory=dict)
    """Interests in items, brands, brands within categories, and bands of price. They have a bound of their own: there
    are so many that they would crowd out the categories, which shoppers have in common."""
    categories: dict[str, float] = field(default_factory=dict)
    browses: float = 0.0
    carts: float = 0.0
    orders: float = 0.0
    spend_minor: float = 0.0
    units: float = 0.0
    last_event_at: float = 0.0
    last_order_at: float | None = None
    prices: list[float] = field(default_factory=list)
    seen: bytes = b""
    """Digests of the latest events, end to end."""
    ordered_at: dict[str, float] = field(default_factory=dict)
    habits: Habits = (b"", b"", b"")
    habits_at: float = 0.0
    """Time of the latest order, at which habits are valued."""
    usual_orders: float = 0.0
    usual_discounted: float = 0.0
    """Orders, and those with a discount among them, faded like habits."""
    price_times: list[float] = field(default_factory=list)
    """UTC epoch seconds of each of `prices`, ascending."""
    last_labels: dict[str, LastLabel] = field(default_factory=dict)
    contexts: dict[str, Series] = field(default_factory=dict)
    """By key, of the keys that are imputed."""
    category_days: dict[int, int] = field(default_factory=dict)
    """By category, the days on which the shopper cared for it among the last `DAYS_KEPT`, as bits: 1 is the day
    `days_until`, 2 the one before."""
    days_until: int = 0
    half_life_s: float = 0.0
    """Half-life of the weights; 0 before the first event."""
    rhythm: Counts = field(default_factory=list)
    in_category: Categories = field(default_factory=dict)
    price_levels: dict[str, PriceLevel] = field(default_factory=dict)
    """By category, of those in `categories`."""
    baskets: Baskets | None = None
    """Values of orders, faded like habits; None before the first."""

    @property
    def interests(self) -> SparseVector:
        """All interests, as a new vector."""
        return self.category_interests | self.finer_interests


def is_duplicate(profile: Profile, kind: str, event_id: str, rules: ProfileRules) -> bool:
    """Return True if this event was folded before; remember it if not.

    Parameters
    ----------
    profile : Profile
        Changed in place.
    kind : str
        Kind of the event. Ids are told apart by kind: a shop may give an order and the report of its redemption the
        same id, and no purchase may be lost for that.
    event_id : str
        Id from the producer.
    rules : ProfileRules
        `max_seen_events` is the number of events that are remembered.
    """
    digest = stable_digest(kind, event_id)
    if digest in profile.seen and place_of(profile.seen, digest) >= 0:
        return True
    profile.seen = (profile.seen + digest)[-rules.max_seen_events * DIGEST_BYTES :]
    return False


def forget_event(profile: Profile, kind: str, event_id: str) -> None:
    """Forget an event that was refused after all: if sent again, it must count. Parameters as of `is_duplicate`."""
    place = place_of(profile.seen, stable_digest(kind, event_id))
    if place >= 0:
        profile.seen = profile.seen[:place] + profile.seen[place + DIGEST_BYTES :]


def place_of(digests: bytes, digest: bytes) -> int:
    """Return the index at which a digest begins in digests end to end; -1 if it is not among them.

    Parameters
    ----------
    digests, digest : bytes
        Digests of `DIGEST_BYTES` bytes end to end, and one of them.

    Examples
    --------
    >>> place_of(b"11111111" + b"22222222", b"22222222"), place_of(b"11111112" + b"22222221", b"22222222")
    (8, -1)
    """
    place = digests.find(digest)
    while place % DIGEST_BYTES and place >= 0:  # it lies across two others
        place = digests.find(digest, place + 1)
    return place


def decay(profile: Profile, at: float, rules: ProfileRules) -> float:
    """Return the factor from the profile's weights to their values at a time.

    Parameters
    ----------
    profile : Profile
        Its weights are in units of its landmark and half-life.
    at : float
        UTC epoch seconds; a time before the latest event counts as that of the event.
    rules : ProfileRules
        Its half-life counts from the latest event on.
    """
    latest = profile.last_event_at
    until_then = (profile.landmark - latest) / (profile.half_life_s or rules.half_life_s)
    return float(2.0 ** (until_then + (latest - max(at, latest)) / rules.half_life_s))


def events_of(profile: Profile, at: float, rules: ProfileRules) -> float:
    """Return the number of the shopper's events, each faded by its age; parameters as of `decay`."""
    return (profile.browses + max(profile.carts, 0.0) + profile.orders) * decay(profile, at, rules)


def _landmark(at: float, half_life_s: float) -> float:
    """Return the last landmark at or before a time."""
    span = LANDMARK_HALF_LIVES * half_life_s
    return math.floor(at / span) * span


def growth(profile: Profile, at: float, rules: ProfileRules) -> float:
    """Return the weight of 1 at a time in the units of a profile, the inverse of `decay`; parameters as of `decay`."""
    return float(2.0 ** ((at - profile.landmark) / rules.half_life_s))


def fold(profile: Profile, event: BrowseEvent | CartEvent | OrderEvent, rules: ProfileRules) -> None:
    """Add an event to the profile, in place.

    weight = base * 2^(-age / half_life), with the base of the event's kind. A removal from the cart subtracts the
    weight of the item. A missing field is imputed by the rules; else it adds nothing.

    Parameters
    ----------
    profile : Profile
        Changed in place.
    event : BrowseEvent, CartEvent or OrderEvent
        Not a duplicate; events may come in any order.
    rules : ProfileRules
        Weights, half-lives, bounds and policies of imputation.

    Examples
    --------
    >>> profile, tea = Profile(), Item(item_id="A", category="tea")
    >>> fold(profile, BrowseEvent(event_id="b", user_id="u", occurred_at=86400.0, item=tea), ProfileRules())
    >>> round(profile.categories["tea"] * decay(profile, 15 * 86400.0, ProfileRules()), 9)
    0.5
    """
    at = event.occurred_at
    _move_landmark(profile, at, rules)
    grown = growth(profile, at, rules)
    profile.last_event_at = max(profile.last_event_at, at)
    profile.rhythm = note_time(profile.rhythm, at, is_order=isinstance(event, OrderEvent))
    if rules.missing_context:
        remember_context(profile.contexts, event.context, at, rules)
    if isinstance(event, BrowseEvent):
        profile.browses += grown
        if event.item is not None:
            _add_item(profile, event.item, at, grown * rules.browse_weight, rules)
            _note_price(profile, event.item, rules.browse_weight)
    elif isinstance(event, CartEvent):
        _add_cart(profile, event, grown, rules)
    else:
        _add_order(profile, event, grown, rules)
    _forget_weakest(profile, rules)


def _forget_weakest(profile: Profile, rules: ProfileRules) -> None:
    """Keep the strongest interests when there are a quarter more than are allowed."""
    if len(profile.category_interests) > rules.max_categories * 5 // 4:
        profile.category_interests = top(profile.category_interests, rules.max_categories)
        leading = profile.category_interests
        profile.category_days = {index: days for index, days in profile.category_days.items() if index in leading}
    if len(profile.finer_interests) > rules.max_interests * 5 // 4:
        profile.finer_interests = top(profile.finer_interests, rules.max_interests)


def _move_landmark(profile: Profile, at: float, rules: ProfileRules) -> None:
    if profile.half_life_s != rules.half_life_s:
        if profile.half_life_s:
            _rescale(profile, profile.last_event_at, profile.half_life_s)
            _rescale(profile, _landmark(profile.last_event_at, rules.half_life_s), rules.half_life_s)
        profile.half_life_s = rules.half_life_s
    if at >= profile.landmark + LANDMARK_HALF_LIVES * rules.half_life_s:
        _rescale(profile, _landmark(at, rules.half_life_s), rules.half_life_s)


def _rescale(profile: Profile, landmark: float, half_life_s: float) -> None:
    """Convert the weights to units of another landmark."""
    scale = 2.0 ** ((profile.landmark - landmark) / half_life_s)
    profile.category_interests = {index: weight * scale for index, weight in profile.category_interests.items()}
    profile.finer_interests = {index: weight * scale for index, weight in profile.finer_interests.items()}
    profile.categories = {name: weight * scale for name, weight in profile.categories.items()}
    profile.browses *= scale
    profile.carts *= scale
    profile.orders *= scale
    profile.spend_minor *= scale
    profile.units *= scale
    profile.landmark = landmark


def _add_item(profile: Profile, item: Item, at: float, weight: float, rules: ProfileRules) -> tuple[Item, float | None]:
    """Add the interest in an item; return the item with imputed labels, and its price or an imputed one."""
    item = fill_labels(profile.last_labels, item, at, rules)
    price = fill_price(profile.price_times, profile.prices, item, at, rules)
    of_category, finer_ones = interest_indices(item.item_id, item.category, item.brand)
    finer = profile.finer_interests
    for index in finer_ones:
        finer[index] = finer.get(index, 0.0) + weight
    if item.category is not None:
        profile.category_interests[of_category] = profile.category_interests.get(of_category, 0.0) + weight
        if weight > 0:
            _note_day(profile, of_category, at)
        categories = profile.categories
        categories[item.category] = categories.get(item.category, 0.0) + weight
        if len(categories) > MAX_CATEGORIES:
            del categories[min(categories, key=lambda name: (categories[name], name))]
    if price is not None:
        index = price_index(price)
        finer[index] = finer.get(index, 0.0) + weight
    return item, price


def _note_price(profile: Profile, item: Item, weight: float) -> None:
    """Add a price to the level of its category, if the category is kept; old prices fade."""
    if item.price_minor is None or item.price_minor <= 0 or item.category not in profile.categories:
        return
    levels = profile.price_levels
    level = levels.setdefault(item.category, PriceLevel())
    level.weight += weight
    level.total += weight * math.log2(item.price_minor)
    if level.weight > MAX_PRICE_WEIGHT:
        scale = MAX_PRICE_WEIGHT / level.weight
        level.weight, level.total = MAX_PRICE_WEIGHT, level.total * scale
    if len(levels) > MAX_CATEGORIES:
        profile.price_levels = {name: known for name, known in levels.items() if name in profile.categories}


def _note_day(profile: Profile, of_category: int, at: float) -> None:
    """Mark a day as one on which the shopper cared for a category; days come in any order."""
    age = profile.days_until - int(at // DAY_S)
    if age < 0:
        kept = ((days << -age) % 2**DAYS_KEPT for days in profile.category_days.values())
        profile.category_days = {index: days for index, days in zip(profile.category_days, kept, strict=True) if days}
        profile.days_until -= age
        age = 0
    if age < DAYS_KEPT:
        profile.category_days[of_category] = profile.category_days.get(of_category, 0) | 1 << age


def _add_cart(profile: Profile, event: CartEvent, grown: float, rules: ProfileRules) -> None:
    at, sign = event.occurred_at, 1.0 if event.action == "add" else -1.0
    profile.carts += sign * grown
    item, _ = _add_item(profile, event.item, at, sign * grown * rules.cart_weight, rules)
    if sign > 0:
        _note_price(profile, event.item, rules.cart_weight)
    if item.category is not None and (known := admit(profile.in_category, item.category, at)) is not None:
        note_cart(known, at, is_added=sign > 0)


def _add_order(profile: Profile, event: OrderEvent, grown: float, rules: ProfileRules) -> None:
    at = event.occurred_at
    profile.orders += grown
    if profile.last_order_at is None or at > profile.last_order_at:
        profile.last_order_at = at
    items, value_minor, pieces = [], 0.0, 0.0
    for ordered in event.items:
        item, spent = _add_item(profile, ordered, at, grown * rules.order_weight, rules)
        _note_price(profile, ordered, rules.order_weight)
        items.append(item)
        quantity = item.quantity or 1.0
        pieces += quantity
        if spent is not None:
            profile.spend_minor += grown * spent * quantity
            profile.units += grown * quantity
            value_minor += spent * quantity
        profile.ordered_at[item.item_id] = max(at, profile.ordered_at.get(item.item_id, 0.0))
    note_orders(profile.in_category, (item.category for item in items if item.category is not None), at)
    if len(profile.ordered_at) > MAX_RECENT_ORDERS:
        latest = sorted(profile.ordered_at.items(), key=lambda entry: (-entry[1], entry[0]))
        profile.ordered_at = dict(latest[:MAX_RECENT_ORDERS])
    new, faded = habit_fading(profile.habits_at - at, rules), habit_fading(at - profile.habits_at, rules)
    profile.habits_at = max(profile.habits_at, at)
    profile.usual_orders = profile.usual_orders * faded[0] + new[0]
    if value_minor := value_minor or event.total_minor or 0.0:
        profile.baskets = (profile.baskets or NO_ORDERS).added(value_minor, pieces or 1.0, faded[0], new[0])
    profile.usual_discounted = profile.usual_discounted * faded[0] + new[0] * bool(event.discount_minor)
    profile.habits = count_ordered(profile.habits, items, faded, new, rules.max_habits)


KNOWN_FROM = 10.0
"""Weight of all interests at an event, as much as of ten views, from which a shopper is known."""
FAMILIAR_FROM = 0.05
"""Share of all interests from which a category is familiar."""


def is_familiar(profile: Profile, event: BrowseEvent | CartEvent | OrderEvent, rules: ProfileRules) -> bool | None:
    """Return True if the shopper cared for the category of the event's item before the event.

    Parameters
    ----------
    profile : Profile
        The event is folded into it already.
    event : BrowseEvent, CartEvent or OrderEvent
        An item that is browsed, or put into the cart.
    rules : ProfileRules
        Weights of events.

    Returns
    -------
    bool or None
        None for an order, a removal from the cart, an item without a category, or a shopper with few events.
    """
    if isinstance(event, OrderEvent) or event.item is None or event.item.category is None:
        return None
    weight = rules.browse_weight if isinstance(event, BrowseEvent) else rules.cart_weight
    grown = growth(profile, event.occurred_at, rules)
    before = sum(profile.category_interests.values()) - weight * grown
    if before < KNOWN_FROM * grown or (isinstance(event, CartEvent) and event.action != "add"):
        return None
    of_category, _ = interest_indices(event.item.item_id, event.item.category, event.item.brand)
    return profile.category_interests.get(of_category, 0.0) - weight * grown >= FAMILIAR_FROM * before


def portrait(profile: Profile, at: float, rules: ProfileRules, size: int) -> SparseVector:
    """Return the interests by which neighbours are found: categories first, then the strongest of the others.

    The weight of an interest is its decayed weight, or that of its orders as a habit if that is greater. So interests
    of views fade within weeks, those of purchases do not.

    Parameters
    ----------
    profile : Profile
        The shopper's profile.
    at : float
        UTC epoch seconds.
    rules : ProfileRules
        Half-lives and weights.
    size : int
        Most entries.

    Examples
    --------
    >>> portrait(Profile(category_interests={1: 4.0, 2: 3.0}, finer_interests={3: 9.0}), 0.0, ProfileRules(), 2)
    {1: 4.0, 2: 3.0}
    """
    weighed = _weighed(profile, at, rules)
    leading = top(weighed(profile.category_interests), size)
    return leading | top(weighed(profile.finer_interests), size - len(leading))


def category_portrait(profile: Profile, at: float, rules: ProfileRules, size: int) -> SparseVector:
    """Return the categories of `portrait` with a weight above 0.

    Parameters
    ----------
    profile, at, rules
        As of `portrait`.
    size : int
        Most entries, the strongest.
    """
    weighed = _weighed(profile, at, rules)(profile.category_interests)
    return {index: weight for index, weight in top(weighed, size).items() if weight > 0.0}


def _weighed(profile: Profile, at: float, rules: ProfileRules) -> Callable[[SparseVector], SparseVector]:
    """Return the function from interests to their weights in a portrait at time `at`."""
    scale = decay(profile, at, rules)
    habit_scale = rules.order_weight * habit_fading(at - profile.habits_at, rules)[0]
    indices, counts, _ = unpack_habits(profile.habits)
    habits = dict(zip(indices.tolist(), (counts * habit_scale).tolist(), strict=True))

    def weighed(interests: SparseVector) -> SparseVector:
        return {index: max(weight * scale, habits.get(index, -math.inf)) for index, weight in interests.items()}

    return weighed


def count_days(
    profiles: Sequence[Profile], ats: Sequence[float], rules: ProfileRules
) -> tuple[NDArray[np.uint32], NDArray[np.float64], NDArray[np.float64]]:
    """Count the days on which each shopper cared for each category.

    All views within a day are one decision to look, however many pages they take: a share of days varies less than a
    share of events.

    Parameters
    ----------
    profiles : sequence of Profile
        Of m shoppers.
    ats : sequence of float, shape (m,)
        UTC epoch seconds at which each profile is read.
    rules : ProfileRules
        Half-life by which a day counts less with its age.

    Returns
    -------
    category : array of uint32, shape (n,)
        Feature index of each category: the `category_days` of one shopper after the other.
    days : array of float, shape (n,)
        Number of days, each faded by its age.
    recency : array of float, shape (n,)
        1 if the last day is today, 1/2 if it was yesterday, 1/3 for the day before.
    """
    of_each = [profile.category_days for profile in profiles]
    counts = [*map(len, of_each)]
    n = sum(counts)
    ages = [max(at // DAY_S - profile.days_until, 0.0) for profile, at in zip(profiles, ats, strict=True)]
    since = np.array(ages).repeat(counts)
    bits = np.fromiter(chain.from_iterable(days.values() for days in of_each), "<u8", n)
    cared = np.unpackbits(bits.view(np.uint8).reshape(n, DAYS_KEPT // 8), axis=1, bitorder="little")
    days = np.add.reduce(cared * _fading(rules.half_life_s), axis=1)
    days *= 2.0 ** (-since * DAY_S / rules.half_life_s)
    categories = np.fromiter(chain.from_iterable(of_each), np.uint32, n)
    return categories, days, 1.0 / (1.0 + since + cared.argmax(axis=1))


@lru_cache
def _fading(half_life_s: float) -> NDArray[np.float64]:
    """Return the factor of each of the last days."""
    return np.asarray(2.0 ** (-np.arange(DAYS_KEPT) * DAY_S / half_life_s))
