"""How fast the logs of other systems are evaluated: issues per second of CPU time.

    python -m benchmarks.foreign
    python -m benchmarks.foreign --log log.jsonl --json
    python -m benchmarks.foreign --issues 20000 --write log.jsonl

Without `--log` the log is drawn: one randomised decision for each shopper among two coupons and none, with a context of
16 keys and an outcome within the day, the shape of a marketing experiment as it is published. `evaluate` scores what
was given, `ope` all arms of each decision. Both are measured from the parsed log to the last label, in one process on
one core; reading the file is measured apart.
"""

import argparse
import json
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.table import Table

from stream_coupons.cli.terminal import stdout
from stream_coupons.kafka.codec import encode
from stream_coupons.ops.recordings import lines
from stream_coupons.settings import Settings
from stream_coupons.worker.memory import collect_rarely
from stream_coupons_lab.datasets.foreign import ForeignLog, take_all
from stream_coupons_lab.offline.progressive_run import run

START_AT = 1_767_225_600.0
DAY_S = 86400.0
ARMS = ("none", "tea", "toys")
TEXTS, NUMBERS = 10, 6
"""Keys of the context."""


def drawn(issues: int, seed: int = 0) -> Iterator[dict[str, Any]]:
    """The lines of a randomised log: what a shopper buys depends on the arm and on two keys of the context."""
    rng = random.Random(seed)
    for number in range(issues):
        at = START_AT + 60.0 * number
        arm = rng.choice(ARMS)
        context: dict[str, str | float] = {f"text {key}": f"value {rng.randrange(4)}" for key in range(TEXTS)}
        context |= {f"number {key}": round(rng.lognormvariate(3.0, 1.0), 2) for key in range(NUMBERS)}
        yield {
            "type": "issue",
            "issue_id": f"i{number}",
            "user_id": f"u{number}",
            "occurred_at": at,
            "expires_at": at + DAY_S,
            "coupon": None if arm == "none" else {"coupon_id": arm, "discount_percent": 20, "margin_ratio": 0.4},
            "arms": list(ARMS),
            "propensity": 1 / len(ARMS),
            "context": context,
        }
        likes = context["text 0"] == "value 0" and arm == "tea"
        chance = 0.05 + 0.15 * likes + 0.05 * (arm == "toys") + 0.05 * (context["text 1"] == "value 1")
        if rng.random() < chance:
            yield {
                "type": "feedback",
                "issue_id": f"i{number}",
                "occurred_at": at + rng.uniform(0.0, DAY_S),
                "kind": "purchase",
                "order_value_minor": rng.randrange(500, 5000),
            }
    # The last windows close, too.
    end = START_AT + 60.0 * issues + 2 * DAY_S
    yield {"type": "browse", "user_id": "last", "occurred_at": end, "item": {"item_id": "tea"}}


def timed_read(content: bytes, name: str) -> tuple[ForeignLog, float]:
    """Return the log and the CPU seconds that reading it took."""
    began = time.process_time()
    log = take_all(lines(content.splitlines(keepends=True)), name)
    return log, time.process_time() - began


def issues_per_second(log: ForeignLog, *, score_arms: bool) -> float:
    """Return how many issues are scored, and learnt from, in a second of CPU time."""
    collect_rarely()
    began = time.process_time()
    scored = run(log, Settings(), score_arms=score_arms)
    return len(scored) / (time.process_time() - began)


def main(arguments: list[str]) -> None:
    """Measure, and print a table or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--log", type=Path, help="a foreign log in place of the one that is drawn")
    parser.add_argument("--issues", type=int, default=5000, help="issues of the log that is drawn")
    parser.add_argument("--write", type=Path, help="write the log that is drawn here, and measure nothing")
    parser.add_argument("--json", action="store_true", help="print JSON in place of a table")
    options = parser.parse_args(arguments)
    content = (
        options.log.read_bytes() if options.log else b"".join(encode(each) + b"\n" for each in drawn(options.issues))
    )
    if options.write:
        options.write.write_bytes(content)
        return
    name = str(options.log) if options.log else f"{options.issues} issues drawn"
    log, reading_s = timed_read(content, name)
    issues = log.counts["issue"]
    found = {
        "log": name,
        "issues": issues,
        "records": len(log),
        "read": issues / reading_s,
        "evaluate": issues_per_second(log, score_arms=False),
        "ope": issues_per_second(log, score_arms=True),
    }
    if options.json:
        print(json.dumps(found))
        return
    table = Table("", "issues per CPU second", title=f"{name}: {issues:,} issues, {len(log):,} records")
    for part in ("read", "evaluate", "ope"):
        table.add_row(part, f"{found[part]:,.0f}")
    stdout().print(table)


if __name__ == "__main__":
    main(sys.argv[1:])
