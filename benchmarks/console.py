"""Measure the console: bytes and first paint of its pages, its memory over time, and the CPU of workers beside it.

    python -m benchmarks.console
    python -m benchmarks.console --minutes 60 --rate 100 --json console.json
    python -m benchmarks.console --minutes 2 --pictures docs/images/console

Starts Apache Kafka (or the embedded broker, --engine), two workers and a shop that sends events at --rate. Then comes
the console, of which a browser keeps the page of the present open. Memory is read once a minute. Afterwards windows of
--window seconds with and without the console alternate: the CPU of the workers and learners in each. Pages are opened
in headless Chromium, with an empty cache: bytes as transferred, first paint as the browser reports it.

Ctrl-C ends it early; nothing that was started is left behind.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from msgspec.structs import replace

from benchmarks.browser import Browser
from benchmarks.command import number
from benchmarks.live_shop import CAMPAIGNS, COUPONS, open_shop
from benchmarks.load.processes import cpu_s
from loopback_kafka import open_broker
from stream_coupons.core.errors import StreamCouponsError
from stream_coupons.settings import Settings, load
from stream_coupons_lab.demo.console import running_console
from stream_coupons_lab.demo.system import LocalSystem

PAGES = ("/", "/campaigns/spring", "/coupons", "/coupons/tea-15", "/now", "/dead-letters", "/models", "/lift")
PICTURED = ("/", "/campaigns/spring", "/coupons", "/now", "/lift")
PICTURE_HEIGHT = 1100
VIEWS = ((1280, "light"), (1280, "dark"), (390, "light"), (390, "dark"))
READY_WITHIN_S = 60.0


def settings_of_shop() -> Settings:
    """Return settings under which shoppers are considered often, and totals are reported soon."""
    settings = load()
    return replace(settings, policy=replace(settings.policy, cooldown_s=5.0, totals_every_s=2.0))


@contextmanager
def reading_console(config: Path, *options: str) -> Iterator[tuple[str, int]]:
    """Run the console until it has read its topics; yield its address and its process id."""
    with running_console(config, *options) as (address, pid):
        wait_for(address)
        yield address, pid


def wait_for(address: str) -> None:
    """Wait until the console has read what the topics held at its start."""
    deadline = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < deadline:
        with urlopen(address, timeout=10) as answer:
            if b"Reading the topics" not in answer.read():
                return
        time.sleep(0.1)
    raise TimeoutError(f"{address} has not read the topics within {READY_WITHIN_S:.0f} s")


def rss_mib(pid: int) -> float:
    """Return the resident memory of a process in MiB."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def page_figures(browser: Browser, address: str, path: str) -> dict[str, float]:
    """Return the bytes that a page takes with an empty cache, and its first paint in milliseconds."""
    browser.forget_all()
    browser.open(address + path)
    browser.until("performance.getEntriesByType('paint').length > 0")
    entries = "[...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')]"
    size = f"{entries}.filter((e) => !e.name.endsWith('/live')).reduce((sum, e) => sum + e.transferSize, 0)"
    return {
        "bytes": browser.evaluate(size),
        "first_paint_ms": round(browser.evaluate("performance.getEntriesByName('first-paint')[0].startTime"), 1),
    }


def measure(plan: argparse.Namespace, system: LocalSystem, config: Path) -> dict[str, Any]:
    """Return all figures of a system that runs."""
    found: dict[str, Any] = {"rate": plan.rate, "minutes": plan.minutes}
    with reading_console(config) as (address, pid), Browser() as browser:
        browser.open(address + "/now")
        began, memory = time.monotonic(), [round(rss_mib(pid), 1)]
        before = cpu_s([pid])
        for minute in range(1, plan.minutes + 1):
            time.sleep(max(0.0, began + 60.0 * minute - time.monotonic()))
            memory.append(round(rss_mib(pid), 1))
            print(f"minute {minute} of {plan.minutes}: {memory[-1]:.1f} MiB", file=sys.stderr)
        elapsed = max(time.monotonic() - began, 1e-9)
        found |= {"memory_mib": memory, "console_cpu_ratio": round((cpu_s([pid]) - before) / elapsed, 4)}
        found["pages"] = {path: page_figures(browser, address, path) for path in PAGES}
        if plan.pictures is not None:
            draw(plan.pictures, browser, address)
    windows: dict[str, list[float]] = {"with": [], "without": []}
    for _ in range(plan.pairs):
        windows["without"].append(window(plan.window, system))
        with reading_console(config) as (address, _), Browser() as browser:
            browser.open(address + "/now")
            windows["with"].append(window(plan.window, system))
    return found | {"workers_cpu_ratio": windows}


def window(seconds: float, system: LocalSystem) -> float:
    """Return the CPU of workers and learners over some seconds, as a share of one core."""
    pids = [worker.process.pid for worker in system.workers]
    before, began = cpu_s(pids), time.monotonic()
    time.sleep(seconds)
    return round((cpu_s(pids) - before) / (time.monotonic() - began), 4)


def draw(folder: Path, browser: Browser, address: str) -> None:
    """Write pictures of some pages, wide and narrow, light and dark."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in PICTURED:
        name = path.strip("/").partition("/")[0] or "money"
        for width, scheme in VIEWS:
            browser.open(address + path, width=width, scheme=scheme)
            browser.until("document.documentElement.dataset.drawn !== undefined")
            browser.picture(folder / f"{name}-{width}-{scheme}.webp", PICTURE_HEIGHT)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.console", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--engine", choices=("kafka", "embedded"), default="kafka", help="broker to start: kafka")
    parser.add_argument("--rate", type=number(float, 1), default=70.0, help="visits a second, and what follows: 70")
    parser.add_argument("--minutes", type=number(int, 0), default=5, help="time to watch the memory: 5")
    parser.add_argument("--window", type=number(float, 1), default=30.0, help="seconds of each CPU window: 30")
    parser.add_argument("--pairs", type=number(int, 0), default=3, help="CPU windows with and without console: 3")
    parser.add_argument("--pictures", type=Path, metavar="DIR", help="write pictures of the pages there")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures here")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; return the exit code."""
    plan = parse(arguments)
    try:
        with tempfile.TemporaryDirectory(prefix="console-") as folder, ExitStack() as stack:
            broker = open_broker(plan.engine, Path(folder) / "broker")
            broker.start()
            stack.callback(broker.stop)
            system = LocalSystem(broker, settings_of_shop(), Path(folder))
            system.prepare(COUPONS, CAMPAIGNS)
            stack.enter_context(system)
            system.wait_ready()
            stack.enter_context(open_shop(system.settings, plan.rate))
            found = measure(plan, system, Path(folder) / "worker-1.toml")
    except StreamCouponsError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    text = json.dumps(found, indent=1)
    print(text)
    if plan.json is not None:
        plan.json.write_text(text + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
