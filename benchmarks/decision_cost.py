"""CPU of scoring a decision alone and in batches, against another checkout: features, prediction and value.

    python -m benchmarks.decision_cost --base ../other-checkout

Both checkouts play the same stream and keep some hundred triggers of shoppers with a past. Each scores them again and
again, alone and in batches; the two take turns, and the median ratio of neighbouring turns counts. What a decision
draws and books is not part of it. A checkout from before the table of candidates calls that work `candidates.score`.
"""

import argparse
import copy
import gc
import importlib
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

PARTITIONS, FILL, KEPT, MOST = 4, 4000, 2000, 200
"""Partitions; events that are played before triggers are kept, and while they are; most triggers kept."""
SIZES = (1, 10, 100)


def scored(coupons: int) -> tuple[list[Any], Callable[[Sequence[Any]], Any]]:
    """Return triggers of a stream, as they were before they were decided, and the function that scores some."""
    profile, users = (
        importlib.import_module("benchmarks.profile"),
        importlib.import_module("stream_coupons.agents.users"),
    )
    is_table = hasattr(users.pipeline, "valued")
    score = users.pipeline.decide if is_table else importlib.import_module(users.pipeline.score.__module__).score
    triggers, known = list[Any](), list[Any]()

    def kept(works: Sequence[Any], knowledge: Any) -> Any:
        known[:] = [knowledge]
        triggers.extend(copy.deepcopy(list(works), {id(each.coupons): each.coupons for each in works}))
        return score(works, knowledge)

    workload = profile.Workload(events=FILL + KEPT, shoppers=FILL // 4, coupons=coupons)
    owners, records, logs = profile.pipeline(workload, PARTITIONS)
    profile.drive(owners, records[:FILL], logs, 8)
    setattr(users.pipeline, "decide" if is_table else "score", kept)
    profile.drive(owners, records[FILL:], logs, 8)
    setattr(users.pipeline, "decide" if is_table else "score", score)
    return triggers[:MOST], lambda works: score(works, known[0])


def serve(coupons: int) -> None:
    """Read sizes of batches, one a line, and answer each with the CPU a decision in seconds."""
    triggers, score = scored(coupons)
    gc.disable()  # a worker collects rarely
    for line in sys.stdin:
        size, began = int(line), time.process_time()
        for first in range(0, len(triggers), size):
            score(triggers[first : first + size])
        print((time.process_time() - began) / len(triggers), flush=True)


def main() -> None:
    """Print a row for each number of coupons and each size of batches."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path, help="root of the checkout to compare with")
    parser.add_argument("--coupons", type=int, nargs="+", default=[50, 5000], help="(default: %(default)s)")
    parser.add_argument("--turns", type=int, default=15, help="(default: %(default)s)")
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve is not None:
        serve(options.serve)
        return
    from benchmarks.checkout import ROOT, Checkout  # here, for the other checkout runs this file, too

    for coupons in options.coupons:
        checkouts = [Checkout(root, __file__, "--serve", str(coupons)) for root in (ROOT, options.base or ROOT)]
        for size in SIZES:
            turns = [[float(each.ask(str(size))) for each in checkouts] for _ in range(options.turns + 1)][1:]
            ours, base = (statistics.median(times) * 1e6 for times in zip(*turns, strict=True))
            ratio = statistics.median(one / other for one, other in turns)
            print(f"{coupons:5} coupons, batches of {size:3}: {ours:6.0f} µs, base {base:6.0f} µs, ratio {ratio:.3f}")


if __name__ == "__main__":
    main()
