"""How well a shopper's profile and neighbours tell what is bought next, on the Complete Journey.

    python -m benchmarks.next_category
    STREAM_COUPONS_PROFILE__HALF_LIFE_S=2419200 python -m benchmarks.next_category --json

The orders before a cut pass through the same agents as live; then every category is scored by what the agents hold: the
shopper's interests, which fade fast, their habits, which fade slowly, the sum of the neighbours' vectors, what is
related to the categories they buy, and a blend.
What households buy in the 28 days from the cut says how good that is. An exact user-based collaborative filter,
computed at once from all counts, is measured in the same run. So are blends without neighbours, and with exact ones in
place of the agents'. Settings come from the environment, so any of them can
be ablated as in the second line.

Protocol
--------
Categories are those that were ever ordered (302). An order line without a category counts nowhere.
Households count if they bought before the cut and buy something relevant within the 28 days.
Recall@10 of a household is the share of what it buys then that lies in the ten categories ranked highest for it;
the mean over households is reported (macro). What it buys is counted twice: by lines, where each order line of the
28 days counts one, and by distinct categories, where each category counts once.
"New" ranks only categories that the household never bought before the cut, and counts only those.
The same is shown once more of the households alone that a campaign was sent to (1,559), all else left as it is.
Ties go to the category whose name sorts first.
A blend adds shares: each row of scores divided by its sum. Its weights are those of all multiples of 0.1 that sum to 1
that have the greatest sum of both recalls by lines at an earlier cut, never at the judged one. So is the half-life of
the exact own scores, by lines.
Intervals are 95 % percentile intervals of a seeded bootstrap over households; differences are paired.
"""

import argparse
import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from stream_coupons.cli.terminal import fraction_progress, stdout
from stream_coupons.core.messages.inputs import OrderEvent
from stream_coupons.core.shopper.habits import unpack_habits
from stream_coupons.core.shopper.profile import DAY_S
from stream_coupons.core.shopper.state import Shopper
from stream_coupons.core.vectors.sparse import PackedVector, feature_index, unpack_vector
from stream_coupons.kafka import topics
from stream_coupons.runtime.cells import CellCodec
from stream_coupons.settings import Settings, load
from stream_coupons.testing import LocalPipeline

from . import completejourney

CUT = "2017-10-01"
EARLIER_CUT = "2017-08-01"
WINDOW_DAYS = 28
SIZE = 10
PARTS = ("interests", "habits", "neighbours", "related")
NEIGHBOURS = PARTS.index("neighbours")
WEIGHTS = [
    (i / 10, j / 10, k / 10, (10 - i - j - k) / 10) for i in range(11) for j in range(11 - i) for k in range(11 - i - j)
]
"""Of each of `PARTS`."""
WITHOUT_NEIGHBOURS = [weights for weights in WEIGHTS if not weights[NEIGHBOURS]]
BLEND = "{}: {} interests + {} habits + {} neighbours + {} related"
EXACT_NEIGHBOURS = 50
HALF_LIVES_DAYS = (14, 28, 56, 84, 112, 168)
EXACT_WEIGHTS = 0.7, 0.3
RESAMPLES = 1000
SEED = 7
COLUMNS = ("by lines", "by lines, new", "by category", "by category, new")

Matrix = NDArray[np.float64]
"""(households, categories)"""


@dataclass(frozen=True)
class Purchases:
    """Order lines that have a category, as columns; households and categories are positions in the sorted names."""

    at: NDArray[np.float64]
    household: NDArray[np.intp]
    category: NDArray[np.intp]
    households: list[str]
    categories: list[str]

    @classmethod
    def of(cls, orders: Iterable[OrderEvent]) -> "Purchases":
        """The lines of these orders."""
        lines = [
            (order.occurred_at, order.user_id, item.category)
            for order in orders
            for item in order.items
            if item.category is not None
        ]
        at, users, names = zip(*lines, strict=True)
        households, household = np.unique(np.array(users), return_inverse=True)
        categories, category = np.unique(np.array(names), return_inverse=True)
        return cls(np.array(at), household, category, households.tolist(), categories.tolist())

    def counts(self, since: float, until: float, half_life_s: float | None = None) -> Matrix:
        """Lines in [since, until) of every household and category, each worth 2^(-age / half-life) at the end."""
        picked = (since <= self.at) & (self.at < until)
        shape = len(self.households), len(self.categories)
        cell = self.household[picked] * shape[1] + self.category[picked]
        weights = None if half_life_s is None else 2.0 ** ((self.at[picked] - until) / half_life_s)
        return np.bincount(cell, weights, shape[0] * shape[1]).astype(np.float64).reshape(shape)


def recall(scores: Matrix, bought: Matrix, allowed: NDArray[np.bool_], size: int) -> NDArray[np.float64]:
    """Share of what each household bought among its `size` highest allowed scores; NaN where it bought none of them."""
    relevant = np.where(allowed, bought, 0.0)
    ranked = np.argsort(np.where(allowed, -scores, np.inf), axis=1, kind="stable")[:, :size]
    with np.errstate(invalid="ignore"):
        shares: NDArray[np.float64] = np.take_along_axis(relevant, ranked, axis=1).sum(axis=1) / relevant.sum(axis=1)
    return shares


@dataclass(frozen=True)
class Judge:
    """What is known before a cut, and what is bought after it."""

    known: Matrix
    bought: Matrix
    size: int

    @classmethod
    def at(cls, cut: float, purchases: Purchases, size: int = SIZE) -> "Judge":
        """Everything before the cut is known; the window after it is bought."""
        return cls(purchases.counts(-np.inf, cut), purchases.counts(cut, cut + WINDOW_DAYS * DAY_S), size)

    def recalls(self, scores: Matrix, columns: int = len(COLUMNS)) -> Matrix:
        """Recall of each household, shape (households, columns); NaN where a household does not count."""
        everything, new = np.ones(self.known.shape, bool), self.known == 0
        is_known = self.known.any(axis=1)[:, None]
        by_category = (self.bought > 0).astype(np.float64)
        counted = [(what, where) for what in (self.bought, by_category) for where in (everything, new)][:columns]
        found = [recall(scores, what, where, self.size) for what, where in counted]
        return np.where(is_known, np.stack(found, axis=1), np.nan)


def shares(scores: Matrix) -> Matrix:
    """Each row's part of its sum; what is negative counts nothing."""
    positive = np.maximum(scores, 0.0)
    sums = positive.sum(axis=1, keepdims=True)
    return np.divide(positive, sums, out=np.zeros_like(positive), where=sums > 0)


def blend(parts: Sequence[Matrix], weights: Sequence[float]) -> Matrix:
    """The parts' shares, each times its weight, added."""
    return sum((weight * shares(part) for weight, part in zip(weights, parts, strict=True)), np.zeros(()))


def exact_neighbours(counts: Matrix, size: int = EXACT_NEIGHBOURS) -> Matrix:
    """sum_j sim(u, j) c(j) over the `size` nearest households by cosine of the counts, all at once."""
    lengths = np.linalg.norm(counts, axis=1, keepdims=True)
    unit = np.divide(counts, lengths, out=np.zeros_like(counts), where=lengths > 0)
    similarity = unit @ unit.T
    np.fill_diagonal(similarity, 0.0)
    nearest = np.argsort(-similarity, axis=1, kind="stable")[:, :size]
    kept = np.zeros_like(similarity)
    np.put_along_axis(kept, nearest, np.take_along_axis(similarity, nearest, axis=1), axis=1)
    return kept @ counts


def states(
    orders: Iterable[OrderEvent],
    cuts: Sequence[float],
    purchases: Purchases,
    settings: Settings,
    advance: Callable[[], None] = lambda: None,
) -> list[list[Matrix]]:
    """`PARTS` by category as the live agents hold them at each cut; cuts ascend."""
    pipeline = LocalPipeline(settings, [], on_output=lambda _: None)
    left, found = list(cuts), []
    for order in orders:
        while left and order.occurred_at >= left[0]:
            found.append(_held(pipeline, purchases))
            del left[0]
        if not left:
            break
        pipeline.publish(order)
        advance()
    return found + [_held(pipeline, purchases) for _ in left]


def _weights(packed: PackedVector) -> dict[int, float]:
    indices, weights = unpack_vector(packed)
    return dict(zip(indices.tolist(), weights.tolist(), strict=True))


def _held(pipeline: LocalPipeline, purchases: Purchases) -> list[Matrix]:
    codec: CellCodec[Shopper] = CellCodec(Shopper)
    features = [feature_index(f"category:{name}") for name in purchases.categories]
    row = {name: i for i, name in enumerate(purchases.households)}
    parts = [np.zeros((len(row), len(features))) for _ in PARTS]
    for agent, _, user_id, cell in pipeline.states():
        if agent == "users" and user_id in row:
            shopper = codec.decode(cell).state
            indices, counts, _ = unpack_habits(shopper.profile.habits)
            habits = dict(zip(indices, counts, strict=True))
            near, related = (_weights(packed) for packed in (shopper.neighbourhood.packed, shopper.related.packed))
            vectors = shopper.profile.interests, habits, near, related
            for matrix, vector in zip(parts, vectors, strict=True):
                matrix[row[user_id]] = [vector.get(feature, 0.0) for feature in features]
    return parts


def interval(values: NDArray[np.float64], seed: int = SEED) -> tuple[float, float, float]:
    """(mean, lower, upper) of the values that are no NaN: 95 % of resampled means."""
    values = values[~np.isnan(values)]
    chance = np.random.default_rng(seed)
    means = [values[chance.integers(0, len(values), len(values))].mean() for _ in range(RESAMPLES)]
    lower, upper = np.percentile(means, [2.5, 97.5])
    return float(values.mean()), float(lower), float(upper)


def compare(
    purchases: Purchases,
    cuts: tuple[float, float],
    held: Sequence[Sequence[Matrix]],
    targeted: Collection[str] = (),
    size: int = SIZE,
) -> dict[str, Any]:
    """Every way of scoring at the second cut; what is to be chosen is chosen at the first."""
    earlier = Judge.at(cuts[0], purchases, size)

    def earlier_recall(scores: Matrix, columns: int) -> float:
        found = earlier.recalls(scores, columns).T
        return sum(float(np.nanmean(one)) for one in found if not np.isnan(one).all())

    def sums(parts: Sequence[Matrix]) -> dict[tuple[float, ...], float]:
        return {weights: earlier_recall(blend(parts, weights), 2) for weights in WEIGHTS}

    found = sums(held[0])
    chosen, chosen_alone = (max(each, key=found.__getitem__) for each in (WEIGHTS, WITHOUT_NEIGHBOURS))
    half_life_days = max(
        HALF_LIVES_DAYS, key=lambda days: earlier_recall(purchases.counts(-np.inf, cuts[0], days * DAY_S), 1)
    )
    judge = Judge.at(cuts[1], purchases, size)
    exact_own = purchases.counts(-np.inf, cuts[1], half_life_days * DAY_S)
    exact_near = exact_neighbours(judge.known)
    found_exact = sums(_with_neighbours(held[0], exact_neighbours(earlier.known)))
    chosen_exact = max(WEIGHTS, key=found_exact.__getitem__)
    scored = {
        "popularity": np.tile(judge.known.sum(axis=0), (len(judge.known), 1)),
        "exact: own": exact_own,
        "exact: neighbours": exact_near,
        "exact: {} own + {} neighbours".format(*EXACT_WEIGHTS): blend([exact_own, exact_near], EXACT_WEIGHTS),
        **{f"ours: {name}": part for name, part in zip(PARTS, held[1], strict=True)},
    }
    reference = judge.recalls(scored["exact: {} own + {} neighbours".format(*EXACT_WEIGHTS)])
    blends = {
        BLEND.format("ours", *chosen): blend(held[1], chosen),
        BLEND.format("without neighbours", *chosen_alone): blend(held[1], chosen_alone),
        BLEND.format("exact neighbours", *chosen_exact): blend(_with_neighbours(held[1], exact_near), chosen_exact),
    }
    recalls = {name: judge.recalls(scores) for name, scores in (scored | blends).items()}
    ours, without, with_exact = [*recalls.values()][-len(blends) :]
    recalls["difference, ours - exact"] = ours - reference
    recalls["difference, ours - without neighbours"] = ours - without
    recalls["difference, exact neighbours - without"] = with_exact - without
    recalls["difference, exact neighbours - ours"] = with_exact - ours
    is_targeted = np.isin(purchases.households, list(targeted))
    return {
        "households": int(np.sum(~np.isnan(ours[:, 0]))),
        "households_new": int(np.sum(~np.isnan(ours[:, 1]))),
        "households_targeted": int(np.sum(~np.isnan(ours[is_targeted, 0]))),
        "categories": len(purchases.categories),
        "weights": chosen,
        "exact_half_life_days": half_life_days,
        "rows": _means(recalls),
        "rows_targeted": _means({name: values[is_targeted] for name, values in recalls.items()}) if targeted else {},
    }


def _with_neighbours(parts: Sequence[Matrix], neighbours: Matrix) -> list[Matrix]:
    return [*parts[:NEIGHBOURS], neighbours, *parts[NEIGHBOURS + 1 :]]


def _means(recalls: Mapping[str, Matrix]) -> dict[str, dict[str, tuple[float, float, float]]]:
    return {
        name: {column: interval(values[:, i]) for i, column in enumerate(COLUMNS)} for name, values in recalls.items()
    }


def table(title: str, rows: Mapping[str, Mapping[str, tuple[float, float, float]]]) -> Table:
    """What `compare` found, to read."""
    shown = Table("recall@10 (95 % interval)", *COLUMNS, title=title)
    for name, columns in rows.items():
        cells = (f"{mean:.3f} ({lower:.3f} to {upper:.3f})" for mean, lower, upper in columns.values())
        shown.add_row(name, *cells)
    return shown


def epoch(date: str) -> float:
    """The UTC midnight at which a day begins."""
    return datetime.strptime(date, "%Y-%m-%d").replace(tzinfo=UTC).timestamp()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cut", type=epoch, default=epoch(CUT), help=f"what is judged begins here (default: {CUT})")
    parser.add_argument(
        "--earlier-cut", type=epoch, default=epoch(EARLIER_CUT), help=f"chooses weights (default: {EARLIER_CUT})"
    )
    parser.add_argument("--households", type=int, help="a sample of this many (default: all)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    cuts = options.earlier_cut, options.cut
    if cuts[1] < cuts[0] + WINDOW_DAYS * DAY_S:
        parser.error(f"the cut must lie at least {WINDOW_DAYS} days after the earlier cut, whose window it would enter")
    settings = load()
    journey = completejourney.load(households=options.households)
    orders = [message for topic, message in journey.events() if topic == topics.ORDER.name]
    purchases = Purchases.of(orders)
    fed = sum(order.occurred_at < cuts[1] for order in orders)
    with fraction_progress("orders", fed) as progress:
        held = states(orders, cuts, purchases, settings, lambda: progress.advance(progress.task_ids[0]))
    found = compare(purchases, cuts, held, set(journey.issues["user_id"]))
    if options.json:
        print(json.dumps(found))
        return
    stdout().print(table(f"{found['households']} households", found["rows"]))
    stdout().print(table(f"the {found['households_targeted']} that a campaign was sent to", found["rows_targeted"]))
    stdout().print(
        f"{found['households_new']} households with new categories; {found['categories']} categories; "
        f"{RESAMPLES} resamples, seed {SEED}"
    )


if __name__ == "__main__":
    main()
