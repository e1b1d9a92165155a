"""CPU and state bytes of a report on a budget by the number of partitions, against another checkout.

    python -m benchmarks.report_cost
    python -m benchmarks.report_cost --base ../other-checkout --partitions 4 200

Partitions report in turn on one campaign with a price, each every 5 s; one report in ten asks for more. The agent
`budgets` applies each in a batch of its own, encodes what changed and saves it. With `--base` both checkouts take
turns, and the median ratio of neighbouring turns counts.
"""

import argparse
import gc
import importlib
import itertools
import random
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

AT, CAMPAIGN, REPORTS = 1_900_000_000.0, "campaign:spring", 500
"""Time of the first report, the account, and reports in a turn."""


def reports(partitions: int) -> Iterator[dict[str, Any]]:
    """Yield the reports of partitions in turn, without end."""
    draw, drawn, spent, closed = random.Random(7), [0] * partitions, [0] * partitions, [0] * partitions
    for number in range(sys.maxsize):
        home = number % partitions
        drawn[home] += draw.randrange(100)
        spent[home] = min(spent[home] + draw.randrange(30), drawn[home])
        closed[home] += draw.random() < 0.3
        yield {
            "account_id": CAMPAIGN, "partition": home, "at": AT + 5.0 * number / partitions, "version": 0, "granted": 0,
            "drawn": drawn[home], "spent": spent[home], "closed": closed[home], "asks": draw.random() < 0.1,
            "expected": (1e3 + draw.random(), 1e-7), "variance": (1e5 + draw.random(), 1e-5),
            "over_expected": float(spent[home]), "over_spent": spent[home],
            "demand": [round(drawn[home] * 7.3 / (price + 1), 3) for price in range(32)],
        }  # fmt: skip


def serve(partitions: int) -> None:
    """Answer each line with the CPU of a report in seconds, and the bytes that it saves."""
    names = (
        "benchmarks.profile",
        "benchmarks.same_bytes",
        "stream_coupons.agents.keyed",
        "stream_coupons.agents.budgets",
    )
    profile, bytes_now, keyed, budgets = map(importlib.import_module, names)
    lease_report = importlib.import_module("stream_coupons.core.messages.leases").LeaseReport
    campaign = bytes_now.Campaign(
        campaign_id="spring", budget_minor=10_000_000 * partitions, budget_curve="even", starts_at=AT,
        ends_at=AT + 30 * 86400.0,
    )  # fmt: skip
    coupon = bytes_now.Coupon(coupon_id="tea", campaign_id="spring", max_discount_minor=500)
    known = bytes_now.Knowledge(bytes_now.RULES, bytes_now.Catalogue([coupon], AT, campaigns=[campaign]), {}, None)
    owner, logs = profile.Owner(budgets.Budgets(lambda: known, partitions), partitions), profile.Logs()
    home = profile.topics.partition_for(CAMPAIGN.encode(), partitions)
    told, saved, save = reports(partitions), [0], owner.batches.save

    def counted(result: Any) -> None:
        saved[0] += sum(len(key) + len(data) for key, data in result.cells.items())
        save(result)

    owner.batches.save = counted
    gc.disable()  # a worker collects rarely
    for count in itertools.chain([2 * partitions], (REPORTS for _ in sys.stdin)):
        messages = [keyed.output(lease_report(**next(told)), partitions) for _ in range(count)]
        keyed.internal.sign(messages, bytes_now.RULES.key)
        records = [logs.append(one.topic, home, one.key, one.value, one.headers) for one in messages]
        saved[0], began = 0, time.process_time()
        for record in records:
            owner.waiting.append(record)
            for _ in owner.turn(1):
                pass
        if count == REPORTS:
            print((time.process_time() - began) / count, saved[0] // count, flush=True)


def main() -> None:
    """Print a row for each number of partitions."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path, help="root of the checkout to compare with")
    parser.add_argument("--partitions", type=int, nargs="+", default=[4, 50, 200, 1000], help="(default: %(default)s)")
    parser.add_argument("--turns", type=int, default=7, help="(default: %(default)s)")
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve is not None:
        serve(options.serve)
        return
    from benchmarks.checkout import ROOT, Checkout  # here, for the other checkout runs this file, too

    for partitions in options.partitions:
        checkouts = [Checkout(root, __file__, "--serve", str(partitions)) for root in (ROOT, options.base or ROOT)]
        turns = [[each.ask("").split() for each in checkouts] for _ in range(options.turns)]
        (ours, base), (size, base_size) = (
            [statistics.median(float(each[figure]) for each in of_one) for of_one in zip(*turns, strict=True)]
            for figure in (0, 1)
        )
        ratio = statistics.median(float(one[0]) / float(other[0]) for one, other in turns)
        print(
            f"{partitions:5} partitions: {ours * 1e6:6.0f} µs and {size:8,.0f} bytes a report, "
            f"base {base * 1e6:6.0f} µs and {base_size:8,.0f} bytes, ratio of CPU {ratio:.3f}"
        )


if __name__ == "__main__":
    main()
