"""All agents under random events, crashes, copies and a network that loses, doubles and delays what they tell each
other of leases: what must always hold, holds after every step.

I1, I2, I3, I6 of the design, over logs in memory with three partitions.
"""

import itertools
from collections import Counter, defaultdict
from functools import cache
from typing import Any

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from stream_coupons.core.caps import Cap
from stream_coupons.core.decision.scoring import Knowledge
from stream_coupons.core.local_time import local_time
from stream_coupons.core.money.accounts import budgets_of, campaign_of, money_of, units_of
from stream_coupons.core.money.purses import ASK_AGAIN_S, Purse, fallen, first_lease
from stream_coupons.core.rules import AttributionRules, ProfileRules
from stream_coupons.core.shopper.issue_counts import numbers_of
from stream_coupons.kafka import topics
from stream_coupons.kafka.records import ORIGIN_HEADER, Output
from stream_coupons.testing import campaign, coupon, item
from tests.core.builders import (
    AT,
    DAY_S,
    FixedScorer,
    browse,
    cart,
    erasure,
    feedback,
    for_life,
    knowledge,
    order,
    rules,
)

from .fakes import Shop

pytestmark = [pytest.mark.long, pytest.mark.timeout(1200)]
"""A time limit that is reached amid a batch looks to the machine like a crash, and then like a bug."""

WINDOW_S = 7200.0
LASTS_S = 20_000.0
CAP = 2
HORIZON = 3
RULES = rules(
    max_issues_per_window=CAP,
    issue_window_s=WINDOW_S,
    trigger_timeout_s=3600.0,
    exploration_ratio=0.3,
    attribution=AttributionRules(early_feedback_s=3600.0, grace_s=600.0),
    profile=ProfileRules(max_seen_events=HORIZON),
)
MODELS = [FixedScorer(by="discount_depth"), FixedScorer(by="time_to_redeem", redeem=0.6, version=8)]
WEEK = {"redeem_within_s": 7200.0}
SPRING, TRIAL = "spring", "trial"
HARD: dict[str, Any] = {"budget_hold": "maximum"}
FIRST_COME = {"budget_curve": "none", **HARD, **WEEK}
COUPONS = [
    coupon("few", stock=2, campaign_id=TRIAL, budget_curve="none", exclusion_group="tea", **WEEK),
    coupon("poor", budget_minor=250, discount_minor=120, max_discount_minor=120, redeem_within_s=3600.0, **HARD),
    coupon("once", caps=for_life(1), discount_minor=80, max_discount_minor=80, stock=4, budget_minor=300, **FIRST_COME),
    coupon("spring", campaign_id=SPRING, caps=[Cap(per="day", n=1)], exclusion_group="tea", priority=1, **WEEK),
    coupon("trial", campaign_id=TRIAL, budget_minor=1000, discount_minor=30, **WEEK),
    coupon("lost", campaign_id="unknown", **WEEK),
]
"""Those with `HARD` budgets never overspend; the campaign `trial` holds shares of a quantile, and may. Without a curve,
the last units are for who comes first."""
CAMPAIGNS = [
    campaign(SPRING, budget_minor=410, starts_at=AT, ends_at=AT + LASTS_S, **HARD),
    campaign(TRIAL, budget_minor=900, starts_at=AT, ends_at=AT + 365 * DAY_S, caps=[Cap(per="week", n=2)]),
]
PAUSED = [msgspec.structs.replace(each, state="paused") for each in CAMPAIGNS]
TERMS = {each.coupon_id: each for each in COUPONS}
TRIGGERS = {browse: topics.BROWSE, cart: topics.CART}
AGENTS = ("users", "budgets", "neighbours")
SHOPPERS = ("ann", "bob", "cat", "eve")
HOMES = (0, 1, 2)
ABOUT_LEASES = (topics.LEASES.name, topics.LEASE_REPORTS.name)
ACCOUNTS = [
    *(of(each.coupon_id) for each in COUPONS for of in (units_of, money_of)),
    *(campaign_of(each.campaign_id) for each in CAMPAIGNS),
    campaign_of("unknown"),
]


@cache
def _knowledge(model: int, is_paused: bool) -> Knowledge:
    campaigns = PAUSED if is_paused else CAMPAIGNS
    return knowledge(*COUPONS, campaigns=campaigns, rules=RULES, scorer=MODELS[model])


acts = st.tuples(
    st.sampled_from(SHOPPERS), st.sampled_from([browse, browse, cart, order]), st.sampled_from([0, 0, 0, 60, 5000])
)
answers = st.tuples(
    st.sampled_from(["click", "purchase", "purchase", "refund", "cancel"]),
    st.sampled_from([None, 0, 50, 999]),
    st.sampled_from([0, 0, 600]),
)
batches = st.tuples(
    st.sampled_from(AGENTS), st.sampled_from(HOMES), st.sampled_from([1, 2, 3, 100]), st.none() | st.floats(0, 2)
)
"""Agent, partition, records at most, and how far the process comes before it dies."""


class System(RuleBasedStateMachine):
    """Rules are what the world does; invariants are looked at after each."""

    @initialize(warm=st.booleans())
    def begin(self, warm: bool) -> None:
        self.model = 0
        self.is_paused = False
        self.shop = Shop(self._known, len(HOMES), AGENTS)
        self.shop.now = AT
        self.shop.route = self._route
        self.fates: list[str] = []
        self.late: list[Output] = []
        self.events = 0
        self.seen: list[tuple[Any, topics.Topic, str, str]] = []
        self.checked = 0
        self.issues: dict[str, Any] = {}
        self.issue_bytes: dict[str, bytes] = {}
        self.triggers: dict[tuple[str, str], str] = {}
        self.answered: defaultdict[str, set[int | None]] = defaultdict(set)
        self.said: dict[tuple[str, bytes], tuple[bytes | None, bytes | None]] = {}

        if warm:
            self._warm_up()

    def _warm_up(self) -> None:
        """Give some coupons, and let partitions hear of prices and risks."""
        for number in range(12):
            self.shop.publish(topics.BROWSE, browse(f"warm{number}", self.shop.now, item("A"), f"w{number % 6}"))
            self.shop.now += ASK_AGAIN_S
            self.shop.tick(self.shop.now)
            self.shop.settle()

    def _known(self) -> Knowledge:
        return _knowledge(self.model, self.is_paused)

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

    @rule(agent=st.sampled_from(AGENTS))
    def start_an_agent_anew(self, agent: str) -> None:
        self.shop.start(agent)

    @rule(fates=st.lists(st.sampled_from(["lose", "double", "delay", "deliver"]), min_size=1, max_size=4))
    def disturb_the_network(self, fates: list[str]) -> None:
        """What becomes of the next messages about leases."""
        self.fates += fates

    def _route(self, output: Output) -> list[Output]:
        fate = self.fates.pop(0) if self.fates and output.topic in ABOUT_LEASES else "deliver"
        if fate == "delay":
            self.late.append(output)
        return [output] * {"lose": 0, "delay": 0, "double": 2}.get(fate, 1)

    @rule(data=st.data())
    @precondition(lambda self: self.late)
    def deliver_what_is_late(self, data: st.DataObject) -> None:
        place = data.draw(st.integers(0, len(self.late) - 1))
        self.shop.deliver([self.late.pop(place)])

    @rule()
    def come_to_rest(self) -> None:
        self.shop.settle()

    @rule()
    def take_another_model_into_use(self) -> None:
        self.model = 1 - self.model

    @rule()
    def pause_the_campaigns_or_let_them_go_on(self) -> None:
        self.is_paused = not self.is_paused

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
        """A record and, if one of us sent it, all that the same source has sent since: they replay in order.
        Totals need no order."""
        source = _source(one)
        if source is None or one.topic in ABOUT_LEASES:
            return [one]
        everything = self.shop.everything
        start = next(place for place, other in enumerate(everything) if other is one)
        return [other for other in everything[start:] if _source(other) == source]

    @rule(seconds=st.sampled_from([1, 600, 4000, 9000]), ticking=st.booleans())
    def let_time_pass(self, seconds: float, ticking: bool) -> None:
        self.shop.now += seconds
        if ticking:
            self.shop.tick(self.shop.now)

    @rule(answers=st.lists(answers, min_size=1, max_size=4), data=st.data(), newest=st.booleans())
    @precondition(lambda self: self.issues)
    def answer(self, answers: list[tuple[str, int | None, float]], data: st.DataObject, newest: bool) -> None:
        issues = list(self.issues.values())
        issue = data.draw(st.sampled_from(issues[-3:] if newest else issues))
        for kind, spent, ago_s in answers:
            self._answer(kind, issue.issue_id, issue.user_id, spent, ago_s)

    @rule(user=st.sampled_from(SHOPPERS))
    @precondition(lambda self: self.events % 7 == 0)
    def forge(self, user: str) -> None:
        self._answer("purchase", "forged", user, None)

    def _answer(self, kind: str, issue_id: str, user: str, spent: int | None, ago_s: float = 0.0) -> None:
        self.events += 1
        if kind in ("purchase", "refund"):
            self.answered[issue_id].add(0 if kind == "refund" and spent is None else spent)
        at = self.shop.now - ago_s
        event = feedback(kind, issue_id, at, f"f{self.events}", user_id=user, discount_minor=spent)
        self.shop.publish(topics.FEEDBACK, event)

    # ------------------------------------------------------------ what must hold

    @invariant()
    def holds(self) -> None:
        for one in self.shop.everything[self.checked :]:
            self._check_copies(one)
            if one.topic == topics.ISSUES.name:
                self._take_issue(one)
            elif one.topic == topics.DEAD_LETTERS.name:
                # `invalid`: a refund that leaves more than was reported.
                assert dict(one.headers)["reason"] in (b"unknown_issue", b"late", b"invalid")
        self.checked = len(self.shop.everything)
        self._check_accounts()
        self._check_nothing_of_before_is_known()
        self._check_groups()

    def _check_nothing_of_before_is_known(self) -> None:
        for user in SHOPPERS:
            shopper = self.shop.state("users", user)
            if shopper.erased_at is not None and shopper.profile.last_event_at:
                assert shopper.profile.last_event_at > shopper.erased_at
                assert shopper.leaves_at is None
            assert all(shopper.issue(one).can_teach or shopper.erased_at is not None for one in shopper.issues)

    def _check_copies(self, one: Any) -> None:
        origin = dict(one.headers).get(ORIGIN_HEADER)
        if origin is not None and one.topic not in ABOUT_LEASES:
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
        own = [issue for issue in self.issues.values() if issue.user_id == latest.user_id]
        assert sum(latest.issued_at - WINDOW_S < issue.issued_at <= latest.issued_at for issue in own) <= CAP
        self._check_caps(terms.caps, [issue for issue in own if issue.coupon_id == terms.coupon_id])
        for each in CAMPAIGNS:
            self._check_caps(each.caps, [issue for issue in own if issue.campaign_id == each.campaign_id])

    def _check_caps(self, caps: list[Cap], issues: list[Any]) -> None:
        for cap in caps:
            periods = Counter(numbers_of(local_time(issue.issued_at, "UTC"))[cap.per] for issue in issues)
            assert all(count <= cap.n for count in periods.values())

    def _check_groups(self) -> None:
        """Nobody holds two coupons of a group."""
        for user in SHOPPERS:
            shopper = self.shop.state("users", user)
            latest = shopper.history.last_issued_at
            if latest is not None:
                held = Counter(TERMS[one].exclusion_group for one in shopper.held_coupons(latest))
                assert held["tea"] <= 1

    def _purses(self, account_id: str) -> dict[int, Purse]:
        found = {home: self.shop.purse(account_id, home) for home in HOMES}
        return {home: purse for home, purse in found.items() if purse is not None}

    def _check_accounts(self) -> None:
        """No limit is passed by what partitions hold, nor by what they may hold, nor by what the owner knows of."""
        known = self._known().catalogue.accounts
        for account_id in ACCOUNTS:
            limit, purses = known.limit(account_id), self._purses(account_id)
            if limit.most is None:
                continue
            assert all(purse.committed >= purse.spent - purse.refunded >= 0 for purse in purses.values())
            if limit.hold == "maximum":
                assert all(purse.available >= 0 for purse in purses.values())
                assert sum(purse.committed for purse in purses.values()) <= limit.most
            unopened = sum(first_lease(limit, len(HOMES), home) for home in HOMES if home not in purses)
            assert sum(purse.granted - purse.returned for purse in purses.values()) + unopened <= limit.most
            holdings = self.shop.holdings(account_id)
            assert sum(max(each.granted - each.returned, 0) for each in holdings.values()) <= limit.most
        self._check_books()

    def _check_books(self) -> None:
        """What a partition has drawn is what its shoppers were given, and its money what they hold or spent."""
        held: Counter[tuple[int, str]] = Counter()
        falling: Counter[tuple[int, str]] = Counter()
        spent: Counter[tuple[int, str]] = Counter()
        for user in {*SHOPPERS, *(issue.user_id for issue in self.issues.values())}:
            shopper = self.shop.state("users", user)
            for issue in map(shopper.issue, shopper.issues):
                for account_id in budgets_of(issue.coupon_id, issue.campaign_id):
                    place = self._home(user), account_id
                    (falling if issue.is_falling else held)[place] += issue.stake.held_minor
                    spent[place] += issue.spent_minor
        given = Counter((self._home(issue.user_id), issue.coupon_id) for issue in self.issues.values())
        for home, account_id in itertools.product(HOMES, ACCOUNTS):
            purse = self.shop.purse(account_id, home) or Purse()
            if account_id.startswith("units:"):
                assert purse.drawn >= given[home, account_id[6:]], "a coupon was given that was not drawn"
                continue
            place = home, account_id
            assert purse.spent - purse.refunded >= spent[place], "it is that of those that are over, too"
            assert purse.committed - (purse.spent - purse.refunded) == held[place] + purse.falling_held
            assert purse.falling_held - fallen(purse, self.shop.now) <= falling[place]

    def _home(self, user: str) -> int:
        return topics.partition_for(user.encode(), len(HOMES))

    # ------------------------------------------------------------ after any fault, it comes to rest

    def teardown(self) -> None:
        if not hasattr(self, "shop"):
            return
        self.fates.clear()  # a report that is lost is repaired by the next one, which comes when something changes
        self.shop.settle()
        for _ in range(3):
            self.shop.now += 30 * DAY_S
            self.shop.tick(self.shop.now)
            self.shop.settle()
        self.holds()
        self._check_nothing_is_left_open()
        self._ask_for_all_that_is_left()
        self.holds()
        self._check_every_record_is_counted()

    def _check_nothing_is_left_open(self) -> None:
        for user in SHOPPERS:
            shopper = self.shop.state("users", user)
            assert (shopper.issues, shopper.early) == ({}, [])
            assert shopper.leaves_at is None
        for terms in COUPONS:
            given = [issue for issue in self.issues.values() if issue.coupon_id == terms.coupon_id]
            units = self._purses(units_of(terms.coupon_id)).values()
            assert sum(purse.drawn for purse in units) == len(given), "a coupon was drawn that was not given"
            told, most = [self.answered.get(issue.issue_id, set()) for issue in given], terms.max_discount_minor
            assert self._spent(money_of(terms.coupon_id)) <= sum(
                max((min(most if one is None else one, most) for one in each), default=0) for each in told
            )
        for each in CAMPAIGNS:
            own = [terms.coupon_id for terms in COUPONS if terms.campaign_id == each.campaign_id]
            assert self._spent(campaign_of(each.campaign_id)) == sum(self._spent(money_of(one)) for one in own)

    def _spent(self, account_id: str) -> int:
        """All that is spent of an account; nothing of it is held any more."""
        purses = self._purses(account_id).values()
        spent = sum(purse.spent - purse.refunded for purse in purses)
        assert sum(purse.committed for purse in purses) == spent
        assert not any(purse.falling_held for purse in purses)
        return spent

    def _ask_for_all_that_is_left(self) -> None:
        """Shoppers who were never seen before come to one partition only: what lies idle elsewhere is for them."""
        self.is_paused = False
        home = self.events % len(HOMES)
        late = (name for name in map(str, itertools.count()) if self._home(name) == home)
        has_left = {terms.coupon_id for terms in COUPONS if terms.campaign_id not in (SPRING, "unknown")}
        for number in range(100):
            has_left -= {coupon_id for coupon_id in has_left if self._is_given_away(TERMS[coupon_id])}
            if not has_left:
                break
            self.shop.now += ASK_AGAIN_S / 2
            self.shop.publish(topics.BROWSE, browse(f"last{number}", self.shop.now, item("A"), next(late)))
            self.shop.tick(self.shop.now)
            self.shop.settle()
        assert not has_left

    def _is_given_away(self, terms: Any) -> bool:
        """Whether no unit is left, or of one of its budgets too little for one more."""
        return any(
            sum(purse.committed for purse in self._purses(limit.account_id).values())
            + (1 if limit.is_stock else terms.max_discount_minor)
            > limit.most
            for limit in self._known().catalogue.accounts.of(terms)
            if limit.most is not None
        )

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
TestSystem.settings = settings(max_examples=120, stateful_step_count=40, derandomize=True, report_multiple_bugs=False)
