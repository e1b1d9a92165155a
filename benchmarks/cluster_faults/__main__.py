"""Play faults on a cluster of three Apache Kafka nodes, and measure the seconds in which shoppers get no decision.

    python -m benchmarks.cluster_faults
    python -m benchmarks.cluster_faults --fault leader controller --guarantee exactly_once
    python -m benchmarks.cluster_faults --fault rolling-restart --static --set kafka.session_timeout_s=30
    python -m benchmarks.cluster_faults --fault none churn --rate 100 --json churn.json

Each trial starts three nodes (Java, Maven), workers under a supervisor and a live stream of events, lets one fault
happen and heal, and waits until all is committed without a person. Then `stream-coupons verify` and an audit that
shares no code with the engine read the topics.

A partition of an input topic is dark while an event of it waits and none is answered. `dark` counts from the append of
an event, by the brokers' times, until its answer can be read: with exactly_once, when its transaction is committed.
`since sent` counts from the moment of the event, and contains the time in which no broker took it.

Some 100 s a trial, four minutes for churn. Ends with exit code 1 if something was violated or lag did not return to
zero. Ctrl-C shows what is finished; nothing that was started is left behind.
"""

import argparse
import datetime
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import mean

from kafka.errors import KafkaError
from rich.table import Table

from benchmarks.checkout import ROOT, commit
from benchmarks.cluster_faults.faults import FAULTS
from benchmarks.cluster_faults.trial import Plan, TrialResult, play, settings_for
from benchmarks.command import as_json, number
from benchmarks.load.run import machine_now
from benchmarks.pages import begin_of, markdown_table, with_figures
from loopback_kafka import BrokerError
from stream_coupons.cli import terminal
from stream_coupons.cli.consoles import INTERRUPTED, print_error
from stream_coupons.core.errors import BadConfig, StreamCouponsError
from stream_coupons.kafka.settings import Guarantee
from stream_coupons.settings import PREFIX, Settings, load

PAGE = ROOT / "docs" / "explanation" / "guarantees.md"
BEGIN = begin_of("python -m benchmarks.cluster_faults --write")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the options of the command line."""
    listed = "\n".join(f"  {name:<24}{fault.about}" for name, fault in FAULTS.items())
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.cluster_faults",
        description=__doc__,
        epilog=f"faults:\n{listed}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    guarantees = [each.value for each in Guarantee]
    parser.add_argument(
        "--fault", nargs="+", choices=list(FAULTS), default=list(FAULTS), metavar="NAME", help="default: all"
    )
    parser.add_argument("--guarantee", nargs="+", choices=guarantees, default=guarantees, help="default: both")
    parser.add_argument("--rate", type=number(float, 1), default=60.0, help="events a second: 60")
    parser.add_argument("--shoppers", type=number(int, 1), default=300, help="300")
    parser.add_argument("--seed", type=number(int, 0), default=1, help="of events and feedback: 1")
    parser.add_argument("--set", nargs="+", default=[], metavar="SECTION.FIELD=VALUE", help="settings of the workers")
    parser.add_argument("--static", action="store_true", help="name each worker in its group (kafka.instance_id)")
    parser.add_argument("--config", "-c", type=Path, help="settings, as of `stream-coupons worker`")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures here, after each trial")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep data and logs of all trials here")
    parser.add_argument("--write", action="store_true", help=f"write the table into {PAGE.relative_to(ROOT)}")
    return parser.parse_args(arguments)


def settings_of(options: argparse.Namespace) -> Settings:
    """Return the settings of the file with those of the command line.

    Raises
    ------
    BadConfig
        If there is no such setting, or no such value.
    """
    variables = {}
    for text in options.set:
        name, equals, value = text.partition("=")
        if not equals or "." not in name:
            raise BadConfig(f"--set {text}: expected SECTION.FIELD=VALUE, as in kafka.session_timeout_s=6")
        variables[PREFIX + name.replace(".", "__").upper()] = value
    return load(options.config, variables)


def main(arguments: Sequence[str] | None = None) -> int:
    """Play the trials that the options ask for, and return the exit code."""
    options = parse(arguments)
    results: list[TrialResult] = []
    failures: list[str] = []
    exit_code = 0
    try:
        settings = settings_of(options)
        for title, name, plan in trials_of(options, settings):
            try:
                results.append(_played(options, title, name, plan))
            except (StreamCouponsError, BrokerError, KafkaError, TimeoutError) as error:
                failures.append(f"{title}: {error}")
                print_error(failures[-1])
            if options.json:
                options.json.write_text(as_json({"results": results, "failures": failures}))
    except BadConfig as error:
        print_error(str(error))
        return 2
    except KeyboardInterrupt:
        exit_code = INTERRUPTED
    print_results(results)
    if options.write and results and not exit_code:
        PAGE.write_text(with_figures(PAGE.read_text(), BEGIN, markdown(results)))
    return exit_code or int(bool(failures) or not all(result.is_passed for result in results))


def trials_of(options: argparse.Namespace, settings: Settings) -> list[tuple[str, str, Plan]]:
    """Return title, fault and plan of each trial; a fault that a guarantee does not know is left out."""
    size = {"rate": options.rate, "shoppers": options.shoppers, "seed": options.seed, "is_static": options.static}
    return [
        (f"{name}, {guarantee}", name, Plan(settings=settings_for(settings, guarantee), **size))
        for name in options.fault
        for guarantee in map(Guarantee, options.guarantee)
        if guarantee in FAULTS[name].guarantees
    ]


def _played(options: argparse.Namespace, title: str, name: str, plan: Plan) -> TrialResult:
    with tempfile.TemporaryDirectory(prefix="cluster-faults-", ignore_cleanup_errors=True) as scratch:
        folder = options.keep / title.replace(", ", "-") if options.keep else Path(scratch)
        return play(name, FAULTS[name], plan, folder, lambda text: terminal.remark(f"{title}: {text}"))


def markdown(results: Sequence[TrialResult]) -> Iterator[str]:
    """Yield the table of a page, and its origin."""
    found = {(one.fault, one.guarantee): one.dark for one in results}
    rows = []
    for name in dict.fromkeys(one.fault for one in results):
        pairs = [found.get((name, each), ()) for each in Guarantee]
        rows.append([FAULTS[name].about, *(text for pair in pairs for text in [f"{s:.1f}" for s in pair] or "--")])
    titles = [f"{each.value.replace('_', ' ')}, {what}" for each in Guarantee for what in ("median", "worst")]
    yield markdown_table(["Fault", *titles], rows)
    violated = sum(len(one.verify) + len(one.audit) for one in results)
    copies = sum(one.copies for one in results if one.guarantee is Guarantee.EXACTLY_ONCE)
    ended, minutes = sum(len(one.ended) for one in results), sum(one.seconds for one in results) / 60
    machine = machine_now()
    yield (
        f"Trials: {len(results)}, in {minutes:.0f} minutes. Violations by either audit: {violated}; copies exactly "
        f"once: {copies}; workers that ended by themselves: {ended}. Measured on {datetime.date.today()} at commit "
        f"{commit()} ({machine.cores} cores for three brokers, the workers and the shop); mean load of the trials "
        f"{mean(one.load for one in results):.1f}. Where it is above the number of cores, seconds are worse than they "
        "would be."
    )


def print_results(results: Sequence[TrialResult]) -> None:
    """Print a line for each trial, then what was violated and why workers ended."""
    table = Table("fault", "guarantee", title="seconds without a decision, by partition: median and worst")
    for name in (
        "load",
        "dark",
        "since sent",
        "to lag 0",
        "trial",
        "events",
        "answered",
        "issues",
        "copies",
        "verify",
        "audit",
        "ended",
    ):
        table.add_column(name, justify="right")
    for one in results:
        table.add_row(
            one.fault,
            one.guarantee,
            f"{one.load:.0f}",
            f"{one.dark.p50_s:.1f} {one.dark.worst_s:.1f}",
            f"{one.dark_since_sent.p50_s:.1f} {one.dark_since_sent.worst_s:.1f}",
            f"{one.idle_after_s:.1f}",
            f"{one.seconds:.0f}",
            *(f"{count:,}" for count in (one.events, one.answered, one.issues, one.copies)),
            *(str(len(found)) for found in (one.verify, one.audit, one.ended)),
        )
    terminal.stdout().print(table)
    for one in results:
        title = f"{one.fault}, {one.guarantee}"
        for text in [*one.verify, *one.audit]:
            terminal.say(f"{title}: {text}", "bold red")
        for ended in one.ended:
            terminal.say(f"{title}: {ended.worker} ended with exit code {ended.code}: {' | '.join(ended.lines)}")


if __name__ == "__main__":
    sys.exit(main())
