"""Pause a campaign while workers are killed and restarted, and measure how late its last coupon comes.

    python -m benchmarks.pause
    python -m benchmarks.pause --rounds 100 --events 200 --engine kafka --json

It starts a broker and two workers of its own, and lets new shoppers come without a pause. In each round a worker is
killed and started again; the campaign is paused up to 3 s later, and resumed when no coupon has come for a second and
both workers are ready. Two delays after the record of the pause are measured in each round, 0 if there is none:

decided  the last event that still led to a coupon, by the time at which the broker appended it: no coupon is decided
         for a later one
sent     the last coupon, by the time of its record. What a killed worker had decided and saved, the next owner of the
         partition sends when the session of the killed one is over. A second copy is no new coupon.
"""

import argparse
import json
import random
import sys
import tempfile
import threading
import time
from contextlib import AbstractContextManager
from itertools import count
from pathlib import Path

import numpy as np
from msgspec.structs import replace

from benchmarks.background import in_background
from loopback_kafka import BrokerProcess, open_broker
from stream_coupons.cli.terminal import fraction_progress
from stream_coupons.core.messages.catalogue import Campaign
from stream_coupons.kafka import topics
from stream_coupons.kafka.clients import Reader
from stream_coupons.kafka.codec import Decoder
from stream_coupons.testing import START, browse, coupon

from .codes import SHOPPERS_A_SECOND, Supervised, settings
from .command import number

CAMPAIGN = Campaign(campaign_id="pausing")
COUPON = coupon("paused", campaign_id=CAMPAIGN.campaign_id, not_while_held="none")
LATEST_PAUSE_S = 3.0
"""Longest time between a kill and a pause."""
QUIET_S = 1.0
WITHIN_S = 120.0


def load(system: Supervised, events_a_second: float) -> AbstractContextManager[object]:
    """Let new shoppers browse while the block runs."""

    def come(over: threading.Event) -> None:
        with system.publisher() as publisher:
            for shopper in count():
                publisher.send(topics.BROWSE, browse(f"s{shopper}", at=START + shopper / SHOPPERS_A_SECOND))
                if over.wait(1.0 / events_a_second):
                    return

    return in_background(come, "load")


class Coupons:
    """Times in ms of each coupon, as they come: of the first copy of its record, by the id of its trigger."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._decode = Decoder(topics.ISSUES)
        self.sent_ms: dict[str, int] = {}

    def poll(self) -> bool:
        """Read for a moment, and return whether a coupon has come."""
        before = len(self.sent_ms)
        for record in self._reader.poll(0.1):
            self.sent_ms.setdefault(self._decode(record.value).trigger_id, record.timestamp)
        return len(self.sent_ms) > before

    def wait(self) -> None:
        """Wait for a coupon.

        Raises
        ------
        TimeoutError
            If none comes in time.
        """
        deadline = time.monotonic() + WITHIN_S
        while not self.poll():
            if time.monotonic() > deadline:
                raise TimeoutError(f"no coupon within {WITHIN_S:.0f} s")

    def wait_quiet(self) -> None:
        """Wait until no coupon has come for a while."""
        quiet_since = time.monotonic()
        while time.monotonic() - quiet_since < QUIET_S:
            if self.poll():
                quiet_since = time.monotonic()


def state_times(system: Supervised) -> list[int]:
    """Return the timestamps of the campaign's records in ms: published, paused, resumed, paused and so on."""
    with Reader(system.connection, [topics.CAMPAIGNS.name], from_beginning=True) as reader:
        return [record.timestamp for record in reader.read_to_end()]


def appended_ms(system: Supervised) -> dict[str, int]:
    """Return the times in ms at which the broker appended the events, by their ids."""
    decode = Decoder(topics.BROWSE)
    with Reader(system.connection, [topics.BROWSE.name], from_beginning=True) as reader:
        return {decode(record.value).event_id: record.timestamp for record in reader.read_to_end()}


def delays_ms(states: list[int], coupons: list[int]) -> list[int]:
    """Return by pause the time from its record to the last coupon before the campaign is resumed; 0 if none comes.

    Parameters
    ----------
    states : list of int
        Timestamps of the records of the campaign: published, then paused and resumed in turn.
    coupons : list of int
        Timestamps of the coupons.

    Examples
    --------
    >>> delays_ms([0, 100, 900, 1000, 2000], [50, 99, 105, 107, 950, 2100])
    [7, 0]
    """
    pauses = zip(states[1::2], states[2::2], strict=True)
    return [max((at - paused for at in coupons if paused <= at < resumed), default=0) for paused, resumed in pauses]


def run(broker: BrokerProcess, folder: Path, rounds: int, events: float, seed: int) -> dict[str, list[int]]:
    """Return the delays of each round in ms, by name."""
    system, draws = Supervised(broker, settings(), folder), random.Random(seed)
    system.prepare([COUPON], [CAMPAIGN])
    progress = fraction_progress("pauses", rounds)
    with system, Reader(system.connection, [topics.ISSUES.name], from_beginning=True) as reader, progress:
        system.wait_ready()
        coupons = Coupons(reader)
        with load(system, events), system.publisher() as publisher:
            for index in range(rounds):
                coupons.wait()
                system.kill(index % 2)
                system.restart(index % 2)
                time.sleep(draws.uniform(0.0, LATEST_PAUSE_S))
                publisher.send(topics.CAMPAIGNS, replace(CAMPAIGN, state="paused"))
                publisher.flush()
                system.wait_ready()
                coupons.wait_quiet()
                publisher.send(topics.CAMPAIGNS, CAMPAIGN)
                publisher.flush()
                progress.update(progress.task_ids[0], advance=1)
        states, appended = state_times(system), appended_ms(system)
        return {
            "decided": delays_ms(states, [appended[trigger] for trigger in coupons.sent_ms]),
            "sent": delays_ms(states, list(coupons.sent_ms.values())),
        }


def main() -> None:
    """Read the options and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=number(int, 1), default=40, help="pauses (default: 40)")
    parser.add_argument("--events", type=number(float, 1), default=100.0, help="shoppers a second (default: 100)")
    parser.add_argument("--engine", choices=("embedded", "kafka"), default="embedded", help="the broker")
    parser.add_argument("--seed", type=int, default=1, help="of the times between kill and pause (default: 1)")
    parser.add_argument("--json", action="store_true", help="print all delays as JSON")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, open_broker(options.engine, Path(name) / "broker") as broker:
        delays = run(broker, Path(name), options.rounds, options.events, options.seed)
    if options.json:
        json.dump({"delays_ms": delays}, sys.stdout)
        return
    for name, some in delays.items():
        p50, p99 = np.quantile(some, [0.5, 0.99])
        print(
            f"{name}: {p50:.0f} ms (p50), {p99:.0f} ms (p99), {max(some)} ms (most) of {len(some)} pauses under kills"
        )


if __name__ == "__main__":
    main()
