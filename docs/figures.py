"""Measure the figures of the pages and write their tables: `make figures`, or `python docs/figures.py --only learning`.

Results go to docs/figures.json with date, commit and machine; tables go between the markers `<!-- figures: NAME -->`
and `<!-- /figures -->` of the pages. `--render` writes the tables of docs/figures.json without measuring, and that of
the trials under faults, which `make test-faults` appends to docs/trials.jsonl.
"""

import argparse
import datetime
import json
import os
import platform
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.checkout import commit

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "docs" / "figures.json"
TRIALS = ROOT / "docs" / "trials.jsonl"
PAGES = {
    "faults": "docs/explanation/guarantees.md",
    "learning": "docs/explanation/how-it-learns.md",
    "cost": "docs/how-to/measure-the-cost.md",
    "live": "docs/how-to/measure-the-cost.md",
    "peers": "docs/how-to/measure-the-cost.md",
}
OF_QUALITY = {"learning"}
"""Tables whose figures do not depend on the load."""
MEASURED_WITH = {"live": "cost"}
"""Tables of the results of another name."""
BUSY_LOAD = 1.0
"""Load before measuring, above which a table says so."""
BENCH_PYTHON = ROOT / ".venv-bench" / "bin" / "python"
SAMPLES = ("ecommerce", "finance", "travel")
GUARANTEES = ("at_least_once", "exactly_once")
Results = Mapping[str, Any]


def run(*args: str) -> Any:
    """Return the JSON that a command of stream-coupons prints."""
    print("stream-coupons", *args, file=sys.stderr)
    command = [sys.executable, "-m", "stream_coupons", *args]
    return printed_by(command)


def printed_by(command: Sequence[str]) -> Any:
    """Return the JSON that a command prints. Ctrl-C is for the command, which ends what it started."""
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as process:
        try:
            output, _ = process.communicate()
        except KeyboardInterrupt:
            process.wait()
            raise
    if process.returncode:
        raise SystemExit(f"{command[2]} ended with exit code {process.returncode}")
    return json.loads(output)


def measure_learning() -> dict[str, Any]:
    """Return the quality of P(redeem) on each sample log."""
    found = {}
    for name in SAMPLES:
        heads = run("evaluate", f"examples/{name}/log.jsonl", "--json")["heads"]
        redeem = next(head for head in heads if head["head"] == "redeem")
        found[name] = {key: redeem[key] for key in ("examples", "positives", "log_loss", "base_log_loss", "roc_auc")}
    return found


def measure_cost() -> dict[str, Any]:
    """Return throughput, CPU, memory and latency under each guarantee, on Apache Kafka."""
    command = [sys.executable, "-m", "benchmarks.load", "--engine", "kafka", "--json", "-", "--guarantee"]
    return {name: printed_by([*command, name]) for name in GUARANTEES}


def measure_peers(repeats: int = 3) -> dict[str, Any]:
    """Return CPU and latency of our worker, plain Faust and Quix Streams at steady rates."""
    if not BENCH_PYTHON.exists():
        raise SystemExit("Quix Streams is not installed: run `make figures`, or `make .venv-bench/.ready` before")
    command = [str(BENCH_PYTHON), "-m", "benchmarks.speed", "--parts", "live", "--repeats", str(repeats)]
    found = printed_by(command)
    return {"repeats": found["repeats"], "versions": found["environment"], "rows": found["live"]}


def interval(value: Mapping[str, float]) -> str:
    """Return a figure with its 95 % interval."""
    return f"{value['value']:.3f} ({value['low']:.3f}, {value['high']:.3f})"


def learning_table(results: Results) -> list[str]:
    """Return the table of `measure_learning`."""
    rows = [
        "| Sample log | Coupons | Used | Log loss of P(redeem) | of the base rate | ROC AUC |",
        "|---|---|---|---|---|---|",
    ]
    for name, row in results.items():
        figures = f"{interval(row['log_loss'])} | {row['base_log_loss']:.3f} | {interval(row['roc_auc'])}"
        rows.append(f"| {name} | {row['examples']} | {row['positives']} | {figures} |")
    return rows


def cost_table(results: Results) -> list[str]:
    """Return the table of `measure_cost` for the backlog."""
    rows = ["| Backlog | " + " | ".join(f"`{name}`" for name in results) + " |", "|---|" + "---:|" * len(results)]
    lines: dict[str, Callable[[Any], str]] = {
        "events per second": lambda each: f"{each['throughput']['events_per_s']:,.0f}",
        "CPU of the workers, µs per event": lambda each: f"{each['throughput']['worker_cpu_us_per_event']:.0f}",
        "events per batch": lambda each: f"{each['throughput']['events_per_batch']:.0f}",
        "peak memory of the workers, MiB": lambda each: f"{each['throughput']['peak_rss_bytes'] / 2**20:.0f}",
    }
    for name, cell in lines.items():
        rows.append(f"| {name} | " + " | ".join(cell(each) for each in results.values()) + " |")
    return rows


def live_table(results: Results) -> list[str]:
    """Return the table of `measure_cost` for live events, by rate."""
    rows = [
        "| Events per second | Guarantee | CPU of the workers, µs per event | Cores | Batches per second "
        "| Events per batch | p50, ms | p99, ms | p99.9, ms | Plain topic, p50, ms |",
        "|---:|---|" + "---:|" * 8,
    ]
    by_rate = [(each["rate"], name, each) for name, measured in results.items() for each in measured["rates"]]
    for rate, name, each in sorted(by_rate, key=lambda row: row[0]):
        times = [each["latency"][key] for key in ("p50_ms", "p99_ms", "p999_ms")]
        latency = "saturated | |" if each["is_saturated"] else " | ".join(f"{value:,.0f}" for value in times)
        rows.append(
            f"| {rate:,g} | `{name}` | {each['worker_cpu_us_per_event']:,.0f} | {each['cores_used']:.2f} "
            f"| {each['batches_per_s']:,.0f} | {each['events_per_batch']:,.1f} | {latency} "
            f"| {each['floor']['p50_ms']:,.0f} |"
        )
    return rows


def peers_table(results: Results) -> list[str]:
    """Return the table of `measure_peers`."""
    rows = [
        "| Events per second | Runtime | CPU, µs per event | Cores | p50, ms | p99, ms |",
        "|---:|---|---:|---:|---:|---:|",
    ]
    for each in results["rows"]:
        times = "saturated |" if each["is_saturated"] else f"{each['p50_ms']:,.0f} | {each['p99_ms']:,.0f}"
        figures = f"{each['cpu_us']:,.0f} | {each['cores_used']:.2f} | {times}"
        rows.append(f"| {each['rate']:,g} | {each['runtime']} | {figures} |")
    return [*rows, "", f"Medians of {results['repeats']} runs of each."]


def trials() -> list[dict[str, Any]]:
    """Return the trials under faults that have passed in their long form on Apache Kafka."""
    rows = map(json.loads, TRIALS.read_text(encoding="utf-8").splitlines())
    return [row for row in rows if row["form"] == "long" and "kafka" in row["trial"]]


def kept_figures() -> dict[str, Any]:
    """Return the results of `MEASURES` that are kept, by name, with their origin."""
    results: dict[str, Any] = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    return results


def with_trials(results: Results) -> Results:
    """Return the results with those of the trials under faults, if any has passed."""
    rows = trials()
    return {**results, "faults": {"figures": {"trials": rows}}} if rows else results


def faults_table(results: Results) -> list[str]:
    """Return the table of the trials under faults: a row for all seeds and variants of one, by guarantee."""
    totals: dict[tuple[str, str], Counter[str]] = {}
    for row in results["trials"]:
        name, _, parameters = row["trial"].partition("[")
        guarantee = next((each for each in GUARANTEES if each in parameters), "")
        numbers = {key: value for key, value in row.items() if isinstance(value, int)}
        totals.setdefault((name.partition("::test_")[2].replace("_", " "), guarantee), Counter()).update(
            numbers | {"trials": 1}
        )
    columns = ("trials", "events", "kills", "restarts", "issues", "issued twice", "violations")
    rows = [f"| Trial | Guarantee | {' | '.join(columns)} |", "|---|---|" + "---:|" * len(columns)]
    for (name, guarantee), total in sorted(totals.items()):
        cells = " | ".join(f"{total[column]:,}" for column in columns)
        rows.append(f"| {name} | {guarantee and f'`{guarantee}`'} | {cells} |")
    seeds = sorted({row["trial"].partition("[")[2].partition("-")[0] for row in results["trials"]} & {"1", "2", "3"})
    commits = dict.fromkeys(row["commit"] for row in results["trials"])
    by = f"Long form of {len(results['trials'])} trials, seeds {', '.join(seeds)}, at commits {', '.join(commits)}"
    return [*rows, "", f"{by}; by `make test-faults`, which goes on where it ended."]


MEASURES: dict[str, Callable[[], dict[str, Any]]] = {
    "learning": measure_learning,
    "cost": measure_cost,
    "peers": measure_peers,
}
TABLES: dict[str, Callable[[Results], list[str]]] = {
    "faults": faults_table,
    "learning": learning_table,
    "cost": cost_table,
    "live": live_table,
    "peers": peers_table,
}


def origin(measured_at: str) -> dict[str, Any]:
    """Return when, on what and from which commit figures are."""
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "commit": measured_at,
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
        "load": round(os.getloadavg()[0], 1),
    }


def rendered(name: str, results: Results) -> str:
    """Return a table with its origin, or nothing if it was never measured."""
    measured = results.get(MEASURED_WITH.get(name, name))
    if measured is None:
        return ""
    table = "\n" + "\n".join(TABLES[name](measured["figures"])) + "\n\n"
    made = measured.get("origin")
    if made is None:  # the trials under faults, of several commits
        return table
    by = f"Measured on {made['date']} at commit {made['commit']} by `make figures` ({made['machine']})."
    if name not in OF_QUALITY and made.get("load", 0.0) > BUSY_LOAD:
        by += f" The machine was busy with other work (load {made['load']}): figures are worse than they would be."
    return f"{table}{by}\n\n"


def page_with(text: str, name: str, results: Results) -> str:
    """Return a page with its table between the markers."""
    marked = re.compile(rf"(<!-- figures: {name} -->\n).*?(<!-- /figures -->)", re.DOTALL)
    if not marked.search(text):
        raise SystemExit(f"{PAGES[name]} has no markers for the figures {name!r}")
    return marked.sub(lambda found: found[1] + rendered(name, results) + found[2], text)


def main() -> None:
    """Measure what is asked for, and write results and pages."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", choices=list(MEASURES), help="measure this alone; may be repeated")
    parser.add_argument("--render", action="store_true", help="measure nothing")
    options = parser.parse_args()
    results, measured_at = kept_figures(), commit()  # before the results are a change
    for name in [] if options.render else options.only or MEASURES:
        results[name] = {"origin": origin(measured_at), "figures": MEASURES[name]()}
        RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    shown = with_trials(results)
    for name, page in PAGES.items():
        path = ROOT / page
        path.write_text(page_with(path.read_text(encoding="utf-8"), name, shown), encoding="utf-8")


if __name__ == "__main__":
    main()
