"""Reader of a foreign log: what shoppers did, and which coupons another system gave them, in one file of JSON lines.

    {"type": "order", "user_id": "u1", "occurred_at": "2026-01-02T09:00:00Z", "items": [{"item_id": "tea"}]}
    {"type": "issue", "issue_id": "i1", "user_id": "u1", "occurred_at": 1767348000, "coupon": {"coupon_id": "c1"}}
    {"type": "feedback", "issue_id": "i1", "occurred_at": 1767351600, "kind": "click"}

The whole log is read, and put in order of time, before its first record is given out. A line that cannot be used is
refused with its number and the rest goes on. Blank lines and unknown keys of a line are skipped, the keys counted.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from stream_coupons.core.errors import BadConfig, BadMessage
from stream_coupons.core.messages.catalogue import Coupon
from stream_coupons.core.messages.fields import END_OF_TIME, NO_COUPON
from stream_coupons.core.messages.inputs import FeedbackEvent, window_fault
from stream_coupons.core.reasons import Rejection
from stream_coupons.core.shopper.profile import DAY_S
from stream_coupons.ops.recordings import Line, Refusals, lines, not_readable
from stream_coupons_lab.datasets.foreign_lines import (
    LogFault,
    arm_of,
    event,
    parse,
    read_coupon,
    seconds,
    type_of,
    unknown_keys,
)
from stream_coupons_lab.datasets.known_context import require_known_context
from stream_coupons_lab.datasets.log_records import (
    FeedbackLine,
    IssueLine,
    LoggedIssue,
    LogLine,
    LogRecord,
)

WINDOW_S = 7 * DAY_S


class ForeignLog:
    """A foreign log, as far as it was taken in.

    Attributes
    ----------
    refusals : Refusals
        The lines that were not used.
    counts : Counter
        Records by type.
    unknown_keys : Counter
        By type of line and key, the lines that have a key which their type does not know.
    gave_nothing : int
        Issues of the arm none.
    bought_without_coupon : int
        Purchases on issues that gave nothing.
    kinds : set of str
        The kinds of feedback that there are.
    coupon_of : dict
        The coupon_id behind the name of every arm.
    """

    def __init__(self, window_s: float, refusals: Refusals) -> None:
        self.refusals = refusals
        self.counts: Counter[str] = Counter()
        self.unknown_keys: Counter[tuple[str, str]] = Counter()
        self.gave_nothing = 0
        self.bought_without_coupon = 0
        self.kinds: set[str] = set()
        self.coupon_of: dict[str, str] = {NO_COUPON: NO_COUPON}
        self._window_s = window_s
        self._catalogue: dict[str, Coupon] = {}
        self._issues: dict[str, LoggedIssue] = {}
        self._waiting: list[tuple[Line, FeedbackLine]] = []
        self._records: list[tuple[float, int, LogRecord]] = []

    @property
    def coupons(self) -> list[Coupon]:
        """The catalogue: each coupon as its first description states.

        A coupon that is only named among `arms` has only its id.
        """
        return list(self._catalogue.values())

    @property
    def domains(self) -> list[str]:
        """Domains of the coupons and of the issues that name one, sorted."""
        named = {coupon.domain for coupon in self.coupons}
        named.update(issue.domain for issue in self._issues.values() if issue.domain is not None)
        return sorted(named)

    @property
    def labelled_heads(self) -> frozenset[str]:
        """The heads of which the log has a positive label: of others there is nothing to learn."""
        heads = {"click": ("click",), "purchase": ("redeem", "order")}
        return frozenset(head for kind in self.kinds for head in heads.get(kind, ()))

    def require_domains(self, names: Iterable[str], where: str) -> None:
        """Refuse names that are no domains of this log; `where` says in the message where they were given.

        Raises
        ------
        BadConfig
        """
        for name in names:
            if name not in self.domains:
                known = ", ".join(map(repr, self.domains))
                raise BadConfig(f"{where}: {name!r} is no domain of the log, which has {known}")

    def __len__(self) -> int:
        return len(self._records)

    def records(self) -> Iterator[LogRecord]:
        """All records in order of time; those of one time in the order of the file."""
        return (record for _, _, record in self._records)

    def take(self, line: Line) -> None:
        """Add a line of the file, or refuse it."""
        try:
            record = parse(line.text)
            self.unknown_keys.update((type_of(record), key) for key in unknown_keys(line.text, record))
            if isinstance(record, IssueLine):
                self._take_issue(line.number, record)
            elif isinstance(record, FeedbackLine) and record.issue_id not in self._issues:
                self._waiting.append((line, record))
            elif isinstance(record, FeedbackLine):
                self._take_feedback(line.number, record)
            else:
                self._add(line.number, record, event(line.number, record))
        except BadMessage as bad:
            self.refusals.add(line, bad)

    def close(self) -> None:
        """Take the feedback that stood before its issue, and order everything by time."""
        for line, record in self._waiting:
            try:
                self._take_feedback(line.number, record)
            except BadMessage as bad:
                self.refusals.add(line, bad)
        self._waiting.clear()
        for coupon_id in self.coupon_of.values():
            if coupon_id != NO_COUPON and coupon_id not in self._catalogue:
                self._catalogue[coupon_id] = read_coupon({"coupon_id": coupon_id}, self._window_s)
        self._records.sort(key=lambda entry: entry[:2])

    def _add(self, number: int, line: LogLine, record: LogRecord) -> None:
        self.counts[type_of(line)] += 1
        self._records.append((record.occurred_at, number, record))

    def _take_issue(self, number: int, line: IssueLine) -> None:
        if line.issue_id in self._issues:
            first = self._issues[line.issue_id].line
            raise BadMessage(LogFault.REPEATED, f"issue {line.issue_id} is on line {first} already")
        coupon = self._coupon_of(line)
        arm = arm_of(line, coupon)
        at = seconds(line.occurred_at, "occurred_at")
        window_s = coupon.redeem_within_s if coupon is not None else self._window_s
        expires_at = min(at + window_s, END_OF_TIME)
        if line.expires_at is not None:
            expires_at = seconds(line.expires_at, "expires_at")
        if expires_at < at:
            raise BadMessage(Rejection.INVALID, f"expires_at is {at - expires_at:g} s before occurred_at")
        fault = window_fault(at, expires_at)
        if fault is not None:
            raise BadMessage(Rejection.INVALID, f"{fault}; without it --window counts")
        issue = LoggedIssue(
            line=number,
            issue_id=line.issue_id,
            user_id=line.user_id,
            occurred_at=at,
            expires_at=expires_at,
            domain=coupon.domain if coupon is not None else line.domain,
            coupon_id=coupon.coupon_id if coupon is not None else NO_COUPON,
            arm=arm,
            arms=tuple(dict.fromkeys(line.arms or ())),
            propensity=line.propensity,
            context=line.context or {},
        )
        if coupon is not None:
            self._catalogue.setdefault(coupon.coupon_id, coupon)
        self.coupon_of[arm] = issue.coupon_id
        for each in issue.arms:
            self.coupon_of.setdefault(each, each)
        self.gave_nothing += coupon is None
        self._issues[issue.issue_id] = issue
        self._add(number, line, issue)

    def _coupon_of(self, line: IssueLine) -> Coupon | None:
        """The coupon of an issue, as the log described it first."""
        if line.coupon is None or line.coupon.get("coupon_id") == NO_COUPON:
            return None
        coupon_id = line.coupon.get("coupon_id")
        if isinstance(coupon_id, str) and coupon_id in self._catalogue:
            return self._catalogue[coupon_id]
        of_line = {} if line.domain is None else {"domain": line.domain}
        return read_coupon(of_line | line.coupon, self._window_s)

    def _take_feedback(self, number: int, line: FeedbackLine) -> None:
        issue = self._issues.get(line.issue_id)
        if issue is None:
            raise BadMessage(Rejection.UNKNOWN_ISSUE, f"issue {line.issue_id}: no line of the log is of that issue")
        if line.user_id is not None and line.user_id != issue.user_id:
            detail = f"issue {line.issue_id} is of shopper {issue.user_id}, not of {line.user_id}"
            raise BadMessage(LogFault.WRONG_USER, detail)
        at = seconds(line.occurred_at, "occurred_at")
        if line.kind == "expiry" and (at, number) < (issue.occurred_at, issue.line):
            raise BadMessage(Rejection.INVALID, f"issue {line.issue_id} expires before it is issued")
        self.bought_without_coupon += line.kind == "purchase" and issue.coupon_id == NO_COUPON
        self.kinds.add(line.kind)
        feedback = FeedbackEvent(
            # Not the id in the log, which may be that of the order it tells of: the order would count, this would not.
            event_id=f"{line.kind} on line {number}",
            issue_id=line.issue_id,
            user_id=issue.user_id,
            occurred_at=at,
            kind=line.kind,
            # The log has at most one order of each issue.
            order_id=line.issue_id if line.kind == "purchase" else None,
            order_value_minor=line.order_value_minor,
            discount_minor=line.discount_minor,
        )
        self._add(number, line, feedback)


def read(path: Path, window_s: float = WINDOW_S) -> ForeignLog:
    """Read a foreign log.

    Parameters
    ----------
    path : Path
        JSON lines.
    window_s : float
        Validity of a coupon if neither `expires_at` nor its `redeem_within_s` states it, and observation window after
        an issue of no coupon; seconds, at most 366 days.

    Raises
    ------
    BadConfig
        If the file cannot be read or holds no issue.
    """
    try:
        with path.open("rb") as source:
            return take_all(lines(source), str(path), window_s)
    except OSError as error:
        raise not_readable(path, error) from None


def take_all(numbered: Iterable[Line], name: str, window_s: float = WINDOW_S) -> ForeignLog:
    """Return the log of lines that are read already; `name` is for messages.

    Raises
    ------
    BadConfig
    """
    log = ForeignLog(window_s, Refusals())
    for line in numbered:
        log.take(line)
    log.close()
    if not log.counts["issue"]:
        raise BadConfig(_without_issue(name, log))
    require_known_context(log.records(), name)
    return log


def _without_issue(name: str, log: ForeignLog) -> str:
    first = log.refusals.first
    refused = f"; {log.refusals.count} lines were refused, line {first[0].line}: {first[0].detail}" if first else ""
    return (
        f"{name}: holds no issue{refused}. Expected at least one line such as "
        '{"type": "issue", "issue_id": "i1", "user_id": "u1", "occurred_at": 1767348000, "coupon": {"coupon_id": "c1"}}'
    )
