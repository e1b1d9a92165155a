"""The command line that the benchmarks of policies share: their options, and how their runs are played.

--runs FILE keeps every finished run. Ctrl-C shows what is finished.
"""

import argparse
import math
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from stream_coupons.cli.terminal import INTERRUPTED, fraction_progress, stderr
from stream_coupons.core.errors import BadConfig
from stream_coupons.settings import Settings, load

from .runs import TRUE_VALUE, AnyRun, AnyTask, Kept, runs_of

R = TypeVar("R", bound=AnyRun)


def number(kind: type[int] | type[float], least: float) -> Callable[[str], float]:
    """Return a parser of finite numbers that are at least `least`, for options."""

    def read(text: str) -> float:
        value = kind(text)
        if not (value >= least and math.isfinite(value)):
            raise argparse.ArgumentTypeError(f"{text}: expected {least:g} or more")
        return value

    read.__name__ = "whole number" if kind is int else "number"
    return read


def new_parser(
    module: str, about: str | None, policies: Mapping[str, str], epilog: str = ""
) -> argparse.ArgumentParser:
    """Return a parser of the options that every benchmark of policies has, but for the size of its worlds.

    Parameters
    ----------
    module, about, epilog : str
        The module that is run, its docstring, and text behind the list of policies.
    policies : dict of str to str
        Policies by name, each with a description.
    """
    listed = "\n".join(f"  {name:<24}{text}" for name, text in policies.items())
    parser = argparse.ArgumentParser(
        prog=f"python -m {module}",
        description=about,
        epilog=f"policies:\n{listed}{epilog}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    several: dict[str, Any] = {"choices": list(policies), "nargs": "+", "metavar": "POLICY"}
    parser.add_argument("--seeds", type=number(int, 0), nargs="+", help="of the worlds: %(default)s")
    parser.add_argument("--policies", default=list(policies), **several)
    parser.add_argument("--config", type=Path, help="settings, as of `stream-coupons worker`; default: the product's")
    parser.add_argument("--jobs", type=number(int, 1), default=os.cpu_count() or 1, help="processes: as many as cores")
    parser.add_argument("--runs", type=Path, metavar="FILE", help="keeps finished runs, a JSON object a line")
    parser.add_argument("--again", default=[], help="play kept ones anew", **several)
    parser.add_argument("--json", action="store_true", help="print JSON in place of tables")
    return parser


def add_true_value(options: argparse.Namespace) -> None:
    """Let true value be played, too, which other policies or figures need."""
    if TRUE_VALUE not in options.policies:
        options.policies.append(TRUE_VALUE)


def played(
    options: argparse.Namespace,
    kind: type[R],
    tasks_of: Callable[[Settings], Sequence[AnyTask[R]]],
    note: Callable[[R], str],
    show: Callable[[Sequence[R], bool], None],
) -> int:
    """Play the runs that the options ask for, and show them; return the exit code.

    Parameters
    ----------
    kind : type
        Type of a run.
    tasks_of, note : callable
        Return the runs to be made under some settings, and the text that a finished run adds to the progress bar.
    show : callable
        Shows the finished runs, and is told whether they are all.

    Returns
    -------
    int
        0; 1 if a process failed; 2 if settings or kept runs cannot be read; 130 after Ctrl-C.
    """
    try:
        kept, tasks = Kept(options.runs, kind), tasks_of(load(options.config))
    except BadConfig as error:
        stderr().print(f"[red]error:[/] {error}", highlight=False, soft_wrap=True)
        return 2
    runs: list[R] = []
    exit_code = INTERRUPTED
    try:
        with suppress(KeyboardInterrupt), fraction_progress("runs", len(tasks)) as progress:
            for run in runs_of(tasks, kept, options.jobs, frozenset(options.again)):
                runs.append(run)
                progress.update(progress.task_ids[0], advance=1, note=note(run))
            exit_code = 0
    except BrokenProcessPool:
        stderr().print("[red]error:[/] a process ended before its time, for lack of memory perhaps: try fewer --jobs")
        exit_code = 1
    show(runs, exit_code == 0)
    if exit_code:
        stderr().print(f"{len(runs)} of {len(tasks)} runs are finished")
    return exit_code


def as_json(document: object) -> str:
    """Return a document as indented JSON."""
    return msgspec.json.format(msgspec.json.encode(document), indent=2).decode()
