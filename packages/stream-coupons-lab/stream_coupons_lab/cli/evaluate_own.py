"""`evaluate` on a recording of the engine's own topics: every issue scored again by the model that it names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from stream_coupons.cli import terminal
from stream_coupons.cli.own_records import read_recording
from stream_coupons.core.errors import BadConfig
from stream_coupons_lab.cli.evaluate_text import metrics_table, slices_table

if TYPE_CHECKING:  # imported where they are used: no help needs them
    from stream_coupons.settings import Settings
    from stream_coupons_lab.offline.own_issues import OwnEvaluation
    from stream_coupons_lab.offline.scored import Scored


def score_again(path: Path, settings: Settings) -> tuple[OwnEvaluation, list[Scored], int]:
    """Return the results, the issues scored again, and how many lines are no record of a topic.

    Raises
    ------
    BadConfig
        If the recording has no issue.
    """
    from stream_coupons.secret import draw_key
    from stream_coupons_lab.offline.own_issues import OwnIssues

    own = OwnIssues(settings.learning, draw_key(settings))
    bad_lines = read_recording(path, own.take)
    if not len(own):
        raise BadConfig(
            f"{path}: no record of the topic coupon-issues; write them with `stream-coupons tail coupon-issues "
            "--recording --from-beginning --timeout 5`, and so training-examples and model-snapshots"
        )
    scored = own.scored()
    return own.evaluation(scored), scored, bad_lines


def print_own(found: OwnEvaluation, bad_lines: int) -> None:
    """Print all of it for a person."""
    console = terminal.stdout()
    console.print(
        terminal.summary_table(
            {
                "issues": found.issues,
                "controls": found.controls,
                "same probabilities as recorded": found.reproduced,
                "others": found.different,
            }
        )
    )
    if found.reproduced + found.different:
        console.print(metrics_table(found.heads))
    for name in dict.fromkeys(one.head for one in found.orders):
        console.print(slices_table(name, [one for one in found.orders if one.head == name]))
    for warning in _warnings(found, bad_lines):
        terminal.warn(warning)


def _warnings(found: OwnEvaluation, bad_lines: int) -> Iterator[str]:
    if found.without_features:
        yield f"{found.without_features} issues have no training example: their window is open, or nothing is learnt"
    if found.without_snapshot:
        yield (
            f"{found.without_snapshot} issues and controls are left out, for their snapshot is not in the recording: "
            "the topic model-snapshots is compacted; record it while the system runs"
        )
    if found.other_schema:
        yield f"{found.other_schema} issues and controls are of another release, whose features are not known here"
    for difference in found.differences:
        yield f"other probabilities than recorded: {difference}"
    if bad_lines or found.unreadable:
        yield f"{bad_lines} lines are no records of topics, {found.unreadable} records cannot be read: left out"
