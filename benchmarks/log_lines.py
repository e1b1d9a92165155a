"""Count the lines that a worker and its learner log: at their start, while nothing happens, and while Kafka is away.

    python -m benchmarks.log_lines
    python -m benchmarks.log_lines --quiet 600 --away 180 --engine kafka --log worker.log

Starts a broker and one worker with its learner, waits without any event, kills the broker, starts it again, and waits
until both go on. All lines go to --log.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from benchmarks.command import number
from loopback_kafka import open_broker
from stream_coupons.settings import Settings
from stream_coupons.testing import coupon
from stream_coupons_lab.demo.system import LocalSystem

SETTLES_S = 20.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Count and print; return 1 if the worker ended."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.log_lines", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--engine", choices=("kafka", "embedded"), default="kafka", help="broker to start: kafka")
    parser.add_argument("--quiet", type=number(float, 0), default=600.0, help="seconds without an event: 600")
    parser.add_argument("--away", type=number(float, 0), default=180.0, help="seconds without a broker: 180")
    parser.add_argument("--log", type=Path, metavar="FILE", help="write all lines here")
    plan = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="log-lines-") as folder, ExitStack() as stack:
        broker = stack.enter_context(open_broker(plan.engine, Path(folder) / "broker"))
        system = LocalSystem(broker, Settings(), Path(folder), workers=1)
        system.prepare([coupon("tea")])
        [worker] = stack.enter_context(system).workers
        system.wait_ready()
        counts = [0]
        for name, seconds in (("start", SETTLES_S), ("quiet", plan.quiet), ("away", plan.away)):
            if name == "away":
                broker.kill()
            time.sleep(seconds)
            if name == "away":
                broker.start()
                system.wait_ready()
                time.sleep(SETTLES_S)
            counts.append(len(worker.log.read_text().splitlines()))
            print(f"{name}: {counts[-1] - counts[-2]} lines in {seconds:.0f} s", flush=True)
        if plan.log is not None:
            plan.log.write_text(worker.log.read_text())
        is_alive = worker.process.poll() is None
        print("the same worker goes on" if is_alive else "the worker has ended")
    return 0 if is_alive else 1


if __name__ == "__main__":
    sys.exit(main())
