"""Measure near shoppers: how many of the nearest are found, and what margin they earn.

    python -m benchmarks.neighbours --shoppers 10000 100000
    python -m benchmarks.neighbours --worlds standard outlet apothecary --seeds 1 2 3 4 5 6

**Recall.** Simulated shoppers send their vectors, and a tenth of them a second one. Then 500 of them send theirs again:
recall@20 is the share of the answer among the 20 nearest of all shoppers by exact cosine. Times are of a vector with
its search. If `faiss` can be imported, an IVF index that is trained on the first vectors follows the same stream.

**Margin.** The engine plays each world with the search switched off, as set, and exact: all shoppers of a domain in one
bucket that nobody leaves. Differences are paired by seed. Ctrl-C shows what is finished.
"""

import argparse
import math
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from importlib.util import find_spec
from itertools import count

import numpy as np
import threadpoolctl
from msgspec.structs import replace
from numpy.typing import NDArray
from rich.table import Table
from scipy import stats

from stream_coupons.cli.terminal import stdout
from stream_coupons.core.messages.neighbours import UserVector
from stream_coupons.core.neighbours.buckets import MAX_INTERESTS, BucketMember, BucketVectors, departure, update
from stream_coupons.core.vectors.sparse import damp, feature_index, simhash, top
from stream_coupons.settings import Settings, load
from stream_coupons_lab.demo.play import NEVER_S

from . import money_runs
from .worlds.runs import ENGINE, Shop, WorldTask

FEATURES, TASTES, VIEWS = 256, 40, 40.0
"""Parameters of the simulated shoppers: categories and brands, tastes mixed by each shopper, mean number of views."""
SAMPLED, NEAREST = 500, 20
ARMS: Mapping[str, Mapping[str, float]] = {
    "off": {"publish_every_s": NEVER_S},
    "as set": {},
    "exact": {"cells": 1, "max_members": 1_000_000},
}

Weights = NDArray[np.float32]
"""Damped weights, shape (shoppers, `FEATURES`)."""
Search = tuple[Callable[[int, NDArray[np.float32]], Sequence[int]], Callable[[], int]]
"""Takes a shopper's vector and returns the nearest shoppers; returns the number of shoppers that can be found."""


def shoppers_of(size: int, chance: np.random.Generator) -> tuple[Weights, Weights]:
    """Return the first and the latest vectors of simulated shoppers; a tenth of them differ."""
    tastes = chance.dirichlet(np.full(FEATURES, 0.05), TASTES)
    first = np.empty((size, FEATURES), np.float32)
    for begin in range(0, size, 10_000):
        part = first[begin : begin + 10_000]
        views = VIEWS * chance.lognormal(-0.5, 1.0, len(part))
        rates = chance.dirichlet(np.full(TASTES, 0.2), len(part)) @ tastes * views[:, None]
        part[:] = damp(chance.poisson(rates).astype(np.float64))
        part[np.arange(len(part)), chance.integers(0, FEATURES, len(part))] += 1.0
    latest = first.copy()
    latest[chance.choice(size, size // 10, replace=False), chance.integers(0, FEATURES, size // 10)] += 1.0
    return first, latest


def nearest_exact(weights: Weights, sampled: NDArray[np.intp]) -> list[set[int]]:
    """Return the `NEAREST` other shoppers of each sampled one by exact cosine."""
    unit = weights / np.linalg.norm(weights, axis=1, keepdims=True)
    nearest = [np.argpartition(-(unit @ unit[shopper]), NEAREST)[: NEAREST + 1] for shopper in sampled]
    return [set(found.tolist()) - {int(shopper)} for found, shopper in zip(nearest, sampled, strict=True)]


def buckets() -> Search:
    """Return the engine's search, by its settings."""
    rules = load().neighbourhood
    indices = [feature_index(f"category:{number}") for number in range(FEATURES)]
    cells: defaultdict[int, BucketVectors] = defaultdict(lambda: BucketVectors(rules))
    members: defaultdict[tuple[int, int], BucketMember] = defaultdict(BucketMember)
    cell_of, clock = dict[int, int](), map(float, count())

    def follow(shopper: int, weights: NDArray[np.float32]) -> Sequence[int]:
        vector = top({indices[each]: float(weights[each]) for each in np.flatnonzero(weights)}, MAX_INTERESTS)
        cell, user, at = simhash(vector, rules.cells), str(shopper), next(clock)
        before, cell_of[shopper] = cell_of.get(shopper, cell), cell
        if before != cell:
            update(members[before, shopper], departure(user, str(before), at), cells[before])
        message = UserVector(user_id=user, cell=str(cell), at=at, indices=list(vector), weights=list(vector.values()))
        answers = update(members[cell, shopper], message, cells[cell]).messages
        return [int(each.user_id) for each in answers[0].neighbours] if answers else []

    return follow, lambda: sum(map(len, cells.values()))


def inverted_file(first: Weights) -> Search:
    """Return faiss's IVF index of 4 sqrt(n) lists, of which it reads 1 in 16."""
    import faiss  # no dependency

    lists = int(4 * len(first) ** 0.5)
    index = faiss.IndexIVFFlat(faiss.IndexFlatIP(FEATURES), FEATURES, lists, faiss.METRIC_INNER_PRODUCT)
    index.cp.niter, trained = 10, first[: 40 * lists]
    index.train(trained / np.linalg.norm(trained, axis=1, keepdims=True))
    index.set_direct_map_type(faiss.DirectMap.Hashtable)
    index.nprobe = max(lists // 16, 1)
    known: set[int] = set()

    def follow(shopper: int, weights: NDArray[np.float32]) -> Sequence[int]:
        unit, ids = (weights / np.linalg.norm(weights))[None], np.array([shopper])
        if shopper in known:
            index.remove_ids(faiss.IDSelectorArray(ids))
        known.add(shopper)
        index.add_with_ids(unit, ids)
        found: list[int] = index.search(unit, NEAREST + 1)[1][0].tolist()
        return [each for each in found if each != shopper][:NEAREST]

    return follow, lambda: int(index.ntotal)


def recalls(sizes: Sequence[int]) -> Table:
    """Return recall, findable shoppers and time of a vector, by number of shoppers and kind of search."""
    table = Table("shoppers", "search", f"recall@{NEAREST} (95 % interval)", "can be found", "us a vector")
    for size in sizes:
        chance = np.random.default_rng(1)
        first, latest = shoppers_of(size, chance)
        sampled = chance.choice(size, min(SAMPLED, size), replace=False)
        exact = nearest_exact(latest, sampled)
        changed = np.flatnonzero((first != latest).any(axis=1)).tolist()
        stream = [*((shopper, first) for shopper in range(size)), *((shopper, latest) for shopper in changed)]
        searches = {"engine": buckets()} | ({"faiss IVF": inverted_file(first)} if find_spec("faiss") else {})
        for name, (follow, known) in searches.items():
            began = time.process_time()
            for shopper, weights in stream:
                follow(shopper, weights[shopper])
            answers = [follow(shopper, latest[shopper]) for shopper in sampled.tolist()]
            spent_us = (time.process_time() - began) / (len(stream) + len(sampled)) * 1e6
            shares = [len(near & set(found)) / NEAREST for near, found in zip(exact, answers, strict=True)]
            table.add_row(f"{size:,}", name, interval(shares, 3), f"{known():,}", f"{spent_us:.0f}")
    return table


def margin_of(world: str, seed: int, shoppers: int, days: int, settings: Settings) -> float:
    """Return the expected incremental margin of the engine in a world, in whole currency units."""
    if world in money_runs.WORLDS:
        configuration = money_runs.Configuration(world=world, shoppers=shoppers, days=days)
        return money_runs.Task("learned", seed, configuration, money_runs.settings_of(settings), "", "").play().margin
    shop = Shop(world=world, shoppers=shoppers, days=float(days))
    return WorldTask(ENGINE, seed, shop, settings, "", "").play().outcome.margin_minor / 100


def interval(values: Sequence[float], digits: int = 0) -> str:
    """Return the mean of values with its 95 % interval by Student's t, as text."""
    mean = float(np.mean(values))
    if len(values) < 2:
        return f"{mean:,.{digits}f}"
    half = float(stats.t.ppf(0.975, len(values) - 1) * stats.sem(values))
    return f"{mean:,.{digits}f} ({mean - half:,.{digits}f} to {mean + half:,.{digits}f})"


def margins(worlds: Sequence[str], seeds: Sequence[int], shoppers: int, days: int) -> Table:
    """Return the margins by world and arm."""
    base, runs = load(), {world: list[list[float]]() for world in worlds}
    settings = [replace(base, neighbourhood=replace(base.neighbourhood, **arm)) for arm in ARMS.values()]
    with suppress(KeyboardInterrupt), threadpoolctl.threadpool_limits(1):
        for seed in seeds:
            for world in worlds:
                runs[world].append([margin_of(world, seed, shoppers, days, each) for each in settings])
    table = Table("margin (95 % interval)", "seeds", *ARMS, "as set - off", "exact - as set", "exact - off")
    for world, found in runs.items():
        if found:
            off, as_set, exact = np.array(found).T
            columns = (off, as_set, exact, as_set - off, exact - as_set, exact - off)
            table.add_row(world, str(len(found)), *(interval(column.tolist()) for column in columns))
    return table


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shoppers", nargs="+", type=int, default=[], metavar="SIZE", help="measure recall at these")
    parser.add_argument("--worlds", nargs="+", default=[], metavar="NAME", help="measure the margin in these")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3, 4, 5, 6], help="of the worlds: 1 to 6")
    parser.add_argument("--world-shoppers", type=int, default=400, metavar="SIZE", help="of each world: 400")
    parser.add_argument("--days", type=int, default=14, help="of simulated time in each world: 14")
    options = parser.parse_args()
    if not options.shoppers and not options.worlds:
        parser.error("nothing to measure: give --shoppers for recall, --worlds for the margin")
    if min(options.shoppers, default=math.inf) <= NEAREST:
        parser.error(f"--shoppers: expected more than {NEAREST}")
    if options.shoppers:
        stdout().print(recalls(options.shoppers))
    if options.worlds:
        stdout().print(margins(options.worlds, options.seeds, options.world_shoppers, options.days))


if __name__ == "__main__":
    main()
