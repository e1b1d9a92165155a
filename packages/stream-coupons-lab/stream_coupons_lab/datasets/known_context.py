"""Check that the context of a log's decisions holds no outcome: a model would read the answer from it."""

from collections import Counter
from collections.abc import Iterable

from stream_coupons.core.errors import BadConfig
from stream_coupons.core.messages.inputs import FeedbackEvent
from stream_coupons_lab.datasets.log_records import LoggedIssue, LogRecord

FEW = 20
"""Decisions with an outcome, and without, below which no field is refused."""
LEAK_RATIO = 0.99
"""A field that agrees with an outcome in this share of the decisions with it, and of those without, is the outcome."""
ANY = "any value but 0"


def require_known_context(records: Iterable[LogRecord], name: str) -> None:
    """Refuse a context field that tells nearly always who clicks or purchases, and who does not.

    It is compared by each of its values, and by having one besides 0. What is known at a decision errs more often.

    Parameters
    ----------
    records : iterable of LogRecord
        The log.
    name : str
        Name of the log, for the message.

    Raises
    ------
    BadConfig
    """
    issues, outcomes = dict[str, LoggedIssue](), {"click": set[str](), "purchase": set[str]()}
    for record in records:
        if isinstance(record, LoggedIssue):
            issues[record.issue_id] = record
        elif isinstance(record, FeedbackEvent) and record.kind in outcomes:
            outcomes[record.kind].add(record.issue_id)
    having = Counter(each for one in issues.values() for each in _signs(one))
    for kind, positive in outcomes.items():
        wholes = {f"with a {kind}": len(positive), f"without a {kind}": len(issues) - len(positive)}
        if min(wholes.values()) < FEW:
            continue
        both = Counter(each for issue_id in positive for each in _signs(issues[issue_id]))
        for (field, value), count in having.items():
            parts = both[field, value], count - both[field, value]
            for part, (which, whole) in zip(parts, wholes.items(), strict=True):
                is_rare_elsewhere = count - part <= (1.0 - LEAK_RATIO) * (len(issues) - whole)
                if part >= LEAK_RATIO * max(count, whole) and is_rare_elsewhere:
                    raise BadConfig(
                        f"{name}: context field {field!r} is an outcome: it has {value!r} in {part:,} of {whole:,} "
                        f"decisions {which}, and in {count - part:,} others. It was not known when it was decided: "
                        "leave it out of the context"
                    )


def _signs(issue: LoggedIssue) -> Iterable[tuple[str, object]]:
    """Yield the fields of a context with their values, and with `ANY` where there is one besides 0."""
    for field, value in issue.context.items():
        yield field, value
        if value:
            yield field, ANY
