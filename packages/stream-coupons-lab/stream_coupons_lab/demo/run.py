"""The demonstration on simulated shoppers: the live system beside its baselines, from start to report."""

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType

from rich.console import Console

from loopback_kafka import Engine
from stream_coupons.core.messages.catalogue import Coupon
from stream_coupons.core.shopper.state import Shopper
from stream_coupons.kafka import topics
from stream_coupons.kafka.clients import Reader
from stream_coupons.ops.audit.audit_topics import audit_topics
from stream_coupons.ops.audit.findings import Violation
from stream_coupons.runtime.cells import CellCodec
from stream_coupons.settings import Settings, load
from stream_coupons_lab.brokers import running_broker
from stream_coupons_lab.demo.baselines import Baselines
from stream_coupons_lab.demo.lockstep import LiveTarget
from stream_coupons_lab.demo.money import Earned, earned
from stream_coupons_lab.demo.outcomes import Outcomes, Played
from stream_coupons_lab.demo.panel import ShopperPanel, decisions_of
from stream_coupons_lab.demo.phases import Phase
from stream_coupons_lab.demo.play import Policy, play
from stream_coupons_lab.demo.shoppers import settings_for_shoppers
from stream_coupons_lab.demo.system import LocalSystem
from stream_coupons_lab.demo.ticker import Ticker
from stream_coupons_lab.demo.waiting import Waiting
from stream_coupons_lab.demo.watch import SHOWN_OF_SHOPPERS, Watch
from stream_coupons_lab.simulation.shoppers import World, WorldSettings

POLICIES: tuple[Policy, ...] = ("random", "highest_p_redeem", "best_on_average", "learned", "true_value")
"""Policies in the order of display."""
LIVE_SHARE = 0.8
"""Share of the progress bar for the live system; the rest is for the baselines."""
NOTHINGS_A_SLICE = 2
MAX_CELL_BYTES = 8 * 2**20


@dataclass(frozen=True, slots=True)
class ShopperResult:
    """Results of the demonstration with simulated shoppers.

    Attributes
    ----------
    played, rows : list
        Results by policy, in the order of `POLICIES`.
    is_whole : bool
        True if all days were played; if not, there are no rows.
    """

    world: WorldSettings
    live: Played
    played: list[Played]
    rows: list[Earned]
    watch: Watch
    decisions: dict[str, float]
    without_coupon: int
    violations: list[Violation]
    is_whole: bool


class _WorkerKill:
    """SIGKILL a worker halfway and start it again a little later."""

    def __init__(self, system: LocalSystem) -> None:
        self._system = system
        self._step = 0

    def at(self, share: float) -> None:
        if self._step == 0 and share >= 0.5:
            self._system.kill(0)
            self._step = 1
        elif self._step == 1 and share >= 0.6:
            self._system.restart(0)
            self._step = 2


class ShopperDemo:
    """Plays simulated shoppers against a broker and workers, and against the baselines beside them.

    Parameters
    ----------
    world_settings : WorldSettings
        World to play; the same settings lead to the same figures.

    Attributes
    ----------
    result : ShopperResult or None
        Results so far, also after an interruption.
    """

    def __init__(
        self, console: Console, world_settings: WorldSettings, engine: Engine, workers: int, kill_worker: bool
    ) -> None:
        self.result: ShopperResult | None = None
        self._console = console
        self._world_settings = world_settings
        self._settings = settings_for_shoppers(load())
        self._engine = engine
        self._workers = workers
        self._kills = kill_worker

    def run(self) -> ShopperResult:
        """Play everything.

        Raises
        ------
        SystemFailed, BaselineFailed
            If a process ends by itself.
        """
        world = World(self._world_settings)
        with Baselines(self._world_settings, self._settings) as baselines:
            with running(self._console, self._settings, world.catalogue(), self._engine, self._workers) as system:
                live = _Live(self, system, world, baselines)
                played = live.play()
                with Waiting(self._console, "auditing what was issued"):
                    violations = audit_topics(system.settings.kafka).violations
            live.wait_for_baselines()
        by_policy = {**baselines.played, "learned": played}
        in_order = [by_policy[policy] for policy in POLICIES]
        rows = earned(in_order, world.user_ids)
        self.result = replace(live.so_far(played), played=in_order, rows=rows, violations=violations, is_whole=True)
        return self.result


class _Live:
    """The live part: drives the system, and shows what happens."""

    def __init__(self, demo: ShopperDemo, system: LocalSystem, world: World, baselines: Baselines) -> None:
        self._demo = demo
        self._system = system
        self._world = world
        self._baselines = baselines
        self._watch = Watch(system, SHOWN_OF_SHOPPERS)
        self._ticker = Ticker(world.catalogue(), system.settings.policy)
        self._panel = ShopperPanel(demo._console, self._watch, self._ticker)
        self._panel.budget_minor = sum(coupon.budget_minor or 0 for coupon in world.catalogue())
        self._fault = _WorkerKill(system) if demo._kills else None
        self._codec = CellCodec[Shopper](Shopper, MAX_CELL_BYTES)
        self._expected = 0.0
        self._issues_shown = 0

    def play(self) -> Played:
        """Play the world against the system."""
        with self._panel, _Observed(self._system, self._ticker, self._tick_panel) as target:
            self._target = target
            try:
                played = play("learned", self._world, target, self._on_slice)
            finally:
                self._watch.sample(self._world.now, now=True)
        return played

    def wait_for_baselines(self) -> None:
        """Wait until the baselines have been played, too."""
        with self._panel:
            while not self._baselines.is_over:
                self._baselines.look(0.2)
                self._show("playing the other policies")

    def so_far(self, played: Played) -> ShopperResult:
        """Return what there is to report."""
        given = {issue.user_id for issue in played.outcomes.issues}
        return ShopperResult(
            world=self._demo._world_settings,
            live=played,
            played=[played],
            rows=[],
            watch=self._watch,
            decisions=decisions_of(self._watch),
            without_coupon=len(self._world.user_ids) - len(given),
            violations=[],
            is_whole=False,
        )

    def _tick_panel(self) -> None:
        self._watch.sample(self._world.now)
        self._baselines.look()
        settings = self._demo._world_settings
        day = (self._world.now - settings.start_at) / 86400.0
        self._show(f"day {day:4.1f} of {settings.days}")

    def _show(self, status: str) -> None:
        settings = self._demo._world_settings
        share = (self._world.now - settings.start_at) / (settings.days * 86400.0)
        self._panel.status = status
        self._panel.share = LIVE_SHARE * share + (1 - LIVE_SHARE) * self._baselines.share
        self._panel.show()

    def _on_slice(self, outcomes: Outcomes, events: int) -> None:
        counts, done = self._watch.counts, self._world.statistics
        counts.published, counts.issues = events, done.issues
        counts.clicked, counts.redeemed = done.clicks, done.redemptions
        counts.fed_back = done.impressions + done.clicks + done.redemptions
        new = outcomes.issues[self._issues_shown :]
        self._issues_shown = len(outcomes.issues)
        self._expected += sum(outcomes.margins[issue.issue_id] for issue in new)
        self._panel.margins.append(self._expected)
        self._panel.discount_minor = done.discount_minor
        for issue in new:
            self._ticker.give(issue)
        self._add_nothings({issue.user_id for issue in new})
        self._ticker.next_slice()
        self._demo.result = self.so_far(Played.of("learned", outcomes, self._world.statistics, [], events))
        self._tick_panel()
        if self._fault is not None:
            self._fault.at((self._world.now - outcomes.starts_at) / (self._world.ends_at - outcomes.starts_at))

    def _add_nothings(self, given: set[str]) -> None:
        """Add lines on shoppers who got nothing, by what their states say."""
        states, added = self._target.states(), 0
        for user_id in self._ticker.active:
            if user_id not in given and user_id in states:
                added += self._ticker.refuse(user_id, self._codec.decode(states[user_id]).state)
            if added >= NOTHINGS_A_SLICE:
                break


class _Observed(LiveTarget):
    """A live target that tells a ticker of the events, and keeps the shoppers' latest states as bytes."""

    def __init__(self, system: LocalSystem, ticker: Ticker, on_wait: Callable[[], None]) -> None:
        super().__init__(system, on_wait)
        self._ticker = ticker
        self._changelog = Reader(system.connection, [topics.changelog("users").name], from_beginning=True)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._changelog.close()
        super().__exit__(kind, error, trace)

    def apply(self, phase: Phase) -> None:
        """Apply a phase, and note its events."""
        for message in phase.messages:
            self._ticker.hear(message)
        super().apply(phase)

    def states(self) -> dict[str, bytes]:
        """Return the states that shoppers have come to since the last call."""
        records = self._changelog.read_to_end()
        return {record.key.decode(): record.value for record in records if record.key and record.value}


@contextlib.contextmanager
def running(
    console: Console, settings: Settings, coupons: list[Coupon], engine: Engine, workers: int
) -> Iterator[LocalSystem]:
    """A broker with topics and catalogue, and workers that are ready; all of it is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="stream-coupons-demo-") as folder, contextlib.ExitStack() as stack:
        with Waiting(console, f"starting the {engine} broker"):
            broker = stack.enter_context(running_broker(engine, Path(folder) / "broker"))
        system = LocalSystem(broker, settings, Path(folder), workers)
        with Waiting(console, f"starting {workers} workers"):
            system.prepare(coupons)
            stack.enter_context(system)
            system.wait_ready()
        console.print(f"ready: broker {broker.bootstrap}, {len(coupons)} coupons in the catalogue")
        yield system
        with Waiting(console, "stopping workers and broker"):
            stack.close()
