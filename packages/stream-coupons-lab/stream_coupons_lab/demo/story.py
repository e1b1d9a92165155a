"""One shopper of a run: what they did, the coupon that they got and why, and what they did with it."""

from collections import Counter
from collections.abc import Iterable
from itertools import groupby

from msgspec import Struct

from stream_coupons.core.messages.decisions import CouponIssue, LoggedDecision
from stream_coupons.core.messages.inputs import FeedbackEvent
from stream_coupons.core.plurals import counted
from stream_coupons.core.rules import PolicyRules
from stream_coupons.ops.explain.candidate_verdicts import WORDS
from stream_coupons.ops.explain.explanation import explain_issue
from stream_coupons_lab.demo import words
from stream_coupons_lab.demo.outcomes import Outcomes
from stream_coupons_lab.simulation.behaviour import DAY_S

BEFORE_S = 3600.0
"""The story begins at most this long before the coupon."""


def clicked_and_used(outcomes: Outcomes, events: Iterable[Struct]) -> CouponIssue | None:
    """Return the first coupon of the second half, when models have learnt, that was given on merit, clicked and used.

    On merit: for its value, with reasons, and not by chance.
    """
    clicked = {event.issue_id for event in events if isinstance(event, FeedbackEvent) and event.kind == "click"}
    half = outcomes.issues[len(outcomes.issues) // 2 :]
    issues = (issue for issue in half if issue.issue_id in outcomes.redeemed & clicked)
    return next((issue for issue in issues if issue.reasons and not issue.is_explored), None)


def timeline(
    issue: CouponIssue,
    events: Iterable[Struct],
    decision: LoggedDecision | None,
    rules: PolicyRules,
    outcomes: Outcomes,
) -> list[tuple[str, str]]:
    """Return (time, what happened) from the shopper's visit before a coupon to its use; no time twice in a row.

    Parameters
    ----------
    issue : CouponIssue
        The coupon, which was used.
    events : iterable of Struct
        Events of all shoppers.
    decision : LoggedDecision or None
        The decision that led to it, if it is known.
    rules : PolicyRules
        Rules of the workers.
    outcomes : Outcomes
        Outcomes of the run.
    """
    own = [event for event in events if event.user_id == issue.user_id and _is_about(event, issue)]  # type: ignore[attr-defined]
    used_at = max(event.occurred_at for event in own if isinstance(event, FeedbackEvent))
    since = issue.issued_at - BEFORE_S
    done = [(event.occurred_at, words.did(event)) for event in own if since <= event.occurred_at <= used_at]  # type: ignore[attr-defined]
    margin = words.euros(outcomes.margins[issue.issue_id], sign="+")
    given = [*_coupon(issue, decision, rules), f"by perfect knowledge, it was worth {margin} at that moment"]
    merged = sorted([*done, *((issue.issued_at, text) for text in given)], key=lambda line: line[0])
    lines: list[tuple[str, str]] = []
    shown = ""
    for text, some in groupby(merged, key=lambda line: line[1]):
        times = [at for at, _ in some]
        clock = _clock(times[0] - outcomes.starts_at)
        lines.append(("" if clock == shown else clock, f"{text}, {len(times)} times" if len(times) > 1 else text))
        shown = clock
    return lines


def _is_about(event: Struct, issue: CouponIssue) -> bool:
    """Return True unless the event is feedback on another coupon."""
    return not isinstance(event, FeedbackEvent) or event.issue_id == issue.issue_id


def _coupon(issue: CouponIssue, decision: LoggedDecision | None, rules: PolicyRules) -> list[str]:
    """Return the coupon, its reasons, and the reasons against the others, a line each."""
    found = explain_issue(issue, decision, rules)
    against = Counter(one.reason for one in found.others)
    return [
        f"got “{issue.title}”, expected to add {words.euros(issue.value_minor, sign='+')} to the margin: P(redeem) "
        f"{issue.p_redeem:.1%}, P(order without a coupon) {issue.p_order:.1%}",
        *(f"the coupon {reason.sentence}" for reason in found.reasons),
        *(f"why not {counted(count, 'other')}: {WORDS[code]}" for code, count in against.most_common()),
    ]


def _clock(since_start_s: float) -> str:
    """Return a moment of a run as day and time.

    >>> _clock(90061.0)
    'day 2, 01:01'
    """
    day, second = divmod(int(since_start_s), int(DAY_S))
    return f"day {day + 1}, {second // 3600:02d}:{second // 60 % 60:02d}"
