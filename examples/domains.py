"""The three made-up domains: what is sold, which coupons exist, and how each segment of customers responds.

All of it is invented. The numbers are the ground truth behind the sample logs; no log states them.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class Season:
    """Demand that follows a cosine: highest on `peak_day`, never below `1 - depth` of the highest.

    `period_days` is 365 for a season of the year and 7 for a rhythm of the week.
    """

    peak_day: float
    depth: float
    period_days: float = 365.0

    def demand(self, day: float) -> float:
        """Return the demand on a day, a ratio in [1 - depth, 1]."""
        phase = 2 * math.pi * (day - self.peak_day) / self.period_days
        return 1 - self.depth * (1 - math.cos(phase)) / 2


@dataclass(frozen=True, slots=True)
class Category:
    """One category of products.

    Attributes
    ----------
    prices : mapping
        Price of each item in minor units, by item_id.
    demand : float
        Share of the visits, before taste and season.
    buys : float
        Log-odds of an order after a look, without a coupon.
    lasts_days : float
        Days until somebody who bought wants more; infinite for what is bought once.
    after : tuple of str
        Categories one of which must have been bought within the last `AFTER_DAYS` days; empty if none.
    """

    prices: Mapping[str, int]
    demand: float
    buys: float
    lasts_days: float
    season: Season | None = None
    after: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Offer:
    """One kind of coupon, offered in each of its categories."""

    name: str
    title: str
    categories: tuple[str, ...]
    percent: float | None = None
    amount_minor: int | None = None

    def discount_minor(self, value_minor: float) -> float:
        """Return the discount on an order of this value, in minor units."""
        off = value_minor * self.percent / 100 if self.percent is not None else self.amount_minor or 0
        return min(off, value_minor)


@dataclass(frozen=True, slots=True)
class Segment:
    """Customers who behave alike; which segment somebody belongs to is never logged.

    Attributes
    ----------
    share : float
        Share of the customers.
    buys : float
        Added to the log-odds of an order without a coupon.
    moved : mapping
        By offer name, P(order because of the offer | no order without it), at full effect.
    tastes : mapping
        By category, how many times as often they look at it; 1 where not named.
    context : mapping
        By key of the context, the weights of its values: what the log tells of the segment.
    """

    share: float
    buys: float
    moved: Mapping[str, float]
    tastes: Mapping[str, float]
    context: Mapping[str, Mapping[str, float]]


@dataclass(frozen=True, slots=True)
class Domain:
    """A shop, its coupons, its customers and the span of the log."""

    name: str
    about: str
    seed: int
    customers: int
    days: int
    visits_a_day: float
    window_days: float
    margin_ratio: float
    categories: Mapping[str, Category]
    offers: tuple[Offer, ...]
    segments: Mapping[str, Segment]
    recorded_days: int
    quantities: tuple[int, ...] = (1,)
    weekdays: Mapping[int, float] = field(default_factory=dict)


AFTER_DAYS = 21.0

_GROCERIES = ("coffee", "tea", "chocolate", "pasta", "olive oil", "detergent", "pet food", "wine")

ECOMMERCE = Domain(
    name="ecommerce",
    about="An online grocer. Its coupons take 10 or 25 % off one category.",
    seed=11,
    customers=40,
    days=70,
    visits_a_day=0.18,
    window_days=3,
    margin_ratio=0.45,
    categories={
        "coffee": Category({"coffee-beans-1kg": 1499, "coffee-ground-500g": 699}, 1.4, -0.6, 14),
        "tea": Category({"tea-assam-250g": 649, "tea-mint-40": 299}, 0.9, -0.8, 21),
        "chocolate": Category({"chocolate-dark-5": 895, "chocolate-milk-5": 745}, 1.1, -0.5, 7),
        "pasta": Category({"pasta-penne-3kg": 549, "pasta-egg-1kg": 479}, 1.0, -0.2, 12),
        "olive oil": Category({"olive-oil-750ml": 1199}, 0.7, -1.0, 30),
        "detergent": Category({"detergent-60": 1549, "detergent-eco-40": 1249}, 0.8, -0.4, 28),
        "pet food": Category({"pet-food-cat-4kg": 2199, "pet-food-dog-10kg": 3499}, 0.9, 0.1, 18),
        "wine": Category({"wine-red-6": 4199, "wine-white-6": 3899}, 0.9, -1.4, 20, Season(4.5, 0.7, 7)),
    },
    offers=(
        Offer("10-off", "10 % off", _GROCERIES, percent=10),
        Offer("25-off", "25 % off", _GROCERIES, percent=25),
    ),
    segments={
        "regulars": Segment(
            0.35,
            1.8,
            {"10-off": 0.02, "25-off": 0.05},
            {"coffee": 1.8, "pet food": 2.0, "pasta": 1.4},
            {"loyalty": {"gold": 9, "silver": 1}, "household": {"family": 3, "couple": 2}},
        ),
        "bargain hunters": Segment(
            0.35,
            -1.8,
            {"10-off": 0.12, "25-off": 0.7},
            {"detergent": 2.0, "chocolate": 1.6, "wine": 1.5},
            {"loyalty": {"silver": 8, "none": 2}, "household": {"family": 4, "single": 2}},
        ),
        "browsers": Segment(
            0.3,
            -2.6,
            {"10-off": 0.02, "25-off": 0.06},
            {"wine": 2.0, "olive oil": 2.0, "tea": 1.5},
            {"loyalty": {"none": 9, "silver": 1}, "household": {"single": 4, "couple": 2}},
        ),
    },
    recorded_days=10,
    quantities=(1, 1, 1, 2),
    weekdays={4: 1.4, 5: 1.8, 6: 1.2},
)

FINANCE = Domain(
    name="finance",
    about="A retail bank. It waives annual fees, pays a bonus, and takes something off the first insurance premium.",
    seed=22,
    customers=60,
    days=150,
    visits_a_day=0.06,
    window_days=14,
    margin_ratio=0.6,
    categories={
        "credit card": Category({"card-classic": 5900, "card-gold": 11900}, 1.4, -1.2, math.inf),
        "premium account": Category({"account-premium": 14400}, 0.9, -1.5, math.inf),
        "travel insurance": Category({"travel-single": 3900, "travel-annual": 8900}, 1.1, -0.6, 90, Season(172, 0.8)),
        "home insurance": Category({"home-contents": 16800, "home-building": 29800}, 0.9, -1.0, 365),
        "phone insurance": Category({"phone-basic": 5900, "phone-plus": 9900}, 0.8, -1.1, 365),
        "personal loan": Category({"loan-fee-small": 9900, "loan-fee-large": 19900}, 0.8, -1.4, 365, Season(350, 0.5)),
    },
    offers=(
        Offer("fee-waiver", "Half of the first annual fee waived", ("credit card", "premium account"), percent=50),
        Offer(
            "bonus-25", "25.00 welcome bonus", ("credit card", "premium account", "personal loan"), amount_minor=2500
        ),
        Offer(
            "first-premium-15",
            "15 % off the first premium",
            ("travel insurance", "home insurance", "phone insurance"),
            percent=15,
        ),
        Offer(
            "first-premium-30",
            "30 % off the first premium",
            ("travel insurance", "home insurance", "phone insurance"),
            percent=30,
        ),
        Offer("rate-10", "10.00 off the processing fee", ("personal loan",), amount_minor=1000),
    ),
    segments={
        "starters": Segment(
            0.4,
            -1.8,
            {"fee-waiver": 0.7, "bonus-25": 0.35, "first-premium-15": 0.05, "first-premium-30": 0.15, "rate-10": 0.1},
            {"credit card": 2.0, "phone insurance": 2.0, "home insurance": 0.3},
            {"age_band": {"18-29": 9, "30-44": 1}, "channel": {"app": 8, "web": 2}},
        ),
        "families": Segment(
            0.35,
            -0.8,
            {"fee-waiver": 0.06, "bonus-25": 0.08, "first-premium-15": 0.25, "first-premium-30": 0.65, "rate-10": 0.05},
            {"home insurance": 2.5, "travel insurance": 1.8, "personal loan": 1.6},
            {"age_band": {"30-44": 9, "45-64": 1}, "channel": {"app": 4, "web": 6}},
        ),
        "established": Segment(
            0.25,
            2.2,
            {"fee-waiver": 0.04, "bonus-25": 0.02, "first-premium-15": 0.02, "first-premium-30": 0.04, "rate-10": 0.01},
            {"premium account": 2.5, "travel insurance": 2.0},
            {"age_band": {"45-64": 6, "65+": 4}, "channel": {"web": 5, "branch": 5}},
        ),
    },
    recorded_days=21,
)

_TRIPS = ("city break", "beach", "ski", "long haul")

TRAVEL = Domain(
    name="travel",
    about="A travel agency. It sells trips with a season, and extras to those who have booked one.",
    seed=33,
    customers=60,
    days=150,
    visits_a_day=0.055,
    window_days=5,
    margin_ratio=0.2,
    categories={
        "city break": Category({"lisbon": 28900, "vienna": 24900, "seville": 31900}, 1.2, -1.4, 60),
        "beach": Category({"crete": 64900, "mallorca": 54900}, 1.6, -1.6, 150, Season(165, 0.9)),
        "ski": Category({"zermatt": 79900, "livigno": 58900}, 1.6, -1.5, 150, Season(10, 0.97)),
        "long haul": Category({"tokyo": 119900, "cape-town": 109900}, 0.7, -2.0, 300),
        "bags": Category({"bag-23kg": 4500}, 2.5, -0.5, 20, after=_TRIPS),
        "seats": Category({"seat-legroom": 2900}, 2.0, -0.9, 20, after=_TRIPS),
        "lounge": Category({"lounge-pass": 3900}, 1.5, -1.4, 20, after=_TRIPS),
    },
    offers=(
        Offer("5-off", "5 % off", _TRIPS, percent=5),
        Offer("10-off", "10 % off", _TRIPS, percent=10),
        Offer("extra-5", "5.00 off", ("bags", "seats", "lounge"), amount_minor=500),
        Offer("extra-third", "A third off", ("bags", "seats", "lounge"), percent=33),
    ),
    segments={
        "business": Segment(
            0.25,
            2.4,
            {"5-off": 0.01, "10-off": 0.02, "extra-5": 0.02, "extra-third": 0.04},
            {"city break": 2.5, "lounge": 3.0, "beach": 0.4, "ski": 0.5},
            {"party": {"alone": 9, "couple": 1}, "device": {"desktop": 7, "phone": 3}},
        ),
        "families": Segment(
            0.4,
            -0.6,
            {"5-off": 0.1, "10-off": 0.5, "extra-5": 0.3, "extra-third": 0.55},
            {"beach": 2.5, "ski": 1.6, "bags": 2.0, "long haul": 0.3},
            {"party": {"family": 9, "couple": 1}, "device": {"desktop": 5, "phone": 5}},
        ),
        "dreamers": Segment(
            0.35,
            -2.2,
            {"5-off": 0.02, "10-off": 0.08, "extra-5": 0.05, "extra-third": 0.1},
            {"long haul": 3.0, "city break": 1.4},
            {"party": {"alone": 1, "couple": 9}, "device": {"phone": 8, "desktop": 2}},
        ),
    },
    recorded_days=21,
)

DOMAINS = {domain.name: domain for domain in (ECOMMERCE, FINANCE, TRAVEL)}
