"""The agents' own steps over a recording, in this process: the same decisions and states every time."""

import hashlib
import math
from collections import Counter
from collections.abc import Iterable
from typing import IO

import msgspec
from msgspec import Raw, Struct

from stream_coupons.core.messages.catalogue import Campaign, Coupon
from stream_coupons.core.messages.fields import END_OF_TIME
from stream_coupons.core.messages.inputs import Tick
from stream_coupons.kafka import topics
from stream_coupons.kafka.codec import encode
from stream_coupons.kafka.records import Output
from stream_coupons.ops.digest import digests_of
from stream_coupons.ops.recordings import Entry, Refusals, key_of
from stream_coupons.runtime.steps import Result
from stream_coupons.settings import Settings
from stream_coupons.testing import LocalPipeline

NOT_OUTPUTS = {topic.name for topic in (*topics.INPUTS, topics.TICKS)}


class ReplaySummary(Struct, frozen=True, kw_only=True):
    """Results of a replay; `decisions_sha256` is the hash of the file that `--out` writes.

    `state_blake2b` has, by agent, the digest that `state digest` prints of a system. `key` is the fingerprint of
    the key of the draws.
    """

    key: str

    lines: int
    refused: dict[str, int]
    events: int
    ticks: int
    applied: int
    duplicates: int
    dead_letters: dict[str, int]
    decisions: dict[str, int]
    issues: int
    feedback: dict[str, int]
    examples: int
    decisions_sha256: str
    state_blake2b: dict[str, str]
    interrupted: bool


class OutputWriter:
    """Writes outputs as JSON lines into a file, if there is one, and into a digest.

    Parameters
    ----------
    everything : bool
        Every output with topic, key, value and headers, not only issues.
    """

    def __init__(self, sink: IO[bytes] | None, everything: bool) -> None:
        self._sink = sink
        self._everything = everything
        self.digest = hashlib.sha256()

    def __call__(self, output: Output) -> None:
        if self._everything:
            line = encode(
                {
                    "topic": output.topic,
                    "key": None if output.key is None else output.key.decode(errors="replace"),
                    "value": _json_value(output.value),
                    "headers": {name: value.decode(errors="replace") for name, value in output.headers},
                }
            )
        elif output.topic == topics.ISSUES.name and output.value is not None:
            line = output.value
        else:
            return
        self.digest.update(line + b"\n")
        if self._sink is not None:
            self._sink.write(line + b"\n")


def _json_value(value: bytes | None) -> Raw | str | None:
    if value is None:
        return None
    try:
        msgspec.json.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return value.decode(errors="replace")
    return Raw(value)


class EventClock:
    """Ticks out of event time, at every full interval that two events have reached."""

    def __init__(self, every_s: float) -> None:
        self._every_s = every_s
        self._latest = -math.inf
        self._second = -math.inf
        self._ticked_at = -math.inf

    def advance(self, occurred_at: float) -> float | None:
        """Return the tick that is due before an event of this time, if one is."""
        self._second = max(self._second, min(self._latest, occurred_at))
        self._latest = max(self._latest, occurred_at)
        if self._second == -math.inf:
            return None
        tick_at = self._second // self._every_s * self._every_s
        if tick_at <= self._ticked_at:
            return None
        self._ticked_at = tick_at
        return tick_at


class _Timed(Struct):
    occurred_at: float = math.nan


_decode_timed = msgspec.json.Decoder(_Timed).decode


class Replay:
    """One replay, fed line by line."""

    def __init__(
        self,
        settings: Settings,
        coupons: list[Coupon],
        tick_every_s: float | None,
        write: OutputWriter,
        campaigns: Iterable[Campaign] = (),
    ) -> None:
        self.refusals = Refusals()
        self.lines = 0
        self._write = write
        self._clock = None if tick_every_s is None else EventClock(tick_every_s)
        self._applied: Counter[str] = Counter()
        self._fed: Counter[str] = Counter()
        self._dead: Counter[str] = Counter()
        self.pipeline = LocalPipeline(
            settings, coupons, on_output=self._take, on_result=self._count, campaigns=campaigns
        )

    def _count(self, result: Result) -> None:
        """Count one batch; only what came from outside counts as applied or duplicate."""
        for topic in topics.INPUTS:
            self._applied["applied"] += result.applied[topic.name]
            self._applied["duplicates"] += result.duplicates[topic.name]

    def _facts(self, noun: str) -> dict[str, int]:
        """Return the counts of one kind of fact."""
        return {str(kind): count for (name, kind), count in sorted(self.pipeline.facts.items()) if name == noun}

    def _take(self, output: Output) -> None:
        if output.topic in NOT_OUTPUTS:
            return
        if output.topic == topics.DEAD_LETTERS.name:
            self._dead[dict(output.headers)["reason"].decode()] += 1
        self._write(output)

    def feed(self, entry: Entry) -> None:
        """Let the system take in one message or tick and come to rest."""
        if self._clock is not None and (tick_at := self._due(entry, self._clock)) is not None:
            self._feed(topics.TICKS.name, b"0", encode(Tick(at=tick_at)))
        key = b"0" if entry.topic is topics.TICKS else key_of(entry.value)
        self._feed(entry.topic.name, key, entry.value)

    def _feed(self, topic: str, key: bytes, value: bytes) -> None:
        self._fed[topic] += 1
        self.pipeline.publish_bytes(topic, key, value)

    def _due(self, entry: Entry, clock: EventClock) -> float | None:
        try:
            occurred_at = _decode_timed(entry.value).occurred_at
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        return clock.advance(occurred_at) if 0 <= occurred_at <= END_OF_TIME else None

    def summary(self, interrupted: bool, key: str) -> ReplaySummary:
        """Return the results so far."""
        ticks = self._fed[topics.TICKS.name]
        return ReplaySummary(
            key=key,
            lines=self.lines,
            refused=dict(sorted(self.refusals.by_reason.items())),
            events=self._fed.total() - ticks,
            ticks=ticks,
            applied=self._applied["applied"],
            duplicates=self._applied["duplicates"],
            dead_letters=dict(sorted(self._dead.items())),
            decisions=self._facts("decision"),
            issues=self.pipeline.sent.get(topics.ISSUES.name, 0),
            feedback=self._facts("feedback"),
            examples=self.pipeline.sent.get(topics.EXAMPLES.name, 0),
            decisions_sha256=self._write.digest.hexdigest(),
            state_blake2b={agent: one.blake2b for agent, one in digests_of(self.pipeline.states()).items()},
            interrupted=interrupted,
        )
