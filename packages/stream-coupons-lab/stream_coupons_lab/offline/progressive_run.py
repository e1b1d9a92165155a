"""A foreign log through the system, record by record: every issue is scored before anything of it is learnt.

Test, then train (Dawid 1984), with the delays as they were: the features of an issue come from the records before it,
the model from the labels that had come by then. A label comes when the window of its issue closes, never before, also
after an `expiry`; a window that the log's end finds open has none. A coupon that was never seen is not learnt.
"""

import math
from collections.abc import Callable

import msgspec

from stream_coupons.core.catalogue.compiled import CouponSet
from stream_coupons.core.features.affinity import Moment
from stream_coupons.core.messages.fields import MAX_ARMS, NO_COUPON
from stream_coupons.core.messages.inputs import FeedbackEvent, ObservedIssue
from stream_coupons.core.messages.learning import TrainingExample
from stream_coupons.secret import rules_of
from stream_coupons.settings import Settings
from stream_coupons_lab.datasets.foreign import ForeignLog
from stream_coupons_lab.datasets.log_records import DEFAULT_DOMAIN, LoggedIssue, LogRecord
from stream_coupons_lab.offline.learning_queue import Arms, Issue, LearningQueue
from stream_coupons_lab.offline.logged_shop import LoggedShop, for_logs
from stream_coupons_lab.offline.scored import Scored

FEW_COUPONS = 64
"""A domain of so many is looked at as a whole for each issue of it, so that many issues are looked at together."""


def run(log: ForeignLog, settings: Settings, *, score_arms: bool = False) -> list[Scored]:
    """Score every issue of a log with the model as it stood at its moment; see `ProgressiveRun`."""
    running = ProgressiveRun(log, settings, score_arms=score_arms)
    running.feed_all()
    return running.finish()


class ProgressiveRun:
    """One run over a log, fed record by record in order of time; `run` does all of it.

    Parameters
    ----------
    settings : Settings
        As a worker's; see `for_logs` for what is different.
    score_arms : bool
        True to score all arms that an issue names. An arm that no line has described yet is taken for what a later one
        says it is: the terms of a coupon are no outcome.

    Attributes
    ----------
    shop : LoggedShop
        The shoppers; `refused` counts feedback that came too late, or else could not be joined.
    queue : LearningQueue
        The models; `heads` are those of which the log has a positive label.

    Raises
    ------
    BadConfig
        If `learning.transfer` names a domain that the log does not have.
    """

    def __init__(self, log: ForeignLog, settings: Settings, *, score_arms: bool = False) -> None:
        transfer = settings.learning.transfer
        log.require_domains([*transfer, *transfer.values()], "learning.transfer")
        self.log = log
        self._score_arms = score_arms
        rules = rules_of(for_logs(settings))
        self.shop = LoggedShop(rules, log.coupons, self._label)
        self.queue = LearningQueue(settings.learning, rules, log.labelled_heads)
        self._named_domains = {*log.domains, DEFAULT_DOMAIN}
        self._coupons = {coupon.coupon_id: coupon for coupon in log.coupons}
        # That coupons to come will have another attribute is not known before one has.
        self._attributes: dict[str, tuple[str, ...]] = {}
        self._domains: set[str] = set()
        self.shop.look_at(self._attributes, self._named_domains)
        self._now = 0.0
        self._scored: dict[str, Scored] = {}
        self._clicked: set[str] = set()
        self._values: dict[str, int] = {}

    def feed(self, record: LogRecord) -> None:
        """Take in the next record of the log."""
        self._pass_time(record.occurred_at)
        if isinstance(record, LoggedIssue):
            self._issue(record)
        elif isinstance(record, FeedbackEvent):
            self._feedback(record)
        else:
            self.shop.take(record)

    def feed_all(self, on_record: Callable[[], None] = lambda: None) -> None:
        """Take in all records of the log; `on_record` is called after each."""
        for record in self.log.records():
            self.feed(record)
            on_record()

    def finish(self) -> list[Scored]:
        """All issues that were fed; the windows that had closed by the time of the last record have their labels."""
        self.shop.pass_time(self._now)
        for issue_id in self._scored.keys() & self._values.keys():
            scored = self._scored[issue_id]
            scored.value_minor = self._values[issue_id] if scored.redeemed else None
        return self.scored()

    def scored(self) -> list[Scored]:
        """Return all issues that were fed, with the labels known so far."""
        self.queue.flush()
        return list(self._scored.values())

    def _pass_time(self, at: float) -> None:
        """Close the windows that ended before this moment: what happens at the very end of one is still within."""
        if at > self._now:
            self._now = at
            self.shop.pass_time(math.nextafter(at, 0.0))

    def _issue(self, issue: LoggedIssue) -> None:
        domain = issue.domain or self._usual_domain()
        self._meet(issue.coupon_id, domain)
        scored = self._scored[issue.issue_id] = Scored(
            line=issue.line,
            issue_id=issue.issue_id,
            user_id=issue.user_id,
            arm=issue.arm,
            coupon_id=issue.coupon_id,
            occurred_at=issue.occurred_at,
            propensity=issue.propensity,
            p_click=math.nan,
            p_redeem=math.nan,
            p_order=math.nan,
            model_version=0,
            arms=issue.arms,
            context=issue.context,
        )

        observed = self._observed(scored, domain, issue.expires_at)
        self.shop.observe(observed, lambda moment: self.queue.score(self._to_score(scored, moment, observed)))

    def _to_score(self, scored: Scored, moment: Moment, observed: ObservedIssue) -> Issue:
        """Return what to score of an issue: what was given, and all arms if these are wanted."""
        names = scored.arms if self._score_arms else ()
        groups: dict[int, Arms] = {}

        def row_of(coupons: CouponSet, position: int) -> tuple[Arms, int]:
            domain = coupons.coupons[position].domain if coupons is not self.shop.catalogue.nothing else observed.domain
            arms = groups.setdefault(id(coupons), Arms(domain, coupons))
            return arms, arms.row_of(position)

        coupons, position = self.shop.arm_of(observed)
        is_alone = not names and len(coupons) > FEW_COUPONS
        own, row = row_of(coupons.alone(position), 0) if is_alone else row_of(coupons, position)
        control = msgspec.structs.replace(observed, coupon_id=NO_COUPON)
        at = {name: row_of(*(self._place_of(name) or self.shop.arm_of(control))) for name in names}

        def take(version: int) -> None:
            scored.p_click, scored.p_redeem, scored.p_order = own.predicted[row]
            scored.model_version = version
            scored.by_arm = {name: arms.predicted[of_arm] for name, (arms, of_arm) in at.items()}
            scored.worth_by_arm = {
                name: arms.worth[of_arm] if self._place_of(name) else 0.0 for name, (arms, of_arm) in at.items()
            }

        return Issue(scored.issue_id, moment, [*groups.values()], row, take, is_valued=bool(names))

    def _place_of(self, name: str) -> tuple[CouponSet, int] | None:
        """Return the coupon of an arm, as a set and a position in it; None of the arm that gives nothing."""
        coupon_id = self.log.coupon_of[name]
        if coupon_id == NO_COUPON:
            return None
        coupons = self.shop.catalogue.domains[self._coupons[coupon_id].domain]
        return coupons, coupons.position[coupon_id]

    def _observed(self, issue: Scored, domain: str, expires_at: float) -> ObservedIssue:
        return ObservedIssue(
            event_id=issue.issue_id,
            user_id=issue.user_id,
            occurred_at=issue.occurred_at,
            domain=domain,
            issue_id=issue.issue_id,
            coupon_id=issue.coupon_id,
            expires_at=expires_at,
            propensity=issue.propensity,
            arms=self._alternatives(issue),
            context=issue.context,
        )

    def _alternatives(self, issue: Scored) -> list[str]:
        """The coupons that could be given in place of nothing, if the log says them and they are not too many."""
        coupons = [self.log.coupon_of[arm] for arm in issue.arms]
        return [each for each in coupons if each != NO_COUPON] if len(coupons) <= MAX_ARMS else []

    def _usual_domain(self) -> str:
        """The domain of an issue that gave nothing and names none: that of all coupons until then, if it is one."""
        return next(iter(self._domains)) if len(self._domains) == 1 else DEFAULT_DOMAIN

    def _meet(self, coupon_id: str, domain: str) -> None:
        """Look at the attributes of a coupon, and whether others have them, from now on."""
        coupon, known = self._coupons.get(coupon_id), self._attributes.get(domain, ())
        if coupon is None:
            return
        self._domains.add(domain)
        if not coupon.attributes.keys() <= set(known):
            self._attributes[domain] = tuple(sorted({*known, *coupon.attributes}))
            self.shop.look_at(self._attributes, self._named_domains)

    def _feedback(self, feedback: FeedbackEvent) -> None:
        issue = self._scored.get(feedback.issue_id)
        if feedback.kind == "expiry" and issue is not None and issue.labelled_at is not None:
            return  # the window has closed already: that it has says nothing new
        if self.shop.take(feedback) and (issue is None or issue.labelled_at is None):
            if feedback.kind == "click":
                self._clicked.add(feedback.issue_id)
            elif feedback.kind == "purchase" and feedback.order_value_minor is not None:
                self._values.setdefault(feedback.issue_id, feedback.order_value_minor)

    def _label(self, label: TrainingExample) -> None:
        self.queue.take(label)
        scored = self._scored[label.issue_id]
        scored.labelled_at = label.at
        if label.head == "click":
            scored.clicked = label.label
            return
        scored.redeemed = label.label
        scored.seen = label.seen
        if scored.coupon_id == NO_COUPON:
            scored.clicked = label.issue_id in self._clicked
