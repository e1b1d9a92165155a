"""What content vectors are worth for coupons that nobody has seen, on drawn logs whose truth is known.

    python -m benchmarks.content
    python -m benchmarks.content --seeds 1 2 3 4 5 --dimensions 8 64 384

New coupons keep coming, and each is given to some shoppers at once, then now and then. How much a coupon appeals hangs
on its content alone, in one of three ways: along a direction that all shoppers like ("common"), along one that each
shopper likes for themselves ("personal"), or by which of a few topics it is about ("topics"). The same log is evaluated
twice through `progressive_run`, with its vectors and without. Judged are the issues of coupons of which no label was
known yet, by the ratio of both log losses; intervals are 95 % bootstraps over coupons, paired.
"""

import argparse
import json
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from stream_coupons.cli.terminal import fraction_progress, stdout
from stream_coupons.lab.datasets.foreign import take_all
from stream_coupons.lab.offline.progressive_run import run
from stream_coupons.lab.offline.scored import Scored
from stream_coupons.lab.recordings import lines
from stream_coupons.models.progressive import Interval
from stream_coupons.settings import Settings

START_AT = 1_767_348_000.0
HOUR_S = 3600.0
TRUTHS = ("common", "personal", "topics")
ISSUES_PER_COUPON = 40
SHOPPERS = 60
TOPICS = 8
INTRINSIC = 6
"""Directions along which contents differ."""
NOISE_RATIO = 0.3
BASE_LOG_ODDS = -1.5
SPREAD = 1.5
"""Standard deviation of the appeal, in log-odds."""
RESAMPLES = 1000

Floats = NDArray[np.float64]
Record = dict[str, Any]


def draw(truth: str, coupons: int, dimensions: int, seed: int) -> list[Record]:
    """A log in which a new coupon comes every ten hours, is given twenty times at once and as often later on."""
    rng = np.random.default_rng(seed)
    vectors, appeal = _contents(truth, coupons, dimensions, rng)
    records: list[Record] = []
    for coupon in range(coupons):
        hours = np.concatenate(
            [rng.uniform(0, 1, ISSUES_PER_COUPON // 2), rng.uniform(30, 400, ISSUES_PER_COUPON // 2)]
        )
        for number, hour in enumerate(np.sort(hours).tolist()):
            shopper, at = int(rng.integers(SHOPPERS)), START_AT + (10 * coupon + hour) * HOUR_S
            issue_id = f"i{coupon}-{number}"
            about = {"coupon_id": f"c{coupon}", "discount_percent": 10.0, "vector": vectors[coupon].tolist()}
            issue = {
                "type": "issue",
                "issue_id": issue_id,
                "user_id": f"u{shopper}",
                "occurred_at": at,
                "coupon": about,
            }
            records.append(issue | {"expires_at": at + 24 * HOUR_S})
            if rng.random() < 1 / (1 + math.exp(-BASE_LOG_ODDS - appeal[coupon, shopper])):
                records.append(
                    {"type": "feedback", "issue_id": issue_id, "occurred_at": at + HOUR_S, "kind": "purchase"}
                )
    return records


def _contents(truth: str, coupons: int, dimensions: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Vectors (coupons, dimensions) and appeals (coupons, SHOPPERS).

    As models' vectors do, they vary along a few directions and by some noise.
    """
    topic = rng.integers(0, TOPICS, coupons)
    centres = rng.standard_normal((TOPICS, INTRINSIC))
    spread = rng.standard_normal((coupons, INTRINSIC))
    content = centres[topic] + 0.3 * spread if truth == "topics" else spread
    vectors = content @ rng.standard_normal((INTRINSIC, dimensions))
    vectors += (
        NOISE_RATIO
        * np.linalg.norm(vectors, axis=1, keepdims=True)
        * rng.standard_normal(vectors.shape)
        / math.sqrt(dimensions)
    )
    if truth == "topics":
        return vectors, np.repeat(SPREAD * rng.standard_normal(TOPICS)[topic][:, None], SHOPPERS, axis=1)
    liked = rng.standard_normal((SHOPPERS if truth == "personal" else 1, INTRINSIC)) / math.sqrt(INTRINSIC)
    return vectors, np.broadcast_to(SPREAD * content @ liked.T, (coupons, SHOPPERS))


def without_vectors(records: Sequence[Record]) -> Iterator[Record]:
    """The same log of a system that has none."""
    for record in records:
        coupon = {name: value for name, value in record.get("coupon", {}).items() if name != "vector"}
        yield record | {"coupon": coupon} if coupon else record


def evaluate(records: Sequence[Record]) -> list[Scored]:
    """Every issue with the probabilities of its moment."""
    log = take_all(lines(json.dumps(record).encode() for record in records), "drawn")
    assert not log.refusals.count, log.refusals.first
    return [issue for issue in run(log, Settings()) if issue.redeemed is not None]


def is_unseen(issues: Sequence[Scored]) -> list[bool]:
    """Of each issue, whether no label of its coupon was known at its moment."""
    first: dict[str, float] = {}
    for issue in issues:
        if issue.labelled_at is not None:
            first[issue.coupon_id] = min(first.get(issue.coupon_id, math.inf), issue.labelled_at)
    return [issue.occurred_at < first[issue.coupon_id] for issue in issues]


def losses(issues: Sequence[Scored]) -> Floats:
    """Log loss of P(redeem) of each issue."""
    given = [issue.p_redeem if issue.redeemed else 1.0 - issue.p_redeem for issue in issues]
    return -np.log(np.clip(given, 1e-6, 1.0))


def ratio(with_vectors: Floats, without: Floats, groups: Sequence[str], seed: int = 0) -> Interval:
    """Mean loss with over mean loss without, with its interval over groups; below 1 vectors help."""
    _, member = np.unique(groups, return_inverse=True)
    sums = np.array([np.bincount(member, losses) for losses in (with_vectors, without)])
    drawn = np.random.default_rng(seed).integers(0, sums.shape[1], (RESAMPLES, sums.shape[1]))
    resampled = sums[:, drawn].sum(axis=2)
    low, high = np.quantile(resampled[0] / resampled[1], (0.025, 0.975)).tolist()
    return Interval(float(with_vectors.sum() / without.sum()), low, high)


def compare(records: Sequence[Record]) -> tuple[Interval, Interval]:
    """The ratio on issues of coupons unseen, from the second half of the log, and on all others of that half."""
    told, bare = evaluate(records), evaluate(list(without_vectors(records)))
    assert [issue.issue_id for issue in told] == [issue.issue_id for issue in bare]
    unseen = np.array(is_unseen(told))
    late = np.arange(len(told)) >= len(told) // 2
    coupons = np.array([issue.coupon_id for issue in told])
    one, other = losses(told), losses(bare)
    chosen = [late & unseen, late & ~unseen]
    return tuple(ratio(one[rows], other[rows], coupons[rows].tolist()) for rows in chosen)  # type: ignore[return-value]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--dimensions", type=int, nargs="+", default=[8, 64, 384])
    parser.add_argument("--coupons", type=int, default=150)
    asked = parser.parse_args()
    table = Table("truth", "numbers", "seed", "log loss with / without vectors, unseen coupons", "others")
    cases = [(truth, size, seed) for truth in TRUTHS for size in asked.dimensions for seed in asked.seeds]
    with fraction_progress("evaluating", len(cases)) as progress:
        for truth, size, seed in cases:
            unseen, seen = compare(draw(truth, asked.coupons, size, seed))
            cells = [f"{each.value:.3f} ({each.low:.3f} to {each.high:.3f})" for each in (unseen, seen)]
            table.add_row(truth, str(size), str(seed), *cells)
            progress.advance(progress.task_ids[0])
    stdout().print(table)


if __name__ == "__main__":
    main()
