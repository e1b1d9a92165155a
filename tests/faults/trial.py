"""A running system under the load of shoppers who answer, and what must hold once a fault has healed."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stream_coupons import topics
from stream_coupons.broker import BrokerProcess
from stream_coupons.clients import Publisher, Reader
from stream_coupons.codec import Decoder
from stream_coupons.demo.system import LocalSystem
from stream_coupons.settings import Settings
from stream_coupons.simulation.shoppers import World, WorldSettings
from tests.integration.builders import DAY_S, IDLE_WITHIN_S, messages, records, send_ticks, settings, total, violations

CHAIN = (topics.PROPOSALS, topics.RESERVATIONS, topics.ISSUES, topics.SETTLEMENTS)
FIGURES: list[dict[str, Any]] = []
"""What every trial that passed its check has counted."""


def settings_under_faults(**about: Any) -> Settings:
    """Many decisions, some of them explored, so that no two runs of a step decide alike by accident.

    An hour of the shoppers passes in some 50 ms: proposals must be waited for longer than usual.
    """
    return settings(
        **{"triggers": frozenset({"browse", "cart"}), "exploration_ratio": 0.2, "proposal_timeout_s": 2 * DAY_S} | about
    )


class Trial:
    """Simulated shoppers against a running system.

    Attributes
    ----------
    published : Counter
        Events by topic.
    """

    def __init__(self, system: LocalSystem, world: World, publisher: Publisher, reader: Reader) -> None:
        self.system = system
        self.world = world
        self.published: Counter[str] = Counter()
        self.kills = 0
        self._publisher = publisher
        self._reader = reader
        self._decode = Decoder(topics.ISSUES)

    def play(self, share: float) -> None:
        """Live on until this share of the world's days is over, as fast as it goes, and hand out what is issued."""
        started_at = self.world.settings.start_at
        until = started_at + share * (self.world.ends_at - started_at)
        while self.world.now < until:
            self.play_an_hour(until)

    def play_an_hour(self, until: float) -> None:
        """Live on for a simulated hour, but not beyond a time."""
        for topic, event in self.world.advance(min(self.world.now + 3600.0, until)):
            self._publisher.send(topics.BY_NAME[topic], event)
            self.published[topic] += 1
        send_ticks(self.system, self._publisher, self.world.now)
        for record in self._reader.poll(0.05):
            self.world.receive(self._decode(record.value))

    @contextmanager
    def load(self) -> Iterator[None]:
        """Live on in the background while the block runs, as long as there are days left.

        Raises
        ------
        AssertionError
            If the world's days were over before the block: the fault would have met no load.
        """
        over, failures = threading.Event(), list[BaseException]()

        def live() -> None:
            try:
                while not over.is_set() and self.world.now < self.world.ends_at:
                    self.play_an_hour(self.world.ends_at)
            except BaseException as error:
                failures.append(error)

        thread = threading.Thread(target=live, name="load")
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
        if failures:
            raise failures[0]
        assert self.world.now < self.world.ends_at, "the load ended before the fault: give the world more days"

    def kill(self, index: int) -> None:
        """SIGKILL a worker."""
        self.system.kill(index)
        self.kills += 1

    def check(self) -> None:
        """Wait until the system is idle by itself; then nothing is lost, given twice, changed or overspent."""
        began = time.monotonic()
        self.system.wait_idle(IDLE_WITHIN_S)
        idle_after_s = time.monotonic() - began
        found = violations(self.system)
        assert found == [], found
        assert changed_copies(self.system) == []
        refused = Counter(dict(record.headers)["reason"].decode() for record in records(self.system, "dead-letters"))
        # An hour of the shoppers takes 50 ms: on a busy machine one may answer after the window has closed.
        assert not refused.keys() - {"late"}, refused
        assert {name: len(records(self.system, name)) for name in self.published} == dict(self.published)
        proposed = {proposal.proposal_id for proposal in messages(self.system, topics.PROPOSALS)}
        reservations = messages(self.system, topics.RESERVATIONS)
        settlements = messages(self.system, topics.SETTLEMENTS)
        issues = [issue.issue_id for issue in messages(self.system, topics.ISSUES)]
        assert proposed == {reservation.proposal_id for reservation in reservations}
        assert set(issues) == {one.proposal_id for one in settlements if one.outcome == "confirmed"}
        assert len(set(issues)) > 10
        FIGURES.append(
            {
                "seed": self.world.settings.seed,
                "events": self.published.total(),
                "kills": self.kills,
                "restarts": self.system.restarts,
                "issues": len(set(issues)),
                "issued twice": len(issues) - len(set(issues)),
                "late": refused.total(),
                "replays": int(total(self.system, "replays_total")),
                "violations": len(found),
                "idle after s": round(idle_after_s, 1),
            }
        )


@contextmanager
def trial(
    broker: BrokerProcess,
    folder: Path,
    seed: int,
    settings_: Settings | None = None,
    workers: int = 2,
    days: int = 2,
) -> Iterator[Trial]:
    """A trial on an empty broker, with workers that are ready and a supervisor that starts those that end anew."""
    world = World(WorldSettings(seed=seed, shoppers=60, days=days, coupons=12))
    system = LocalSystem(broker, settings_ or settings_under_faults(), folder, workers, supervised=True)
    system.prepare(world.catalogue())
    with (
        system,
        system.publisher() as publisher,
        Reader(system.bootstrap, [topics.ISSUES.name], from_beginning=True) as reader,
    ):
        system.wait_ready()
        yield Trial(system, world, publisher, reader)


def changed_copies(system: LocalSystem) -> list[tuple[str, Any]]:
    """(topic, identity) of every decision whose copies are not the same bytes."""
    changed = []
    for topic in CHAIN:
        decode = Decoder(topic)
        copies: dict[Any, set[tuple[Any, Any]]] = {}
        for record in records(system, topic.name):
            message = decode(record.value)
            identity = (
                getattr(message, "issue_id", None) or message.proposal_id,
                getattr(message, "rank", None),
                getattr(message, "outcome", None),
            )
            copies.setdefault(identity, set()).add((record.key, record.value))
        changed += [(topic.name, identity) for identity, seen in copies.items() if len(seen) > 1]
    return changed
