"""A demonstration: each input is played against a system of its own, printed, and added to one report."""

from pathlib import Path

from rich.console import Console

from loopback_kafka import Engine
from stream_coupons.settings import load
from stream_coupons_lab.demo import reports
from stream_coupons_lab.demo.journey import JourneyReplay, settings_for_journey
from stream_coupons_lab.demo.journey_report import add_journey, print_journey
from stream_coupons_lab.demo.run import ShopperDemo, running
from stream_coupons_lab.demo.watch import Display, Watch
from stream_coupons_lab.reports.report import HtmlReport
from stream_coupons_lab.simulation.behaviour import DAY_S
from stream_coupons_lab.simulation.shoppers import WorldSettings

JOURNEY_BEGINS_AT = 1_483_246_800


class DemoSession:
    """Plays inputs against a broker and workers that it starts.

    Attributes
    ----------
    page : HtmlReport
        The report on all that was played so far.
    """

    def __init__(self, engine: Engine, workers: int) -> None:
        self.page = HtmlReport("stream_coupons", "What the demonstration did, and what its coupons earned")
        self._console = Console()
        self._engine = engine
        self._workers = workers

    def play_shoppers(self, world: WorldSettings, *, kill_worker: bool) -> bool:
        """Play simulated shoppers; return whether the audit of what was issued is clean."""
        play = ShopperDemo(self._console, world, self._engine, self._workers, kill_worker)
        try:
            result = play.run()
        except BaseException:
            if play.result is not None:
                reports.add_shoppers(self.page, play.result)
            raise
        reports.print_shoppers(self._console, result)
        reports.add_shoppers(self.page, result)
        return not result.violations

    def play_journey(self, households: int | None) -> None:
        """Replay Complete Journey; all households if no number is given."""
        from stream_coupons_lab.datasets import completejourney  # it takes pandas, which is optional

        self._console.print("loading Complete Journey")
        data = completejourney.load(households=households)
        settings = settings_for_journey(load())
        with running(self._console, settings, data.catalogue(), self._engine, self._workers) as system:
            watch = Watch(system)
            with Display(self._console, "Complete Journey, replayed", watch) as display:

                def on_slice(share: float, event_time: float) -> None:
                    display.show(share, f"2017, day {(event_time - JOURNEY_BEGINS_AT) / DAY_S:.0f}")

                result = JourneyReplay(system, data, watch, on_slice).play()
        print_journey(self._console, result, watch)
        add_journey(self.page, result, watch)

    def write(self, path: Path) -> None:
        """Write the report, and print where it is."""
        self._console.print(f"report: [bold]{reports.write(self.page, path).resolve()}[/]", soft_wrap=True)
