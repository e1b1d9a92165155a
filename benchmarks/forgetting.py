"""Gain and cost of forgetting: the Kalman filter on synthetic logs with and without drift.

    python -m benchmarks.forgetting --examples 12000 --seeds 1 2 3

A label is drawn by a logistic model of six numbers, five categories and one crossed pair. In `none` its weights stay,
in `steady` they move from one draw to another over the whole log, in `abrupt` they change at once after half of it.
Progressive log loss (test, then learn) of the filter that never forgets, of the filter that searches among `RATES`,
and of River's logistic regression on the same inputs, beside that of the true probabilities. Microseconds are CPU for
each example, its encoding included.
"""

import argparse
import math
import time
from collections.abc import Callable, Iterator

import numpy as np
from rich.table import Table
from river import linear_model, optim

from stream_coupons.cli.terminal import stdout
from stream_coupons.core.features.numeric import NUMERIC
from stream_coupons.core.features.rows import DIMENSIONS
from stream_coupons.models.champion import log_loss
from stream_coupons.models.inputs import Row
from stream_coupons.models.kalman import KalmanFilter
from stream_coupons.models.registry import make_model
from stream_coupons.models.rules import LearningRules, ModelName

LEVELS = (10, 20, 50, 8, 10)
NUMBERS = 6
RATES = [1.0, 0.9, 0.7]
INTERCEPT = -1.5
KINDS: dict[str, Callable[[float], float]] = {
    "none": lambda _: 0.0,
    "steady": lambda progress: progress,
    "abrupt": lambda progress: float(progress > 0.5),
}
"""Distance that the true weights have moved, as a function of the share of the log that is over."""

Example = tuple[Row, dict[str, float], bool, float]
"""(the filter's row, River's features, label, true probability)."""


def examples(kind: str, count: int, seed: int) -> Iterator[Example]:
    """Draw a log."""
    chance = np.random.default_rng(seed)
    sizes = (NUMBERS, *LEVELS, LEVELS[0] * LEVELS[-1])
    before, after = ([chance.normal(0.0, 0.6, size) for size in sizes] for _ in range(2))
    places = [chance.integers(1, DIMENSIONS, size) for size in sizes[1:]]
    where = np.linspace(5, len(NUMERIC) - 5, NUMBERS).astype(int)
    for n in range(count):
        moved = KINDS[kind](n / count)
        numbers = 2.0 * chance.random(NUMBERS)
        drawn = [int(chance.integers(0, size)) for size in LEVELS]
        drawn.append(drawn[0] * LEVELS[-1] + drawn[-1])

        def log_odds(weights: list[np.ndarray], numbers: np.ndarray = numbers, drawn: list[int] = drawn) -> float:
            of_categories = sum(of_level[level] for of_level, level in zip(weights[1:], drawn, strict=True))
            return float((numbers - 1.0) @ weights[0] + of_categories)

        true = 1.0 / (1.0 + math.exp(-INTERCEPT - (1.0 - moved) * log_odds(before) - moved * log_odds(after)))
        numeric = np.zeros(len(NUMERIC))
        numeric[where] = numbers
        hashed = [
            int(of[level]) + (group + 1) * DIMENSIONS
            for group, (of, level) in enumerate(zip(places, drawn, strict=True))
        ]
        plain = {f"n{i}": float(number) for i, number in enumerate(numbers)}
        plain |= {f"c{i}={level}": 1.0 for i, level in enumerate(drawn)}
        yield Row(numeric, hashed), plain, bool(chance.random() < true), true


def measure(log: list[Example], rates: list[float]) -> tuple[float, float, float]:
    """(mean log loss of the filter with these rates, microseconds an example, the rate in use at the end)."""
    model = make_model(ModelName.KALMAN, "redeem", LearningRules(forgetting_rates=rates))
    assert isinstance(model, KalmanFilter)
    began = time.process_time()
    loss = sum(log_loss(model.learn_one(Row(row.numeric, row.hashed), label), label) for row, _, label, _ in log)
    return loss / len(log), (time.process_time() - began) / len(log) * 1e6, model.forgetting.rate


def river(log: list[Example]) -> float:
    """Mean log loss of River's logistic regression."""
    model, loss = linear_model.LogisticRegression(optim.SGD(0.05)), 0.0
    for _, plain, label, _ in log:
        loss += log_loss(model.predict_proba_one(plain).get(True, 0.5), label)
        model.learn_one(plain, label)
    return loss / len(log)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=12_000, help="of each log (default: %(default)s)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3], help="(default: 1 2 3)")
    given = parser.parse_args()
    names = ("truth", "never forgets", "searched", "difference", "rate", "River LR", "us never", "us searched")
    table = Table("drift", "seed", *names, title=f"log loss over {given.examples} examples")
    for kind in KINDS:
        for seed in given.seeds:
            log = list(examples(kind, given.examples, seed))
            true = sum(log_loss(true, label) for *_, label, true in log) / len(log)
            never, us_never, _ = measure(log, [1.0])
            searched, us_searched, rate = measure(log, RATES)
            losses = (f"{each:.4f}" for each in (true, never, searched))
            speed = (f"{us_never:.0f}", f"{us_searched:.0f}")
            table.add_row(
                kind, str(seed), *losses, f"{searched - never:+.4f}", f"{rate:g}", f"{river(log):.4f}", *speed
            )
    stdout().print(table)


if __name__ == "__main__":
    main()
