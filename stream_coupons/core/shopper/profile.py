"""What is known of a shopper's behaviour, folded one event at a time.

Weights decay with age. They are kept by forward decay: an event at t adds base * 2^((t - L) / half_life) for a fixed
landmark L, and a reader at time `at` multiplies by 2^((L - at) / half_life). So folding is a sum, costs the same
however much is remembered, and commutes: events of different topics may arrive in any order. (Cormode, Shkapenyuk,
Srivastava, Xu 2009: Forward decay, section IV.) Landmarks are multiples of LANDMARK_HALF_LIVES half-lives; when time
passes one, the weights are rescaled, so they stay within a double's range. A profile says under which half-life its
weights are: where another one is set, they keep their values as of its latest event, and fade by the new one from there
on. Commuting ends where a bound makes the profile forget: the weakest interests, the oldest event ids.
"""

import math
from collections.abc import Callable, Sequence
from itertools import chain

import numpy as np
from msgspec import Struct, field
from numpy.typing import NDArray

from stream_coupons.core.messages.inputs import BrowseEvent, CartEvent, Item, OrderEvent
from stream_coupons.core.rules import ProfileRules
from stream_coupons.core.shopper.category_history import MAX_CATEGORIES, Categories, admit, note_cart, note_orders
from stream_coupons.core.shopper.habits import Habits, count_ordered, habit_fading, unpack_habits
from stream_coupons.core.shopper.imputation import (
    LastLabel,
    Series,
    fill_labels,
    fill_number,
    remember,
    remember_context,
)
from stream_coupons.core.shopper.rhythm import Counts, note_time
from stream_coupons.core.vectors.items import interest_indices, price_index
from stream_coupons.core.vectors.sparse import (
    DIGEST_BYTES,
    SparseVector,
    stable_digest,
    top,
)

LANDMARK_HALF_LIVES = 256
MAX_RECENT_ORDERS = 64
MAX_PRICE_WEIGHT = 60.0
"""Largest weight of all prices in a category: above it, old prices fade as new ones come."""
KNOWN_FROM = 10.0
"""Weight of what is left of a shopper's interests, as much as of ten looks."""
FAMILIAR_FROM = 0.05
"""Share of the interests that a category had."""
DAYS_KEPT = 64
HOUR_S = 3600.0
DAY_S = 86400.0


class PriceLevel(Struct, array_like=True):
    """Prices that a shopper looked at in a category."""

    weight: float = 0.0
    total: float = 0.0
    """Weighted sum of their logarithms (base 2) in minor units."""


class Profile(Struct, array_like=True):
    """A shopper's behaviour, bounded in size. Mutable; owned by one step at a time.

    Weights and counts are in the units of `landmark` and `half_life_s`; read them with `decay`.
    """

    landmark: float = 0.0
    category_interests: SparseVector = field(default_factory=dict)
    finer_interests: SparseVector = field(default_factory=dict)
    """In items, brands, brands within categories, and bands of price. Bounded by themselves: there are so many of them
    that they would crowd out the categories, which are what shoppers have in common."""
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
    """The latest order: habits are as of then."""
    usual_orders: float = 0.0
    usual_discounted: float = 0.0
    """Orders, and those with a discount among them, faded like habits."""
    price_times: list[float] = field(default_factory=list)
    """UTC epoch seconds of each of `prices`, ascending."""
    last_labels: dict[str, LastLabel] = field(default_factory=dict)
    contexts: dict[str, Series] = field(default_factory=dict)
    """By key, of those that are filled in."""
    category_days: dict[int, int] = field(default_factory=dict)
    """By category, the last `DAYS_KEPT` days on which the shopper cared for it, as bits: 1 is the day `days_until`, 2
    the one before."""
    days_until: int = 0
    half_life_s: float = 0.0
    """Half-life of the weights; 0 before the first event."""
    rhythm: Counts = field(default_factory=list)
    in_category: Categories = field(default_factory=dict)
    price_levels: dict[str, PriceLevel] = field(default_factory=dict)
    """By category, of those in `categories`."""

    @property
    def interests(self) -> SparseVector:
        """All of them, as a new vector."""
        return self.category_interests | self.finer_interests


def is_duplicate(profile: Profile, kind: str, event_id: str, rules: ProfileRules) -> bool:
    """Return whether this event was folded before; remember it if not.

    Ids are told apart by kind: a shop that numbers its orders may well give the number of one to what it reports of
    it, and no purchase may be lost for that. The horizon is the shopper's last `max_seen_events` events.
    """
    digest = stable_digest(kind, event_id)
    if place_of(profile.seen, digest) >= 0:
        return True
    profile.seen = (profile.seen + digest)[-rules.max_seen_events * DIGEST_BYTES :]
    return False


def forget_event(profile: Profile, kind: str, event_id: str) -> None:
    """Make an event unknown again: it was refused after all, and must count if it is sent again."""
    place = place_of(profile.seen, stable_digest(kind, event_id))
    if place >= 0:
        profile.seen = profile.seen[:place] + profile.seen[place + DIGEST_BYTES :]


def place_of(digests: bytes, digest: bytes) -> int:
    """Where a digest begins in a row of digests; -1 when it is not there."""
    place = digests.find(digest)
    while place % DIGEST_BYTES and place >= 0:  # it lies across two others
        place = digests.find(digest, place + 1)
    return place


def decay(profile: Profile, at: float, rules: ProfileRules) -> float:
    """Factor from the profile's weights to their values at time `at`, or at its latest event if that is later."""
    latest = profile.last_event_at
    until_then = (profile.landmark - latest) / (profile.half_life_s or rules.half_life_s)
    return float(2.0 ** (until_then + (latest - max(at, latest)) / rules.half_life_s))


def events_of(profile: Profile, at: float, rules: ProfileRules) -> float:
    """Return how many events are known of the shopper, older ones for less."""
    return (profile.browses + max(profile.carts, 0.0) + profile.orders) * decay(profile, at, rules)


def _landmark(at: float, half_life_s: float) -> float:
    """The last one until then."""
    span = LANDMARK_HALF_LIVES * half_life_s
    return math.floor(at / span) * span


def _growth(profile: Profile, at: float, rules: ProfileRules) -> float:
    """Return the weight of 1 at this time in the profile's units."""
    return float(2.0 ** ((at - profile.landmark) / rules.half_life_s))


def fold(profile: Profile, event: BrowseEvent | CartEvent | OrderEvent, rules: ProfileRules) -> None:
    """Add an event to the profile, in place.

    weight = base * 2^(-age / half_life), with the base of the event's kind. Taking something out of the cart takes
    its weight back. A field that is missing is filled as the rules say; else it adds nothing to the interests in it.
    """
    at = event.occurred_at
    remember_context(profile.contexts, event.context, at, rules.context_policies)
    _move_landmark(profile, at, rules)
    grown = _growth(profile, at, rules)
    profile.last_event_at = max(profile.last_event_at, at)
    profile.rhythm = note_time(profile.rhythm, at, is_order=isinstance(event, OrderEvent))
    if isinstance(event, BrowseEvent):
        profile.browses += grown
        if event.item is not None:
            _add_item(profile, event.item, at, grown * rules.browse_weight, rules)
            _note_price(profile, event.item, rules.browse_weight)
    elif isinstance(event, CartEvent):
        sign = 1.0 if event.action == "add" else -1.0
        profile.carts += sign * grown
        item, _ = _add_item(profile, event.item, at, sign * grown * rules.cart_weight, rules)
        if sign > 0:
            _note_price(profile, event.item, rules.cart_weight)
        if item.category is not None and (known := admit(profile.in_category, item.category, at)) is not None:
            note_cart(known, at, is_added=sign > 0)
    else:
        _add_order(profile, event, grown, rules)
    if len(profile.category_interests) > rules.max_categories * 5 // 4:
        profile.category_interests = top(profile.category_interests, rules.max_categories)
        leading = profile.category_interests
        profile.category_days = {index: days for index, days in profile.category_days.items() if index in leading}
    if len(profile.finer_interests) > rules.max_interests * 5 // 4:
        profile.finer_interests = top(profile.finer_interests, rules.max_interests)


def is_familiar(profile: Profile, event: BrowseEvent | CartEvent | OrderEvent, rules: ProfileRules) -> bool | None:
    """Return whether the shopper cared for the category of what they look at, or put into the cart, before this event.

    Of an event that is folded already. None where it has no category, and of a shopper of whom little is known.
    """
    if isinstance(event, OrderEvent) or event.item is None or event.item.category is None:
        return None
    weight = rules.browse_weight if isinstance(event, BrowseEvent) else rules.cart_weight
    grown = _growth(profile, event.occurred_at, rules)
    before = sum(profile.category_interests.values()) - weight * grown
    if before < KNOWN_FROM * grown or (isinstance(event, CartEvent) and event.action != "add"):
        return None
    of_category, _ = interest_indices(event.item.item_id, event.item.category, event.item.brand)
    return profile.category_interests.get(of_category, 0.0) - weight * grown >= FAMILIAR_FROM * before


def portrait(profile: Profile, at: float, rules: ProfileRules, size: int) -> SparseVector:
    """Return the weights that others know a shopper by at a time: `size` at most, categories first, then the strongest.

    An interest weighs what is left of it, or what its orders weigh as a habit if that is more: what was looked at fades
    within weeks, what was bought does not.
    """
    weighed = _weighed(profile, at, rules)
    leading = top(weighed(profile.category_interests), size)
    return leading | top(weighed(profile.finer_interests), size - len(leading))


def category_portrait(profile: Profile, at: float, rules: ProfileRules, size: int) -> SparseVector:
    """The categories of a shopper's portrait: at most `size`, the strongest; none that is not above 0."""
    weighed = _weighed(profile, at, rules)(profile.category_interests)
    return {index: weight for index, weight in top(weighed, size).items() if weight > 0.0}


def _weighed(profile: Profile, at: float, rules: ProfileRules) -> Callable[[SparseVector], SparseVector]:
    """The function from interests to their weights in a portrait at time `at`."""
    scale = decay(profile, at, rules)
    habit_scale = rules.order_weight * habit_fading(at - profile.habits_at, rules)[0]
    indices, counts, _ = unpack_habits(profile.habits)
    habits = dict(zip(indices.tolist(), (counts * habit_scale).tolist(), strict=True))

    def weighed(interests: SparseVector) -> SparseVector:
        return {index: max(weight * scale, habits.get(index, -math.inf)) for index, weight in interests.items()}

    return weighed


def _move_landmark(profile: Profile, at: float, rules: ProfileRules) -> None:
    if profile.half_life_s != rules.half_life_s:
        if profile.half_life_s:
            _rescale(profile, profile.last_event_at, profile.half_life_s)
            _rescale(profile, _landmark(profile.last_event_at, rules.half_life_s), rules.half_life_s)
        profile.half_life_s = rules.half_life_s
    if at >= profile.landmark + LANDMARK_HALF_LIVES * rules.half_life_s:
        _rescale(profile, _landmark(at, rules.half_life_s), rules.half_life_s)


def _rescale(profile: Profile, landmark: float, half_life_s: float) -> None:
    """Give the weights in units of another landmark."""
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
    """Add the interest in an item; its labels and its price, filled in as far as they can be."""
    item = fill_labels(profile.last_labels, item, at, rules)
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
    price = _price(profile, item, at, rules)
    if price is not None:
        index = price_index(price)
        finer[index] = finer.get(index, 0.0) + weight
    return item, price


def _note_price(profile: Profile, item: Item, weight: float) -> None:
    """Note what the shopper looks at in a category: of the categories that are kept, and old prices fade."""
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
    """Note that the shopper cared for a category on a day, however often; days come in any order."""
    age = profile.days_until - int(at // DAY_S)
    if age < 0:
        kept = ((days << -age) % 2**DAYS_KEPT for days in profile.category_days.values())
        profile.category_days = {index: days for index, days in zip(profile.category_days, kept, strict=True) if days}
        profile.days_until -= age
        age = 0
    if age < DAYS_KEPT:
        profile.category_days[of_category] = profile.category_days.get(of_category, 0) | 1 << age


def count_days(
    profiles: Sequence[Profile], ats: Sequence[float], rules: ProfileRules
) -> tuple[NDArray[np.intp], NDArray[np.uint32], NDArray[np.float64], NDArray[np.float64]]:
    """(whose, category, on how many days the shopper cared for it, how lately), each of shape (n,).

    Older days count less; how lately is 1 today, 1/2 for yesterday, 1/3 for the day before. What somebody looks at
    within a day is one decision to look, and how many pages it takes says little: counted by days a share of interest
    varies less than counted by events.
    """
    of_each = [profile.category_days for profile in profiles]
    whose = np.repeat(np.arange(len(profiles)), [len(days) for days in of_each])
    n = len(whose)
    since = np.array([max(at // DAY_S - profile.days_until, 0.0) for profile, at in zip(profiles, ats, strict=True)])
    bits = np.fromiter(chain.from_iterable(days.values() for days in of_each), "<u8", n)
    cared = np.unpackbits(bits.view(np.uint8).reshape(n, DAYS_KEPT // 8), axis=1, bitorder="little")
    fading = 2.0 ** (-np.arange(DAYS_KEPT) * DAY_S / rules.half_life_s)
    counts = (cared * fading).sum(axis=1) * (2.0 ** (-since * DAY_S / rules.half_life_s))[whose]
    categories = np.fromiter(chain.from_iterable(of_each), np.uint32, n)
    return whose, categories, counts, 1.0 / (1.0 + since[whose] + cared.argmax(axis=1))


def _price(profile: Profile, item: Item, at: float, rules: ProfileRules) -> float | None:
    """The price of an item, remembered, or what stands in for it."""
    if item.price_minor is None:
        return fill_number(profile.price_times, profile.prices, at, rules.missing_price)
    price = float(item.price_minor)
    remember(profile.price_times, profile.prices, at, price, rules.recent_prices)
    return price


def _add_order(profile: Profile, event: OrderEvent, grown: float, rules: ProfileRules) -> None:
    at = event.occurred_at
    profile.orders += grown
    if profile.last_order_at is None or at > profile.last_order_at:
        profile.last_order_at = at
    items = []
    for ordered in event.items:
        item, spent = _add_item(profile, ordered, at, grown * rules.order_weight, rules)
        _note_price(profile, ordered, rules.order_weight)
        items.append(item)
        quantity = item.quantity or 1.0
        if spent is not None:
            profile.spend_minor += grown * spent * quantity
            profile.units += grown * quantity
        profile.ordered_at[item.item_id] = max(at, profile.ordered_at.get(item.item_id, 0.0))
    note_orders(profile.in_category, (item.category for item in items if item.category is not None), at)
    if len(profile.ordered_at) > MAX_RECENT_ORDERS:
        latest = sorted(profile.ordered_at.items(), key=lambda entry: (-entry[1], entry[0]))
        profile.ordered_at = dict(latest[:MAX_RECENT_ORDERS])
    new, faded = habit_fading(profile.habits_at - at, rules), habit_fading(at - profile.habits_at, rules)
    profile.habits_at = max(profile.habits_at, at)
    profile.usual_orders = profile.usual_orders * faded[0] + new[0]
    profile.usual_discounted = profile.usual_discounted * faded[0] + new[0] * bool(event.discount_minor)
    profile.habits = count_ordered(profile.habits, items, faded, new, rules.max_habits)


def favourite(profile: Profile) -> str:
    """The category of greatest weight; empty when none is known."""
    categories = profile.categories
    return max(categories, key=lambda name: (categories[name], name), default="")
