"""`tune`: better settings for the log of another system, judged on a part of it that the search has not seen."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from msgspec.structs import replace
from rich import box
from rich.table import Table

from stream_coupons import __version__
from stream_coupons.cli import terminal
from stream_coupons.cli.options import ConfigOption, JsonOption, settings_from
from stream_coupons.core.errors import BadConfig
from stream_coupons.ops.interrupts import Interruptions
from stream_coupons.ops.recordings import not_readable
from stream_coupons_lab.cli.foreign_logs import (
    MappingOption,
    WindowOption,
    report_refused,
    require_distinct,
)
from stream_coupons_lab.cli.output import replaced
from stream_coupons_lab.datasets import foreign, sources
from stream_coupons_lab.tuning.options import Method, TunedHead

if TYPE_CHECKING:  # imported where they are used: no help needs them, and Optuna is an optional extra
    from optuna import Study
    from optuna.trial import FrozenTrial

    from stream_coupons.settings import Settings
    from stream_coupons_lab.offline.quality import LabelledIssues
    from stream_coupons_lab.tuning.objective import Objective, Tuned
    from stream_coupons_lab.tuning.study import SearchPlan


def tune(  # noqa: PLR0913 - the options of a command
    log: Annotated[
        Path, typer.Argument(help="A log of another system: JSON lines, or a .csv or .parquet with --mapping.")
    ],
    mapping: MappingOption = None,
    method: Annotated[
        Method, typer.Option(help="Go through a grid, draw at random, or learn from the trials before (TPE).")
    ] = Method.BAYES,
    trials: Annotated[int, typer.Option(help="How many, those of interrupted runs included.", min=1)] = 50,
    jobs: Annotated[int, typer.Option(help="Processes at work at a time; each holds the log.", min=1)] = 1,
    head: Annotated[TunedHead, typer.Option(help="Which prediction is looked at.")] = TunedHead.REDEEM,
    out: Annotated[Path | None, typer.Option(help="Write the settings found here, as TOML for --config.")] = None,
    study: Annotated[Path, typer.Option(help="File that keeps the trials; the same command goes on with them.")] = Path(
        "tuning.study"
    ),
    only: Annotated[list[str] | None, typer.Option(help="Search this setting only; may be repeated.")] = None,
    held_out: Annotated[
        float, typer.Option(help="Share of the issues, the latest, that are kept to judge by.", min=0.05, max=0.9)
    ] = 0.3,
    window: WindowOption = foreign.WINDOW_S,
    seed: Annotated[int, typer.Option(help="The same seed tries the same points; bayes with one job.", min=0)] = 0,
    force: Annotated[bool, typer.Option("--force", help="Write --out even if it is not shown to be better.")] = False,
    json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Search for settings that predict a log better.

    In each trial the model learns through the first part of the log, every
    issue scored before its outcome is known. What was found is compared
    with the settings used today (the defaults, or --config) on the later
    part, which the search has not seen. Only if the whole 95 % interval of
    the difference is a gain is --out written; otherwise exit code 1 says
    so. Ctrl-C keeps the finished trials.

    Needs an optional extra, from the clone: pip install -e 'packages/stream-coupons-lab[tune]'

    Examples: stream-coupons tune examples/finance/log.jsonl --trials 5
              stream-coupons tune log.jsonl --jobs 2 --out found.toml
              stream-coupons tune log.jsonl --method grid --trials 9 \\
                --only learning.prior_variance --only profile.half_life_s
              stream-coupons tune log.jsonl --json
    """
    _require_extra()
    from stream_coupons_lab.processes import processes
    from stream_coupons_lab.tuning import search_space
    from stream_coupons_lab.tuning.objective import Objective, settings_file, split_at
    from stream_coupons_lab.tuning.study import SearchPlan, opened

    written = {"--study": study, "--out": out}
    require_distinct({"LOG": log, "--config": config, **written})
    _require_folders(*written.items())
    base = settings_from(config, None)
    plan = SearchPlan(search_space.build(only or ()), base, method, trials, seed)
    question = plan.question()  # a grid that does not fit is refused before the log is read
    question |= {"log": _digest(log), "mapping": None if mapping is None else _digest(mapping), "window": window}
    question |= {"head": head, "held_out": held_out, "version": __version__}
    reading = sources.read(log, window, mapping)
    report_refused(reading, log)
    objective = Objective(log, window, split_at(reading, held_out), head, mapping)
    with opened(study, plan, question) as kept, _interruptible(), processes(jobs) as pool:
        tuned = _Search(objective, plan, pool).run(kept, study)
    if tuned.is_better or force:
        tuned = replace(tuned, written=out)
    with replaced(tuned.written) as sink:
        if sink is not None:
            sink.write(settings_file(tuned.found, base).encode())
    terminal.show(tuned, _print, as_json=json, enc_hook=str)
    raise typer.Exit(0 if tuned.is_better and not reading.refusals.count else 1)


def _require_extra() -> None:
    missing = [name for name in ("optuna", "tomli_w") if find_spec(name) is None]
    if missing:
        raise BadConfig(
            f"tune needs an optional extra, from the clone: "
            f"pip install -e 'packages/stream-coupons-lab[tune]' (no {', '.join(missing)})"
        )


def _require_folders(*files: tuple[str, Path | None]) -> None:
    for name, path in files:
        if path is not None and not path.parent.is_dir():
            raise BadConfig(f"{name} {path}: there is no folder {path.parent}")


def _digest(log: Path) -> str:
    try:
        with log.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise not_readable(log, error) from None


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let Ctrl-C and SIGTERM end the search at once: the worker processes alone write trials, each at its end."""
    with Interruptions(at_once=True):
        try:
            yield
        except KeyboardInterrupt:
            terminal.stop_interrupted(": the finished trials are kept; the same command goes on")


@dataclass(frozen=True, slots=True)
class _Search:
    """A search in processes, with progress bars."""

    objective: Objective
    plan: SearchPlan
    pool: Executor

    def run(self, study: Study, path: Path) -> Tuned:
        """Return the best settings beside those used today."""
        from stream_coupons_lab.tuning.objective import Tuned, compare
        from stream_coupons_lab.tuning.search_space import rounded, settings_with
        from stream_coupons_lab.tuning.study import done

        asked, plan, cut = self.objective, self.plan, self.objective.until
        before = self._predict("scoring with the settings used today", plan.base)
        before.known_before(cut).require_both(f"{asked.log}, P({asked.head}), before {terminal.utc(cut)}")
        before.issued_since(cut).require_both(f"{asked.log}, P({asked.head}), from {terminal.utc(cut)}")
        best, quality = self._best(study, path)
        after = self._predict("scoring with those found", settings_with(plan.base, best.params))
        later = compare(before.issued_since(cut), after.issued_since(cut), plan.seed)
        failed = sum(trial.state.name == "PRUNED" for trial in done(study))
        return Tuned(
            log=asked.log,
            method=plan.method,
            head=asked.head,
            seed=plan.seed,
            trials=plan.total,
            failed=failed,
            best_trial=best.number,
            best_quality=quality,
            used_today=plan.space.values(plan.base),
            found=rounded(best.params),
            split_at=cut,
            searched=compare(before.known_before(cut), after.known_before(cut), plan.seed),
            held_out=later,
            is_better=later.gain.low > 0,
            written=None,
        )

    def _predict(self, what: str, settings: Settings) -> LabelledIssues:
        """Return the predictions of settings over the whole log."""
        with terminal.fraction_progress(what, 1) as progress:
            progress.update(progress.task_ids[0], total=None)  # it moves, and knows no end
            return self.pool.submit(self.objective.predictions, settings).result()

    def _best(self, study: Study, path: Path) -> tuple[FrozenTrial, float]:
        """Run all trials; return the best, and its quality."""
        from stream_coupons_lab.tuning import study as studies
        from stream_coupons_lab.tuning.search_space import rounded

        shown = studies.best(study)
        with terminal.fraction_progress("tuning", self.plan.total) as progress:
            for _ in chain([None], studies.search(study, path, self.plan, self.objective, self.pool)):
                best = studies.best(study)
                if best is not None and (shown is None or best.number != shown.number):
                    values = "  ".join(f"{setting}={value}" for setting, value in rounded(best.params).items())
                    text = f"trial {best.number}: log loss {best.value:.5f}  {values}"
                    progress.console.print(text, markup=False, soft_wrap=True)
                shown = best
                done = len(studies.done(study))
                note = f"{done} of {self.plan.total}" + (f"  best log loss {best.value:.5f}" if best else "")
                progress.update(progress.task_ids[0], completed=done, note=note)
        if shown is None or shown.value is None:
            raise BadConfig(f"none of {self.plan.total} trials led to a finite log loss")
        return shown, shown.value


def _print(tuned: Tuned) -> None:
    from stream_coupons_lab.tuning.objective import verdict

    title = f"trial {tuned.best_trial} of {tuned.trials}"
    title += f", {tuned.failed} without a quality" if tuned.failed else ""
    rows = [[name, str(tuned.used_today[name]), str(value)] for name, value in tuned.found.items()]
    terminal.print_table(("setting", "today", "found"), rows, title=title, title_justify="left", box=box.SIMPLE_HEAD)
    terminal.stdout().print(_quality_table(tuned))
    terminal.say(verdict(tuned))


def _quality_table(tuned: Tuned) -> Table:
    title = f"log loss of P({tuned.head}), cut at {terminal.utc(tuned.split_at)}, 95 % interval"
    columns = ("part", "issues", "positive", "today", "found", "gain", "from", "to")
    table = Table(*columns, title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for part, one in (("searched", tuned.searched), ("held out", tuned.held_out)):
        quality = [f"{value:.4f}" for value in (one.first, one.second)]
        gain = [f"{value:+.4f}" for value in (one.gain.value, one.gain.low, one.gain.high)]
        table.add_row(part, str(one.issues), str(one.positives), *quality, *gain)
    return table
