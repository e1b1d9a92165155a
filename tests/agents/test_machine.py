"""Users and budgets under random events, crashes and duplicates: what must always hold, holds after every step.

I1, I2, I3, I6 of the design, over logs in memory with two partitions.
"""

from collections import Counter, defaultdict
from typing import Any

import pytest
from core.builders import AT, DAY_S, FixedScorer, browse, cart, coupon, erasure, feedback, item, knowledge, order, rules
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from stream_coupons import topics
from stream_coupons.core.ledger import Ledger
from stream_coupons.core.rules import AttributionRules, ProfileRules
from stream_coupons.runtime.records import ORIGIN_HEADER

from .fakes import Shop

pytestmark = pytest.mark.long

WINDOW_S = 7200.0
CAP = 2
HORIZON = 3
RULES = rules(
    max_issues_per_window=CAP,
    issue_window_s=WINDOW_S,
    proposal_timeout_s=3600.0,
    exploration_ratio=0.3,
    alternatives=2,
    attribution=AttributionRules(early_feedback_s=3600.0, grace_s=600.0),
    profile=ProfileRules(max_seen_events=HORIZON),
)
MODELS = [FixedScorer(by="discount_depth"), FixedScorer(by="time_to_redeem", redeem=0.6, version=8)]
WEEK = {"redeem_within_s": 7200.0}
COUPONS = [
    coupon("few", stock=2, **WEEK),
    coupon("poor", budget_minor=250, discount_minor=120, max_discount_minor=120, redeem_within_s=3600.0),
    coupon("once", max_per_user=1, discount_minor=80, stock=2, budget_minor=300, **WEEK),
]
TERMS = {each.coupon_id: each for each in COUPONS}
TRIGGERS = {browse: topics.BROWSE, cart: topics.CART}
AGENTS = ("users", "budgets")
SHOPPERS = ("ann", "bob", "eve")
HOMES = (0, 1)

acts = st.tuples(
    st.sampled_from(SHOPPERS), st.sampled_from([browse, browse, cart, order]), st.sampled_from([0, 0, 0, 60, 5000])
)
batches = st.tuples(
    st.sampled_from(AGENTS), st.sampled_from(HOMES), st.sampled_from([1, 2, 3, 100]), st.none() | st.floats(0, 2)
)
"""Agent, partition, records at most, and how far the process comes before it dies."""


class System(RuleBasedStateMachine):
    """Rules are what the world does; invariants are looked at after each."""

    @initialize()
    def begin(self) -> None:
        self.model = 0
        self.shop = Shop(lambda: knowledge(*COUPONS, rules=RULES, scorer=MODELS[self.model]), len(HOMES), AGENTS)
        self.shop.now = AT
        self.events = 0
        self.seen: list[tuple[Any, topics.Topic, str, str]] = []
        self.checked = 0
        self.issues: dict[str, Any] = {}
        self.issue_bytes: dict[str, bytes] = {}
        self.triggers: dict[tuple[str, str], str] = {}
        self.settled: dict[tuple[str, str], Any] = {}
        self.said: dict[tuple[str, bytes], tuple[bytes | None, bytes | None]] = {}

    # ------------------------------------------------------------ what may happen

    @rule(acts=st.lists(acts, min_size=1, max_size=5))
    def publish(self, acts: list[tuple[str, Any, float]]) -> None:
        for user, kind, late_s in acts:
            self.events += 1
            at = self.shop.now - late_s
            name, thing = f"e{self.events}", item(f"i{self.events % 3}", price_minor=500)
            if kind in TRIGGERS:
                self.seen.append((kind, TRIGGERS[kind], name, user))
                self.shop.publish(TRIGGERS[kind], kind(name, at, thing, user))
            else:
                self.shop.publish(topics.ORDER, order(name, at, thing, user=user))

    @rule(back=st.integers(1, 3), later_s=st.sampled_from([0, 4000, 9000]))
    @precondition(lambda self: self.seen)
    def count_anew(self, back: int, later_s: float) -> None:
        """What a sender does whose ids are counters: after others an id comes again, of something else."""
        kind, topic, name, user = self.seen[-min(back, len(self.seen))]
        if later_s:
            self.shop.now += later_s
            self.shop.tick(self.shop.now)
        for _ in range(HORIZON):
            self.events += 1
            self.shop.publish(topics.ORDER, order(f"e{self.events}", self.shop.now, user=user))
        self.shop.publish(topic, kind(name, self.shop.now, item("again"), user))

    @rule(user=st.sampled_from(SHOPPERS), ago_s=st.sampled_from([0, 60]))
    @precondition(lambda self: self.events % 5 == 0)
    def ask_to_be_forgotten(self, user: str, ago_s: float) -> None:
        self.events += 1
        self.shop.publish(topics.ERASURES, erasure(f"e{self.events}", self.shop.now - ago_s, user))

    @rule(batches=st.lists(batches, min_size=1, max_size=6))
    def process_some_batches_or_die_trying(self, batches: list[tuple[str, int, int, float | None]]) -> None:
        for agent, home, limit, crash in batches:
            self.shop.process(agent, home, limit, crash)
            self.holds()

    @rule()
    def come_to_rest(self) -> None:
        self.shop.settle()

    @rule()
    def take_another_model_into_use(self) -> None:
        self.model = 1 - self.model

    @rule(data=st.data())
    @precondition(lambda self: self.shop.everything)
    def send_a_second_copy(self, data: st.DataObject) -> None:
        """What a sender does that crashed between sending and committing; upstream or one of us."""
        log = [one for one in self.shop.everything if one.topic not in (topics.TICKS.name, topics.ISSUES.name)]
        if log:
            one = data.draw(st.sampled_from(log[-6:]))
            copies = self._behind(one)
            self.shop.send_copies(copies)

    def _behind(self, one: Any) -> list[Any]:
        """A record and, if one of us sent it, all that the same source has sent since: they replay in order."""
        source = _source(one)
        if source is None:
            return [one]
        everything = self.shop.everything
        start = next(place for place, other in enumerate(everything) if other is one)
        return [other for other in everything[start:] if _source(other) == source]

    @rule(seconds=st.sampled_from([1, 600, 4000, 9000]), ticking=st.booleans())
    def let_time_pass(self, seconds: float, ticking: bool) -> None:
        self.shop.now += seconds
        if ticking:
            self.shop.tick(self.shop.now)

    @rule(
        kind=st.sampled_from(["click", "purchase", "purchase"]),
        data=st.data(),
        spent=st.sampled_from([None, 0, 50, 999]),
    )
    @precondition(lambda self: self.issues)
    def answer(self, kind: str, data: st.DataObject, spent: int | None) -> None:
        issue = data.draw(st.sampled_from(list(self.issues.values())))
        self._answer(kind, issue.issue_id, issue.user_id, spent)

    @rule(user=st.sampled_from(SHOPPERS))
    @precondition(lambda self: self.events % 7 == 0)
    def forge(self, user: str) -> None:
        self._answer("purchase", "forged", user, None)

    def _answer(self, kind: str, issue_id: str, user: str, spent: int | None) -> None:
        self.events += 1
        event = feedback(kind, issue_id, self.shop.now, f"f{self.events}", user_id=user, discount_minor=spent)
        self.shop.publish(topics.FEEDBACK, event)

    # ------------------------------------------------------------ what must hold

    @invariant()
    def holds(self) -> None:
        for one in self.shop.everything[self.checked :]:
            self._check_copies(one)
            if one.topic == topics.ISSUES.name:
                self._take_issue(one)
            elif one.topic == topics.SETTLEMENTS.name:
                [settlement] = self.shop.read([one])
                self.settled.setdefault((settlement.proposal_id, settlement.outcome), settlement)
                self._check_settlements(settlement.proposal_id)
            elif one.topic == topics.DEAD_LETTERS.name:
                assert dict(one.headers)["reason"] in (b"unknown_issue", b"late")
        self.checked = len(self.shop.everything)
        self._check_ledgers()
        self._check_nothing_of_before_is_known()

    def _check_nothing_of_before_is_known(self) -> None:
        for user in SHOPPERS:
            shopper = self.shop.state("users", user)
            if shopper.erased_at is not None and shopper.profile.last_event_at:
                assert shopper.profile.last_event_at > shopper.erased_at
                assert shopper.leaves_at is None
            assert all(shopper.issue(one).can_teach or shopper.erased_at is not None for one in shopper.issues)

    def _check_copies(self, one: Any) -> None:
        origin = dict(one.headers).get(ORIGIN_HEADER)
        if origin is not None:
            assert self.said.setdefault((one.topic, origin), (one.key, one.value)) == (one.key, one.value)

    def _take_issue(self, one: Any) -> None:
        [issue] = self.shop.read([one])
        assert self.issue_bytes.setdefault(issue.issue_id, one.value) == one.value
        assert self.triggers.setdefault((issue.user_id, issue.trigger_id), issue.issue_id) == issue.issue_id
        self.issues[issue.issue_id] = issue
        self._check_limits(TERMS[issue.coupon_id], issue)

    def _check_limits(self, terms: Any, latest: Any) -> None:
        given = [issue for issue in self.issues.values() if issue.coupon_id == terms.coupon_id]
        assert terms.stock is None or len(given) <= terms.stock
        assert terms.budget_minor is None or sum(map(self._exposure, given)) <= terms.budget_minor
        own = [issue for issue in self.issues.values() if issue.user_id == latest.user_id]
        assert sum(latest.issued_at - WINDOW_S < issue.issued_at <= latest.issued_at for issue in own) <= CAP
        of_this = sum(issue.coupon_id == terms.coupon_id for issue in own)
        assert terms.max_per_user is None or of_this <= terms.max_per_user

    def _exposure(self, issue: Any) -> int:
        """What a coupon has cost or still can cost."""
        redeemed = self.settled.get((issue.issue_id, "redeemed"))
        if redeemed is not None:
            return int(redeemed.spent_minor)
        return 0 if (issue.issue_id, "expired") in self.settled else int(issue.max_discount_minor)

    def _check_settlements(self, proposal_id: str) -> None:
        outcomes = {outcome for name, outcome in self.settled if name == proposal_id}
        assert not {"confirmed", "released"} <= outcomes
        assert not {"redeemed", "expired"} <= outcomes

    def _check_ledgers(self) -> None:
        for terms in COUPONS:
            ledger: Ledger = self.shop.state("budgets", terms.coupon_id)
            assert min(ledger.reserved, ledger.issued, ledger.held_minor, ledger.spent_minor) >= 0
            assert terms.stock is None or ledger.reserved + ledger.issued <= terms.stock
            assert terms.budget_minor is None or ledger.held_minor + ledger.spent_minor <= terms.budget_minor
            given = sum(issue.coupon_id == terms.coupon_id for issue in self.issues.values())
            assert given <= ledger.reserved + ledger.issued

    # ------------------------------------------------------------ after any fault, it comes to rest

    def teardown(self) -> None:
        if not hasattr(self, "shop"):
            return
        self.shop.settle()
        for _ in range(3):
            self.shop.now += 30 * DAY_S
            self.shop.tick(self.shop.now)
            self.shop.settle()
        self.holds()
        self._check_nothing_is_left_open()
        self._check_every_record_is_counted()

    def _check_nothing_is_left_open(self) -> None:
        for user in SHOPPERS:
            shopper = self.shop.state("users", user)
            assert (shopper.proposals, shopper.issues, shopper.early) == ({}, {}, [])
            assert shopper.asked == {}
            assert shopper.leaves_at is None
        for terms in COUPONS:
            ledger = self.shop.state("budgets", terms.coupon_id)
            given = [issue for issue in self.issues.values() if issue.coupon_id == terms.coupon_id]
            assert ledger == Ledger(issued=len(given), spent_minor=sum(map(self._exposure, given)))

    def _check_every_record_is_counted(self) -> None:
        counted: Counter[str] = Counter()
        for _, result in self.shop.results:
            counted += result.applied + result.duplicates + result.replays
            for (topic, _), count in result.dead.items():
                counted[topic] += count
        read: defaultdict[str, int] = defaultdict(int)
        for owner in self.shop.owners.values():
            for (topic, _), offset in owner.committed.items():
                read[topic] += offset
        assert counted == Counter(read)


def _source(one: Any) -> str | None:
    """Topic of the records that this one came of, if one of us sent it."""
    origin = dict(one.headers).get(ORIGIN_HEADER)
    return origin.decode().rsplit(":", 2)[0] + one.topic if origin is not None else None


TestSystem = System.TestCase
TestSystem.settings = settings(
    max_examples=350, stateful_step_count=40, deadline=None, derandomize=True, report_multiple_bugs=False
)
