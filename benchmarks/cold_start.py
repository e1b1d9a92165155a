"""The first decisions of a new shop: what the prior gives, and to whom, before any coupon's outcome is known.

    python -m benchmarks.cold_start
    python -m benchmarks.cold_start my-catalog.json --json
    python -m benchmarks.cold_start --write

Some hundred shoppers, all of them new, come to a shop with the given catalogue, by default each one that ships. Each
shopper turns to one category, one in four to a category without a coupon: some view one item, some come back to it or
add it to the cart, some are regulars who order it at even intervals. Time is too short for any coupon's window to
close: visits alone are learnt from. A coupon is in category if its scope names the category that the shopper turned to.
`--write` puts the table into docs/explanation/cold-start.md.
"""

import argparse
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from statistics import fmean

import msgspec
from rich.table import Table

from stream_coupons.cli.terminal import stdout
from stream_coupons.core.messages.catalogue import Coupon
from stream_coupons.core.messages.decisions import CouponIssue
from stream_coupons.core.messages.inputs import BrowseEvent, CartEvent, Item, OrderEvent, ShopEvent
from stream_coupons.kafka import topics
from stream_coupons.kafka.codec import Decoder
from stream_coupons.kafka.records import Output
from stream_coupons.runtime.steps import Result
from stream_coupons.settings import Settings
from stream_coupons.testing import LocalPipeline

from .pages import begin_of, markdown_table, with_figures

ROOT = Path(__file__).parents[1]
SHIPPED = [ROOT / "deploy" / "catalog.json", *sorted((ROOT / "examples").glob("*/catalog.json"))]
PAGE = ROOT / "docs" / "explanation" / "cold-start.md"
BEGIN = begin_of("python -m benchmarks.cold_start --write")
SHOPPERS = 700
DECISIONS = 100
COUPONS = 200
CONSIDERED = frozenset({"given", "not_worth_it", "holdout"})
"""Outcomes of triggers for which coupons were valued; the others came too soon after one, or had no candidate."""

OPENS_AT = 1_767_348_000.0
DAY_S = 86400.0
SPAN_S = 1.5 * DAY_S
"""All shoppers come within this time: less than any coupon's window."""
BEHAVIOURS = ("view", "view", "views", "returns", "cart", "regular, due", "regular, not due")
"""What a shopper does, drawn with equal probability: two in seven view one item and leave."""
GAPS_S = {"views": (60.0, 120.0), "returns": (0.3 * DAY_S, 0.6 * DAY_S), "cart": (60.0, 120.0)}
"""Time from the first event to each later one; the last event of `cart` is an item added to the cart."""
NO_COUPON_RATIO = 0.25
"""Share of shoppers who turn to a category without a coupon."""
OTHER_CATEGORIES = ("lighting", "stationery", "garden")
REGULAR_GAP_S = 7 * DAY_S
REGULAR_ORDERS = 6
DEFAULT_PRICE_MINOR = 1000


@dataclass(frozen=True, slots=True)
class Visitor:
    """A shopper of a new shop.

    Attributes
    ----------
    category : str
        The category that the shopper turns to.
    behaviour : str
        One of `BEHAVIOURS`.
    """

    user_id: str
    category: str
    behaviour: str


@dataclass(frozen=True, slots=True)
class Decision:
    """The outcome of one trigger.

    Attributes
    ----------
    outcome : str
        `given`, or the reason why nothing was given.
    coupon_id : str or None
        The coupon given.
    is_in_category : bool
        Whether the coupon's scope names the category that the shopper turned to.
    is_drawn : bool
        Whether exploration drew the coupon.
    value_minor : float
        Predicted value of the coupon given, minor units; 0 if none was given.
    """

    visitor: Visitor
    outcome: str
    coupon_id: str | None = None
    is_in_category: bool = False
    is_drawn: bool = False
    value_minor: float = 0.0


def visitors(coupons: Sequence[Coupon], count: int, seed: int) -> list[Visitor]:
    """Return new shoppers, each with the category that they turn to."""
    random = Random(seed)
    named = sorted({category for coupon in coupons for category in coupon.categories})
    others = [name for name in OTHER_CATEGORIES if name not in named]
    return [
        Visitor(
            f"new-{number:04d}",
            random.choice(others if random.random() < NO_COUPON_RATIO else named),
            random.choice(BEHAVIOURS),
        )
        for number in range(count)
    ]


def events_of(visitor: Visitor, prices: dict[str, int], domain: str, random: Random) -> Iterator[ShopEvent]:
    """Yield an event for everything that the shopper does, in order of time."""
    came_at = OPENS_AT + random.random() * SPAN_S
    item = Item(
        item_id=f"{visitor.category}-{random.randrange(5)}",
        category=visitor.category,
        brand=f"brand-{random.randrange(4)}",
        price_minor=prices.get(visitor.category, DEFAULT_PRICE_MINOR),
    )
    if visitor.behaviour.startswith("regular"):
        since_s = REGULAR_GAP_S if visitor.behaviour == "regular, due" else REGULAR_GAP_S / 7
        for number in reversed(range(REGULAR_ORDERS)):
            name = f"{visitor.user_id}-order-{number}"
            order = OrderEvent(
                event_id=name,
                user_id=visitor.user_id,
                domain=domain,
                occurred_at=came_at - since_s - number * REGULAR_GAP_S,
                order_id=name,
                items=[item],
            )
            yield order
    for number, gap_s in enumerate((0.0, *GAPS_S.get(visitor.behaviour, ()))):
        is_cart = visitor.behaviour == "cart" and number == len(GAPS_S["cart"])
        kind = CartEvent if is_cart else BrowseEvent
        yield kind(
            event_id=f"{visitor.user_id}-{number}",
            user_id=visitor.user_id,
            domain=domain,
            occurred_at=came_at + gap_s,
            item=item,
        )


def first_decisions(coupons: Sequence[Coupon], shoppers: int = SHOPPERS, seed: int = 0) -> Iterator[Decision]:
    """Yield the outcome of every trigger of a new shop, in order of time.

    Parameters
    ----------
    coupons : sequence of Coupon
        The catalogue, of one domain.
    shoppers : int
        Number of shoppers who come, all of them new.
    seed : int
        Of who comes.
    """
    random = Random(seed + 1)
    prices = {
        category: coupon.typical_price_minor or DEFAULT_PRICE_MINOR
        for coupon in coupons
        for category in coupon.categories
    }
    categories = {coupon.coupon_id: coupon.categories for coupon in coupons}
    decode = Decoder(topics.ISSUES)
    issues: list[CouponIssue] = []
    outcomes: list[str] = []

    def take(output: Output) -> None:
        if output.topic == topics.ISSUES.name:
            issues.append(decode(output.value))

    def note(result: Result) -> None:
        outcomes.extend(str(outcome) for noun, outcome in result.facts if noun == "decision")

    shop = LocalPipeline(Settings(), coupons, on_output=take, on_result=note)
    planned = [
        (event.occurred_at, event, visitor)
        for visitor in visitors(coupons, shoppers, seed)
        for event in events_of(visitor, prices, coupons[0].domain, random)
    ]
    for _, event, visitor in sorted(planned, key=lambda entry: entry[0]):
        shop.tick(event.occurred_at)
        issues.clear()
        outcomes.clear()
        shop.publish(event)
        if issues:
            [issue] = issues
            is_in_category = visitor.category in categories[issue.coupon_id]
            yield Decision(visitor, outcomes[0], issue.coupon_id, is_in_category, issue.is_explored, issue.value_minor)
        elif outcomes:
            yield Decision(visitor, outcomes[0])


@dataclass(frozen=True, slots=True)
class Figures:
    """The beginning of a new shop in numbers.

    Attributes
    ----------
    catalogue : str
        Name of the catalogue.
    in_category, elsewhere, drawn_elsewhere, not_worth_it, holdout : int
        Of the first `DECISIONS` decisions: coupons in the category that the shopper turned to, coupons for something
        else, those of them that exploration drew, no coupon was worth it, shoppers of the holdout.
    value_minor : float
        Mean value of the coupons that these decisions gave in category, minor units.
    coupons : int
        Number of coupons that the shares below are of: `COUPONS`, or fewer if no more were given.
    in_category_ratio : float
        Share of these coupons that are in category.
    triggers_ratio : float
        Share of the triggers until then that led to a coupon.
    """

    catalogue: str
    in_category: int
    elsewhere: int
    drawn_elsewhere: int
    not_worth_it: int
    holdout: int
    value_minor: float
    coupons: int
    in_category_ratio: float
    triggers_ratio: float


def figures_of(catalogue: str, decisions: Iterable[Decision]) -> Figures:
    """Return the figures of the first decisions; reads no more of them than are needed."""
    first: list[Decision] = []
    given: list[Decision] = []
    triggers = 0
    for decision in decisions:
        triggers += 1
        if decision.outcome in CONSIDERED and len(first) < DECISIONS:
            first.append(decision)
        if decision.coupon_id is not None:
            given.append(decision)
        if len(given) == COUPONS:
            break
    outcomes = Counter(decision.outcome for decision in first)
    values = [decision.value_minor for decision in first if decision.is_in_category]
    elsewhere = [decision for decision in first if decision.coupon_id is not None and not decision.is_in_category]
    return Figures(
        catalogue,
        len(values),
        len(elsewhere),
        sum(decision.is_drawn for decision in elsewhere),
        outcomes["not_worth_it"],
        outcomes["holdout"],
        fmean(values) if values else 0.0,
        len(given),
        sum(decision.is_in_category for decision in given) / max(len(given), 1),
        len(given) / max(triggers, 1),
    )


def figures_of_file(path: Path) -> Figures:
    """Return the figures of a shop with the catalogue of this file, a JSON array of coupons of one domain."""
    coupons = msgspec.json.decode(path.read_bytes(), type=list[Coupon])
    name = str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else path.name
    return figures_of(name, first_decisions(coupons))


HEADERS = (
    "Catalogue",
    "In category",
    "Elsewhere",
    "Drawn",
    "Not worth it",
    "Holdout",
    "Mean value",
    f"First {COUPONS} coupons in category",
    "Triggers that led to one",
)


def cells(figures: Figures) -> tuple[str, ...]:
    """Return the cells of one catalogue, in order of `HEADERS`."""
    counts = (
        figures.in_category,
        figures.elsewhere,
        figures.drawn_elsewhere,
        figures.not_worth_it,
        figures.holdout,
    )
    return (
        figures.catalogue,
        *map(str, counts),
        f"{figures.value_minor / 100:.2f}",
        f"{figures.in_category_ratio:.0%}" + ("" if figures.coupons == COUPONS else f" of {figures.coupons}"),
        f"{figures.triggers_ratio:.0%}",
    )


def main() -> None:
    """Measure, and print or write."""
    parser = argparse.ArgumentParser(description="The first decisions of a new shop.")
    parser.add_argument("catalogues", nargs="*", type=Path, default=SHIPPED, help="files, each a JSON array of coupons")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.add_argument("--write", action="store_true", help=f"write the table into {PAGE.relative_to(ROOT)}")
    arguments = parser.parse_args()
    all_figures = [figures_of_file(path.resolve()) for path in arguments.catalogues]
    if arguments.json:
        print(msgspec.json.encode(all_figures).decode())
    elif arguments.write:
        PAGE.write_text(with_figures(PAGE.read_text(), BEGIN, [markdown_table(HEADERS, map(cells, all_figures))]))
    else:
        table = Table(*HEADERS)
        for figures in all_figures:
            table.add_row(*cells(figures))
        stdout().print(table)


if __name__ == "__main__":
    main()
