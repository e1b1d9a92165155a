"""Events of the shop from a file, each checked as the workers check it before it is sent."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from stream_coupons.core.errors import BadMessage
from stream_coupons.core.rules import AttributionRules, ProfileRules, ShopRules
from stream_coupons.core.validation_hints import near, unknown_fields
from stream_coupons.kafka import topics
from stream_coupons.kafka.codec import Decoder, require_currency, require_not_ahead
from stream_coupons.kafka.topics import Topic
from stream_coupons.ops.interrupts import Interruptions
from stream_coupons.ops.recordings import (
    FIRST_SHOWN,
    Entry,
    Line,
    LineFault,
    Refusals,
    lines_or_elements,
    parse,
)

if TYPE_CHECKING:  # it takes kafka-python, which no help needs
    from stream_coupons.kafka.clients import Publisher

SAID_AFTER_S = 5.0
"""A person wonders after this long why nothing happens."""
YEAR_2000 = 946_684_800
TRIGGERS = (topics.BROWSE, topics.CART, topics.ORDER)


class PublishReport(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Counts of the lines by result."""

    lines: int
    sent: dict[str, int]
    appended: int
    refused: dict[str, int]
    interrupted: bool
    warnings: list[str] = []


class LineReader:
    """Lines to checked messages.

    Parameters
    ----------
    bare : Topic, optional
        Every line is a message of this topic; else they are envelopes.
    profile, attribution : ProfileRules, AttributionRules
        Their `max_ahead_s` bound the time by which an event, or feedback, may be dated after now.
    shop : ShopRules
        Its `currencies`.
    """

    def __init__(
        self,
        bare: Topic | None,
        profile: ProfileRules,
        attribution: AttributionRules,
        shop: ShopRules,
    ) -> None:
        self._bare = bare
        self._rules = profile, attribution
        self._shop = shop
        self._decoders = {topic.name: Decoder(topic) for topic in topics.INPUTS}

    def __call__(self, text: bytes) -> tuple[Entry, bytes]:
        """The entry of a line and its key.

        Raises
        ------
        BadMessage
        """
        entry = self._opened(text) if self._bare is None else Entry(self._bare, text)
        if entry.topic is topics.TICKS:
            raise BadMessage(LineFault.NOT_AN_INPUT, "a tick: only `replay` takes these, live systems have clocks")
        message = self._decoders[entry.topic.name](entry.value)
        require_currency(message, self._shop)
        require_not_ahead(message, time.time(), *self._rules)
        return entry, entry.topic.key_of(message)

    def _opened(self, text: bytes) -> Entry:
        try:
            return parse(text)
        except BadMessage as bad:
            hint = ", or --topic for messages of one topic" if bad.reason == LineFault.NOT_AN_ENVELOPE else ""
            raise BadMessage(bad.reason, bad.detail + hint) from None


@dataclass
class Publication:
    """Lines of a file that are checked and sent, with the counts of both.

    Attributes
    ----------
    name : str
        Name of the file, for messages.
    timeout_s : float
        Age in seconds beyond which events lead to no coupon.
    on_line : callable
        Called after each line.
    doubts : dict
        The first warnings, each with the number of its first line and how many lines it is of.
    """

    name: str
    reader: LineReader
    refusals: Refusals
    timeout_s: float
    on_line: Callable[[Line], None] = lambda _: None
    lines: int = 0
    place: str = "line"
    appended: int = 0
    interrupted: bool = False
    sent: Counter[str] = field(default_factory=Counter)
    doubts: dict[str, tuple[int, int]] = field(default_factory=dict)

    def check(self, source: IO[bytes]) -> None:
        """Read everything and send nothing; warn of what workers would ignore, or give no coupon for."""
        for number, entry, _ in self._accepted(source):
            found = msgspec.json.decode(entry.value)
            unknown = unknown_fields(found, entry.topic.message)
            ignored = (f"{path}: no such field{near(path.rpartition('.')[2], names)}" for path, names in unknown)
            for text in (*ignored, *self._age_of(entry.topic, found)):
                doubt = f"{entry.topic.name}: {text}"
                if doubt in self.doubts or len(self.doubts) < FIRST_SHOWN:
                    first, count = self.doubts.get(doubt, (number, 0))
                    self.doubts[doubt] = (first, count + 1)

    def send(self, source: IO[bytes], publisher: "Publisher") -> None:
        """Send what is good; closing the publisher waits for the broker."""
        for _, entry, key in self._accepted(source):
            publisher.send_bytes(entry.topic, key, entry.value)
            self.sent[entry.topic.name] += 1

    def report(self) -> PublishReport:
        """Return the counts so far, and the first doubts, each once."""
        return PublishReport(
            lines=self.lines,
            sent=dict(sorted(self.sent.items())),
            appended=self.appended,
            refused=dict(sorted(self.refusals.by_reason.items())),
            interrupted=self.interrupted,
            warnings=[
                f"{self.place} {first}: {doubt}" + (f" ({count} times)" if count > 1 else "")
                for doubt, (first, count) in self.doubts.items()
            ],
        )

    def _age_of(self, topic: Topic, found: dict[str, Any]) -> Iterator[str]:
        if found["occurred_at"] < YEAR_2000:
            yield "occurred_at is before the year 2000, expected UTC epoch seconds"
        elif topic in TRIGGERS and time.time() - found["occurred_at"] > self.timeout_s:
            yield (
                f"occurred_at is more than policy.trigger_timeout_s ({self.timeout_s:g} s) ago: the event counts in "
                "the profile and leads to no coupon"
            )

    def _accepted(self, source: IO[bytes]) -> Iterator[tuple[int, Entry, bytes]]:
        with Interruptions() as interruptions:
            for line in interruptions.each(lines_or_elements(source, self.name)):
                self.lines += 1
                self.place = line.place
                try:
                    entry, key = self.reader(line.text)
                except BadMessage as bad:
                    self.refusals.add(line, bad)
                else:
                    yield line.number, entry, key
                self.on_line(line)
            self.interrupted = interruptions.happened


@contextmanager
def told_of_waiting(publisher: "Publisher", say: Callable[[str], None], bootstrap: str) -> Iterator[None]:
    """Say once, each time that it happens, that the broker takes nothing: the producer waits in silence.

    Parameters
    ----------
    publisher : Publisher
        The publisher to watch.
    say : callable
        Prints a line.
    bootstrap : str
        The brokers' addresses.
    """
    over = threading.Event()

    def watch() -> None:
        appended, is_said = publisher.appended, False
        while not over.wait(SAID_AFTER_S):
            if publisher.appended != appended or not publisher.waiting:
                appended, is_said = publisher.appended, False
            elif not is_said:
                say(f"waiting for the broker at {bootstrap}; events not appended yet: {publisher.waiting}")
                is_said = True

    thread = threading.Thread(target=watch, name="impatience", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
