"""The demonstration on simulated shoppers: the live system beside other policies, from start to report."""

import contextlib
import tempfile
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from loopback_kafka import Engine
from stream_coupons.core.messages.decisions import LoggedDecision
from stream_coupons.kafka import topics
from stream_coupons.kafka.clients import Reader
from stream_coupons.kafka.codec import Decoder
from stream_coupons.ops.audit.audit_topics import audit_topics
from stream_coupons.ops.results import read_results
from stream_coupons.settings import load
from stream_coupons_lab.brokers import running_broker
from stream_coupons_lab.demo import reports
from stream_coupons_lab.demo.baselines import Baselines, baselines
from stream_coupons_lab.demo.console import running_console
from stream_coupons_lab.demo.keep import keep
from stream_coupons_lab.demo.lockstep import LiveTarget
from stream_coupons_lab.demo.money import earned
from stream_coupons_lab.demo.outcomes import Outcomes, Played
from stream_coupons_lab.demo.panel import ShopperPanel
from stream_coupons_lab.demo.play import Policy, Slice, play
from stream_coupons_lab.demo.reports import ShopperResult
from stream_coupons_lab.demo.shoppers import settings_for_shoppers
from stream_coupons_lab.demo.system import LocalSystem
from stream_coupons_lab.demo.ticker import Ticker
from stream_coupons_lab.demo.waiting import waiting
from stream_coupons_lab.demo.watch import Watch
from stream_coupons_lab.simulation.behaviour import DAY_S
from stream_coupons_lab.simulation.shoppers import World, WorldSettings

POLICIES: tuple[Policy, ...] = ("random", "highest_p_redeem", "best_on_average", "learned", "true_value")
"""Policies in the order of display."""
LIVE_SHARE = 0.8
"""Share of the progress bar for the live system; the rest is for the other policies."""
WORKERS = 2


class ShopperDemo:
    """Plays simulated shoppers against a broker and workers, and against the other policies beside them.

    Parameters
    ----------
    world_settings : WorldSettings
        World to play; the same settings lead to the same figures.

    Attributes
    ----------
    result : ShopperResult or None
        Results so far, also after an interruption.
    kept_code : int or None
        Exit code of an interruption once the report is written and the system is kept up; None before.
    """

    def __init__(self, world_settings: WorldSettings, engine: Engine, *, kills_worker: bool) -> None:
        self.result: ShopperResult | None = None
        self.kept_code: int | None = None
        self._console = Console()
        self._world_settings = world_settings
        self._settings = settings_for_shoppers(load())
        self._engine = engine
        self._kills_worker = kills_worker

    def run(self, report: Path, *, keeps: bool = False) -> bool:
        """Play everything, print the summary and write the report; return True if the audit finds no violation.

        Parameters
        ----------
        report : Path
            File of the report.
        keeps : bool
            Keep the system up afterwards, with shoppers who go on: it then ends with an interruption only.

        Raises
        ------
        SystemFailed, BadConfig
            If a process ends by itself.
        """
        world = World(self._world_settings)
        with baselines(self._world_settings, self._settings) as others, self._running(world) as system:
            live = _Live(self, system, world, others)
            result = live.play()
            with waiting(self._console, "auditing what was issued"):
                violations = audit_topics(system.settings).violations
                coupons = read_results(system.settings)
            live.wait_for_baselines()
            by_policy = {**others.played, "learned": result.live}
            played = [by_policy[policy] for policy in POLICIES]
            compared = replace(result, played=played, rows=earned(played, world.user_ids))
            self.result = replace(compared, violations=violations, coupons=coupons)
            reports.print_summary(self._console, self.result)
            self.write(report)
            if keeps:
                self.kept_code = int(bool(violations))
                keep(self._console, system, world)
        return not violations

    def write(self, path: Path) -> bool:
        """Write the report on what was played so far, and print where it is; return False if there is nothing yet."""
        if self.result is None:
            return False
        reports.write(self.result, path)
        self._console.print(f"report: [bold]{path.resolve()}[/]", soft_wrap=True)
        return True

    @contextlib.contextmanager
    def _running(self, world: World) -> Iterator[LocalSystem]:
        """Start a broker with topics and catalogue, and workers that are ready; all of it is gone afterwards."""
        with tempfile.TemporaryDirectory(prefix="stream-coupons-demo-") as folder, contextlib.ExitStack() as stack:
            with waiting(self._console, f"starting the {self._engine} broker"):
                broker = stack.enter_context(running_broker(self._engine, Path(folder) / "broker"))
            system = LocalSystem(broker, self._settings, Path(folder), WORKERS)
            with waiting(self._console, f"starting {WORKERS} workers"):
                system.prepare(world.catalogue(), world.campaigns())
                stack.enter_context(system)
                system.wait_ready()
            address, _ = stack.enter_context(running_console(system.config_file))
            self._console.print(f"ready: broker {broker.bootstrap}, {len(world.catalogue())} coupons in the catalogue")
            self._console.print(f"console: [bold]{address}[/]", soft_wrap=True)
            yield system
            with waiting(self._console, "stopping workers and broker"):
                stack.close()


class _Live:
    """The live part: drives the system, and shows what happens."""

    def __init__(self, demo: ShopperDemo, system: LocalSystem, world: World, baselines: Baselines) -> None:
        self._demo = demo
        self._system = system
        self._world = world
        self._baselines = baselines
        self._watch = Watch(system)
        self._ticker = Ticker(world.catalogue())
        budget_minor = sum(coupon.budget_minor or 0 for coupon in world.catalogue())
        self._panel = ShopperPanel(demo._console, self._watch, self._ticker, world.statistics, budget_minor)
        self._faults = deque([(0.5, system.kill), (0.6, system.restart)] if demo._kills_worker else [])
        self._decisions = Reader(system.connection, [topics.DECISIONS.name], from_beginning=True)
        self._decode = Decoder(topics.DECISIONS)
        self._events: Slice = []
        self._logged: dict[str, LoggedDecision] = {}

    def play(self) -> ShopperResult:
        """Play the world against the system."""
        with self._panel, LiveTarget(self._system, self._tick) as target:
            began = time.monotonic()
            try:
                played = play("learned", self._world, target, self._on_slice)
            finally:
                self._watch.sample(self._world.now, now=True)
            live_s = time.monotonic() - began
        self._read_decisions()
        self._decisions.close()
        return replace(self._result(played), live_s=live_s)

    def _result(self, played: Played) -> ShopperResult:
        demo, logged = self._demo, self._logged
        rules, catalogue = demo._settings.policy, self._world.catalogue()
        return ShopperResult(demo._world_settings, played, self._watch, rules, catalogue, self._events, logged)

    def _read_decisions(self) -> list[LoggedDecision]:
        """Return the decisions since the last call, and keep them."""
        found: list[LoggedDecision] = [self._decode(record.value) for record in self._decisions.read_to_end()]
        self._logged |= {one.decision_id: one for one in found}
        return found

    def wait_for_baselines(self) -> None:
        """Wait until the other policies have been played, too."""
        with self._panel:
            while self._baselines.share < 1.0:
                self._baselines.look(0.2)
                self._show("playing the other policies")

    @property
    def _share(self) -> float:
        """Share of the simulated time that has passed."""
        return (self._world.now - self._world.settings.start_at) / (self._world.settings.days * DAY_S)

    def _tick(self) -> None:
        self._watch.sample(self._world.now)
        self._baselines.look()
        days = self._world.settings.days
        self._show(f"day {self._share * days:4.1f} of {days}")

    def _show(self, status: str) -> None:
        self._panel.status = status
        self._panel.share = LIVE_SHARE * self._share + (1 - LIVE_SHARE) * self._baselines.share
        self._panel.show()

    def _on_slice(self, outcomes: Outcomes, events: Slice) -> None:
        self._events += events
        self._panel.events = len(self._events)
        self._panel.margins.append(sum(outcomes.margins.values()))
        self._ticker.tell([message for _, message in events], self._read_decisions())
        self._demo.result = self._result(Played("learned", outcomes, self._world.statistics))
        self._tick()
        while self._faults and self._share >= self._faults[0][0]:
            self._faults.popleft()[1](0)
