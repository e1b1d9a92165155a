"""Logs in memory: made by hand, one decision at a time, or by the agents themselves; and what an audit says of them."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from stream_coupons import testing
from stream_coupons.core.caps import Cap
from stream_coupons.core.catalogue.catalogue import Catalogue
from stream_coupons.core.decision.scoring import Knowledge
from stream_coupons.core.effects import Booking, Stake
from stream_coupons.core.messages.catalogue import Campaign, Coupon
from stream_coupons.core.messages.decisions import CouponIssue
from stream_coupons.core.messages.inputs import FeedbackEvent, Tick
from stream_coupons.core.messages.leases import Lease
from stream_coupons.core.money import purses
from stream_coupons.core.money.accounts import Accounts, budgets_of, campaign_of, money_of, units_of
from stream_coupons.core.money.purses import Purse
from stream_coupons.core.rules import AttributionRules, Rules
from stream_coupons.kafka import topics
from stream_coupons.kafka.codec import encode
from stream_coupons.kafka.dead_letters import dead_letter
from stream_coupons.kafka.records import ORIGIN_HEADER, Output, Record
from stream_coupons.kafka.topics import Topic
from stream_coupons.ops.audit.audit import audit
from stream_coupons.ops.audit.coverage_check import COLUMNS
from stream_coupons.ops.audit.findings import Findings
from stream_coupons.ops.audit.offsets import AuditedOffsets, Partition
from stream_coupons.ops.audit.promised import UNKNOWN_RULES, PromisedRules
from stream_coupons.runtime.cells import Cell, CellCodec, StateCodec
from stream_coupons.runtime.steps import SHARED_PREFIX
from stream_coupons.testing import item
from tests.agents.fakes import Shop
from tests.core.builders import FixedScorer, browse, cart, feedback, order, rules
from tests.core.builders import repeatable as coupon

AT = testing.START
AT_MS = 1_000_000_000_000
BROWSE, FEEDBACK, ISSUES = topics.BROWSE.name, topics.FEEDBACK.name, topics.ISSUES.name
LEASES, REPORTS, LETTERS = topics.LEASES.name, topics.LEASE_REPORTS.name, topics.DEAD_LETTERS.name
USERS = topics.changelog("users").name
TABLE_OF_AGENT = {"users": USERS, "budgets": topics.changelog("accounts").name}
UNITS, MONEY, SPRING = units_of("c"), money_of("c"), campaign_of("spring")
HOLD = 100
WINDOW_S = 100.0


class Log:
    """Records by topic and partition, as a broker keeps them."""

    def __init__(self, partitions: int = 1) -> None:
        self.partitions = partitions
        self.records: defaultdict[Partition, list[Record]] = defaultdict(list)
        self.committed: dict[Partition, int] | None = None
        self.ends: dict[Partition, int] = {}

    def append(self, topic: Topic, message: Struct, cause: Record | None = None, at_ms: int = AT_MS) -> Record:
        """A message, and the record that it came of."""
        headers = () if cause is None else ((ORIGIN_HEADER, f"{_place(cause)}:0".encode()),)
        key = topic.key_of(message)
        home = topics.partition_for(key, topic.partitions or self.partitions)
        home = message.partition if isinstance(message, Lease) else home
        return self.put(Record(topic.name, home, 0, at_ms, key, encode(message), headers))

    def put(self, record: Record) -> Record:
        """A record of any bytes; its offset is the next one."""
        place = record.topic, record.partition
        added = record._replace(offset=self.ends.get(place, 0))
        self.ends[place] = added.offset + 1
        self.records[place].append(added)
        return added

    def refuse(self, record: Record, reason: str = "invalid") -> Record:
        """The dead letter of a record."""
        return self.send(dead_letter(record, reason, "why"), record.timestamp_ms)

    def send(self, output: Output, at_ms: int = AT_MS) -> Record:
        """What an agent sends."""
        return self.put(
            Record(output.topic, output.partition, 0, at_ms, output.key, output.value, tuple(output.headers))
        )

    def take_out(self, topic: str, index: int = 0) -> Record:
        """Remove a record as if it had never been appended; the offsets of the others stay."""
        place = next(place for place in sorted(self.records) if place[0] == topic and len(self.records[place]) > index)
        return self.records[place].pop(index)

    def change(self, topic: str, index: int = 0, **changes: Any) -> Record:
        """Replace fields of a record."""
        place = next(place for place in sorted(self.records) if place[0] == topic and len(self.records[place]) > index)
        changed = self.records[place][index] = self.records[place][index]._replace(**changes)
        return changed

    def drop_beginning(self, topic: str, upto: int) -> None:
        """What retention does to every partition of a topic."""
        for (name, _), records in self.records.items():
            if name == topic:
                records[:] = [record for record in records if record.offset >= upto]

    def save_cells(self) -> None:
        """Write a cell for every key whose records were applied; those with a dead letter were not."""
        dead = {
            (letter.headers[2][1], letter.headers[3][1], letter.headers[4][1])
            for (topic, _), letters in self.records.items()
            for letter in letters
            if topic == LETTERS
        }
        cells: defaultdict[tuple[str, bytes, int], Cell[None]] = defaultdict(lambda: Cell(None, None))
        for (topic, partition), records in list(self.records.items()):
            for record in records if topic in COLUMNS else ():
                if (topic.encode(), b"%d" % partition, b"%d" % record.offset) not in dead:
                    cell = cells[COLUMNS[topic][0], record.key or b"", partition]
                    cell.applied[topic] = max(record.offset, cell.applied.get(topic, -1))
        for (table, key, partition), cell in cells.items():
            self.put(Record(table, partition, 0, AT_MS, key, CellCodec(type(None)).encode(cell)))

    def read(self, names: tuple[str, ...]) -> Iterable[Record]:
        """The records of some topics."""
        for (topic, _), records in self.records.items():
            if topic in names:
                yield from records

    def marks(self) -> AuditedOffsets:
        """Where the logs end; everything is committed, unless it is said otherwise."""
        places = {(topic.name, home) for topic in topics.ALL for home in range(topic.partitions or self.partitions)}
        ends = dict.fromkeys(places, 0) | self.ends
        begins = {place: records[0].offset for place, records in self.records.items() if records}
        return AuditedOffsets(begins, ends, ends if self.committed is None else self.committed)

    def audit(self, marks: AuditedOffsets | None = None, promised: PromisedRules = UNKNOWN_RULES) -> Findings:
        """What an audit says that began when the logs were as `marks` say."""
        return audit(self.read, marks or self.marks(), promised)


def _place(record: Record) -> str:
    return f"{record.topic}:{record.partition}:{record.offset}"


def found(log: Log) -> list[tuple[str, str, str]]:
    """(title of the check, place, detail) of every violation."""
    return [(one.check.title, one.place, one.detail) for one in log.audit().violations]


def red(log: Log) -> set[str]:
    """The titles of the checks that do not hold."""
    return {one.check.title for one in log.audit().violations}


# ---------------------------------------------------------------- by hand


def issue(one: str, user_id: str, **about: Any) -> CouponIssue:
    terms = Coupon(coupon_id="c", max_discount_minor=HOLD, redeem_within_s=WINDOW_S)
    return replace(testing.issue(user_id, terms, at=AT, issue_id=one, trigger_id=f"trigger-{one}"), **about)


class Handmade(Log):
    """One coupon `c`, and issues written down step by step; call `save_cells` when all is written.

    Each step does to the purses of its partition what a worker does. Coupons hold the most that they can cost, unless
    the limits say otherwise; with a campaign, they are part of `spring`.
    """

    def __init__(
        self, *, at_ms: int = AT_MS, partitions: int = 1, campaign: dict[str, Any] | None = None, **limits: Any
    ) -> None:
        super().__init__(partitions)
        self.campaign_id = None if campaign is None else "spring"
        known: dict[str, Any] = {"budget_hold": "maximum", "campaign_id": self.campaign_id}
        self.terms = Coupon(coupon_id="c", max_discount_minor=HOLD, **(known | limits))
        self.append(topics.CATALOG, self.terms, at_ms=at_ms)
        campaigns = []
        if campaign is not None:
            campaigns = [Campaign(campaign_id="spring", **campaign)]
            self.append(topics.CAMPAIGNS, campaigns[0], at_ms=at_ms)
        self.limits = Accounts([self.terms], campaigns).limits
        self.purses: dict[tuple[str, int], Purse] = {}
        self.events: dict[str, Record] = {}
        self.users: dict[str, str] = {}
        self.stakes: dict[str, Stake] = {}
        self.held: dict[str, int] = {}

    def home(self, one: str) -> int:
        """The partition of the shopper of an issue."""
        return topics.partition_for(self.users[one].encode(), self.partitions)

    def purse(self, account_id: str, partition: int = 0) -> Purse:
        """A purse of a partition, opened with the first lease."""
        return self.purses.setdefault(
            (account_id, partition), purses.open_purse(self.limits[account_id], self.partitions, partition)
        )

    def look(self, one: str, user_id: str | None = None) -> Record:
        """A shopper's event."""
        user = self.users[one] = user_id or f"u-{one}"
        self.events[one] = self.append(topics.BROWSE, browse(f"trigger-{one}", AT, user=user))
        return self.events[one]

    def draw(self, one: str, held: int = HOLD) -> None:
        """A unit and its money are drawn."""
        self.purse(UNITS, self.home(one)).drawn += 1
        self.stakes[one], self.held[one] = Stake(), held
        self.book(one, held=held)

    def issue(self, one: str, at_ms: int = AT_MS, **about: Any) -> Record:
        """The coupon goes out."""
        return self.append(topics.ISSUES, issue(one, self.users[one], **about), self.events[one], at_ms)

    def give(self, *ids: str, user_id: str | None = None, held: int = HOLD) -> "Handmade":
        """Whole decisions, one after the other."""
        for one in ids:
            self.look(one, user_id)
            self.draw(one, held)
            self.issue(one, held_minor=held, campaign_id=self.campaign_id)
        return self

    def say(self, one: str, kind: Any = "purchase", at_ms: int = AT_MS, **about: Any) -> Record:
        """Feedback on an issue; what follows from it for money is for `book`."""
        known: dict[str, Any] = {
            "event_id": f"{kind}-{one}",
            "user_id": self.users[one],
            "occurred_at": AT,
            "issue_id": one,
            "order_id": f"order-{one}",
        }
        return self.append(topics.FEEDBACK, FeedbackEvent(kind=kind, **(known | about)), at_ms=at_ms)

    def book(self, one: str, spent: int = 0, held: int | None = None, at: float = AT, falling: bool = False) -> None:
        """A coupon has spent so much now, and holds so much: by default the rest, or nothing if it spent nothing.

        `falling` if the hold falls with time.
        """
        if held is None:
            held = max(self.held.get(one, 0) - spent, 0) if spent else 0
        before, after = self.stakes[one], Stake(held, spent_minor=spent)
        booking = Booking("c", self.campaign_id, before, after, at, AT, AT + WINDOW_S, falling)
        for account_id in budgets_of("c", self.campaign_id):
            purses.book(self.purse(account_id, self.home(one)), booking)
        self.stakes[one] = after

    def buy(self, one: str, spent: int = HOLD, **about: Any) -> None:
        """A purchase, and its money."""
        self.say(one, discount_minor=spent, **about)
        self.book(one, spent)

    def tick(self, at: float, partition: int = 0, at_ms: int | None = None) -> Record:
        """Time passes."""
        stamp = int(at * 1000) if at_ms is None else at_ms
        return self.put(Record(topics.TICKS.name, partition, 0, stamp, b"%d" % partition, encode(Tick(at=at))))

    def report(self, account_id: str = UNITS, partition: int = 0, at_ms: int = AT_MS, **said: Any) -> Record:
        """A purse is reported, or whatever is said instead."""
        whole = purses.report(account_id, partition, self.purse(account_id, partition), AT)
        cause = self.put(Record(topics.TICKS.name, partition, 0, AT_MS, b"%d" % partition, encode(Tick(at=AT))))
        return self.append(topics.LEASE_REPORTS, replace(whole, **said), cause, at_ms)

    def lease(
        self, cause: Record, granted: int, account_id: str = UNITS, partition: int = 0, at_ms: int = AT_MS, **about: Any
    ) -> Record:
        """A lease that follows from a report, and is taken in."""
        purse = self.purse(account_id, partition)
        known: dict[str, Any] = {"version": purse.version + 1, "granted": granted, "keep": None}
        lease = Lease(account_id=account_id, partition=partition, at=AT, **(known | about))
        purses.receive(purse, lease)
        return self.append(topics.LEASES, lease, cause, at_ms)

    def save_cells(self) -> None:
        """Write the purses, too."""
        super().save_cells()
        for (account_id, partition), purse in self.purses.items():
            key = (SHARED_PREFIX + account_id).encode()
            self.put(Record(USERS, partition, 0, AT_MS, key, StateCodec(Purse).encode(purse)))

    def spoil(self, account_id: str, partition: int = 0, **totals: int) -> None:
        """Add to totals of a purse what nothing explains."""
        purse = self.purse(account_id, partition)
        self.purses[account_id, partition] = replace(
            purse, **{name: getattr(purse, name) + more for name, more in totals.items()}
        )


# ---------------------------------------------------------------- by the agents

SHOPPERS = ("ann", "bob", "eve", "joe", "kim", "zoe")
CAMPAIGNS = [Campaign(campaign_id="spring", budget_minor=3000, max_overspend_ratio=1.0, ends_at=AT + 5 * 86400.0)]
COUPONS = [
    coupon("few", stock=4, redeem_within_s=3600.0),
    coupon("poor", budget_minor=550, budget_hold="maximum", redeem_within_s=5400.0, discount_minor=80),
    coupon("once", codes="generated", caps=[Cap(per="life", n=1)], discount_minor=60, stock=40, redeem_within_s=3600.0),
    coupon("shared", campaign_id="spring", discount_minor=70, redeem_within_s=7200.0),
    coupon(
        "both",
        campaign_id="spring",
        discount_minor=50,
        redeem_within_s=7200.0,
        budget_minor=1000,
        max_overspend_ratio=1.0,
    ),
]
RULES = rules(exploration_ratio=0.3, attribution=AttributionRules(early_feedback_s=600.0, grace_s=60.0))
PROMISED = rules(
    exploration_ratio=0.3,
    control_ratio=0.2,
    holdout_ratio=0.2,
    cooldown_s=2000.0,
    max_issues_per_window=2,
    issue_window_s=14400.0,
    quiet_from_hour=2.5,
    quiet_until_hour=3.0,
    attribution=AttributionRules(early_feedback_s=600.0, grace_s=60.0),
)
"""Rules with which each promise to shoppers binds."""
HALF_HOUR_S = 1800.0
REACTIONS = (
    ("click", "purchase", "refund", "purchase"),
    ("purchase", "cancel", "purchase"),
    ("impression", "purchase", "purchase"),
    (),
)


def new_shop(partitions: int = 2, rules: Rules = RULES, coupons: Sequence[Coupon] = COUPONS) -> Shop:
    """Agents that have done nothing yet."""
    catalogue = Catalogue(coupons, campaigns=CAMPAIGNS)
    known = Knowledge(rules, catalogue, {}, FixedScorer(by="discount_depth"))
    shop = Shop(lambda: known, partitions)
    shop.now = AT
    return shop


def shoppers_act(shop: Shop, visit: int, **about_all: Any) -> None:
    """Everybody looks at something or puts it into the cart; one orders; the last coupons are answered."""
    for number, user in enumerate(SHOPPERS):
        about = (f"{user}-{visit}", shop.now + number + 1.0, item(f"i{number % 3}", price_minor=500), user)
        topic, event = (topics.BROWSE, browse) if (visit + number) % 3 else (topics.CART, cart)
        shop.publish(topic, event(*about, **about_all))
    user = SHOPPERS[visit % len(SHOPPERS)]
    shop.publish(topics.ORDER, order(f"o-{user}-{visit}", shop.now, item("i1"), user=user))
    heard = Counter(event.issue_id for event in {one.event_id: one for one in shop.messages(topics.FEEDBACK)}.values())
    for number, given in list(enumerate(shop.messages(topics.ISSUES)))[-15:]:
        kinds, step = REACTIONS[number % len(REACTIONS)], heard[given.issue_id]
        if step >= len(kinds):
            continue
        left = number // 2 if kinds[step] == "refund" else 20 * step + number
        taken = left if number % 5 else None
        event = feedback(kinds[step], given.issue_id, shop.now, user_id=given.user_id, discount_minor=taken)
        shop.publish(topics.FEEDBACK, event)
        shop.publish(topics.FEEDBACK, event)


def strangers_act(shop: Shop, visit: int) -> None:
    """Somebody sends nonsense, and feedback on a coupon that was never issued."""
    shop.append(BROWSE, visit % shop.partitions, b"stranger", b"nonsense")
    shop.publish(topics.FEEDBACK, feedback("click", "forged", shop.now, f"x{visit}", user_id="ann"))


def log_of(shop: Shop) -> Log:
    """The logs of a shop as they are now, with its catalogue, its changelogs and what it has committed."""
    log = Log(shop.partitions)
    for each in COUPONS:
        log.append(topics.CATALOG, each)
    for campaign in CAMPAIGNS:
        log.append(topics.CAMPAIGNS, campaign)
    for record in shop.everything:
        log.put(record)
    for agent, table in TABLE_OF_AGENT.items():
        for home, cells in sorted(shop.owners[agent].tables.items()):
            for key, cell in sorted(cells.items()):
                log.put(Record(table, home, 0, int(shop.now * 1000), key.encode(), cell))
    log.committed = {place: at for owner in shop.owners.values() for place, at in owner.committed.items()}
    return log


def live_shop(partitions: int = 2, rules: Rules = RULES, coupons: Sequence[Coupon] = COUPONS, **about_all: Any) -> Shop:
    """A few hours of a shop: coupons that sell out, redemptions, expiries, duplicates and dead letters.

    `about_all` are further fields of all triggers.
    """
    shop = new_shop(partitions, rules, coupons)
    for visit in range(8):
        shoppers_act(shop, visit, **about_all)
        strangers_act(shop, visit)
        shop.settle()
        shop.tick(shop.now + HALF_HOUR_S)
        shop.now += 1.0  # so that times say that what a tick leads to comes after it
        shop.settle()
    return shop


def live_log() -> Log:
    """The logs of that shop, idle."""
    return log_of(live_shop())
