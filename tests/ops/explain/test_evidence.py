"""The evidence in logs as a broker keeps them: an issue, its decision, and a shopper with what is known now."""

import msgspec
import pytest

from lab.builders import USERS, Log
from lab.decided import CATALOGUE, SETTINGS, busy_shop, whole_log
from stream_coupons.core.draws import PUBLIC_KEY
from stream_coupons.core.errors import BadMessage
from stream_coupons.core.messages.catalogue import Campaign
from stream_coupons.core.messages.decisions import CouponIssue
from stream_coupons.core.messages.learning import ModelSnapshot
from stream_coupons.core.money.accounts import Accounts
from stream_coupons.core.money.purses import Purse
from stream_coupons.core.reasons import Ineligible, NoCoupon, Passed, Shortage
from stream_coupons.kafka import topics
from stream_coupons.kafka.codec import encode
from stream_coupons.kafka.records import Record
from stream_coupons.models.learner import DomainModel
from stream_coupons.models.rules import LearningRules
from stream_coupons.ops.explain.candidate_verdicts import Lack
from stream_coupons.ops.explain.evidence import ShopperEvidence, find_message
from stream_coupons.ops.explain.explanation import IssueExplanation, explain_issue
from stream_coupons.runtime.cells import StateCodec
from tests.core.builders import repeatable as coupon

RULES = SETTINGS.rules(PUBLIC_KEY)
ANNS_HOME = topics.partition_for(b"ann", 2)


@pytest.fixture
def log() -> Log:
    return whole_log(busy_shop())


def issues(log: Log) -> list[CouponIssue]:
    read = log.read((topics.ISSUES.name,))
    return [msgspec.json.decode(record.value or b"", type=CouponIssue) for record in read]


def explain(log: Log, issue_id: str) -> IssueExplanation:
    issue = find_message(log.read((topics.ISSUES.name,)), topics.ISSUES, "issue_id", issue_id)
    decision = find_message(log.read((topics.DECISIONS.name,)), topics.DECISIONS, "decision_id", issue_id)
    assert issue is not None
    return explain_issue(issue, decision, RULES.policy)


def explained(log: Log) -> list[IssueExplanation]:
    return [explain(log, issue.issue_id) for issue in issues(log)]


def test_every_issue_is_explained_by_its_record(log: Log) -> None:
    for issue, found in zip(issues(log), explained(log), strict=True):
        assert (found.issue, found.notes) == (issue, [])
        assert [told.feature for told in found.reasons] == [reason.feature for reason in issue.reasons]
        assert found.decision is not None
        said = {one.coupon_id for one in found.others}
        assert said == {*found.decision.arms, *found.decision.sold_out} - {issue.coupon_id}


def test_the_others_were_sold_out_or_worth_less_or_passed_over_by_chance(log: Log) -> None:
    said = {(found.issue.is_explored, one.coupon_id, one.reason) for found in explained(log) for one in found.others}
    sold_out = {is_explored for is_explored, *one in said if one == ["few", NoCoupon.SOLD_OUT]}
    assert sold_out == {True, False}
    assert Passed.EXPLORED in {reason for is_explored, _, reason in said if is_explored}
    of_the_best = {reason for is_explored, _, reason in said if not is_explored}
    assert Passed.OUTRANKED in of_the_best
    assert Passed.EXPLORED not in of_the_best


def test_without_the_record_of_its_decision_the_issue_explains_itself(log: Log) -> None:
    issue = issues(log)[0]
    log.drop_beginning(topics.DECISIONS.name, 10**6)
    found = explain(log, issue.issue_id)
    assert [told.feature for told in found.reasons] == [reason.feature for reason in issue.reasons]
    assert (found.others, found.notes) == ([], ["the decision is not in decisions: the others are not known"])


def test_an_unknown_issue_is_not_found(log: Log) -> None:
    assert find_message(log.read((topics.ISSUES.name,)), topics.ISSUES, "issue_id", "nonsense") is None


def test_a_text_that_only_holds_the_id_is_no_issue(log: Log) -> None:
    issue = issues(log)[0]
    others = [
        b"nonsense " + issue.issue_id.encode(),
        encode(msgspec.structs.replace(issue, issue_id="x", title=issue.issue_id)),
    ]
    records = [Record(topics.ISSUES.name, 0, 0, 0, b"ann", value) for value in others]
    assert find_message(records, topics.ISSUES, "issue_id", issue.issue_id) is None


def test_a_shopper_without_a_state_any_more_is_not_known(log: Log) -> None:
    evidence = ShopperEvidence(RULES, "ann", log.partitions)
    for record in log.read((USERS,)):
        evidence.take(record)
    assert evidence.now is not None
    evidence.take(Record(USERS, ANNS_HOME, 0, 0, b"ann", None))
    assert evidence.now is None


def test_what_is_left_is_that_of_the_shoppers_partition(log: Log) -> None:
    evidence = ShopperEvidence(RULES, "ann", log.partitions)
    few = next(Accounts([one]).of(one) for one in CATALOGUE if one.coupon_id == "few")
    lack = Lack(shortage=Shortage.STOCK, account_id="units:few", needed=1, here=0)
    for record in (*log.read(evidence.READ), *log.read((USERS,))):
        evidence.take(record)
    assert evidence.funds().lack(few, 100, 100) == lack
    one_left = StateCodec(Purse).encode(Purse(granted=5, drawn=4))
    evidence.take(Record(USERS, 1 - ANNS_HOME, 0, 0, b"\0units:few", one_left))
    assert evidence.funds().lack(few, 100, 100) == lack
    evidence.take(Record(USERS, ANNS_HOME, 0, 0, b"\0units:few", one_left))
    assert evidence.funds().lack(few, 100, 100) is None


def test_a_budget_that_is_spent_is_named_as_the_reason(log: Log) -> None:
    evidence = ShopperEvidence(RULES, "ann", log.partitions)
    one = coupon("poor", budget_minor=450)
    for record in (*log.read(evidence.READ), *log.read((USERS,))):
        evidence.take(record)
    spent = StateCodec(Purse).encode(Purse(granted=450, drawn=200, spent=200, is_spent=True))
    evidence.take(Record(USERS, ANNS_HOME, 0, 0, b"\0money:poor", spent))
    assert evidence.funds().lack(Accounts([one]).of(one), 100, 100) == Lack(
        shortage=Shortage.SPENT, account_id="money:poor", needed=100, here=250
    )


@pytest.mark.parametrize(
    ("topic", "key"),
    [(USERS, b"ann"), (USERS, b"\0units:few")],
)
def test_what_cannot_be_read_names_its_place(topic: str, key: bytes) -> None:
    with pytest.raises(BadMessage, match=f"{topic}:{ANNS_HOME}:7 cannot be read"):
        ShopperEvidence(RULES, "ann", 2).take(Record(topic, ANNS_HOME, 7, 0, key, b"nonsense"))


def snapshot(version: int) -> ModelSnapshot:
    model = DomainModel("ecommerce", LearningRules())
    model.version, model.offset = version - 1, version  # no more versions than records
    return model.snapshot()


def record_of(one: ModelSnapshot) -> Record:
    return Record(topics.SNAPSHOTS.name, 0, 0, 0, one.domain.encode(), encode(one))


def test_the_latest_model_is_used() -> None:
    evidence = ShopperEvidence(RULES, "ann", 2)
    for version in (1, 2, 3):
        evidence.take(record_of(snapshot(version)))
    assert evidence.knowledge().scorer("ecommerce").version == 3


@pytest.mark.parametrize(
    "wrong",
    [
        encode(msgspec.structs.replace(snapshot(4), feature_schema="other")),
        encode(msgspec.structs.replace(snapshot(4), checksum=1)),
        b'{"domain": "ecommerce", "version": 4}',
        b"nonsense",
    ],
)
def test_a_snapshot_that_workers_refuse_is_not_used(wrong: bytes, caplog: pytest.LogCaptureFixture) -> None:
    evidence = ShopperEvidence(RULES, "ann", 2)
    for value in (encode(snapshot(3)), wrong):
        evidence.take(Record(topics.SNAPSHOTS.name, 0, 0, 0, b"ecommerce", value))
    assert evidence.knowledge().scorer("ecommerce").version == 3
    assert "key b'ecommerce' is refused" in caplog.text


def test_what_another_version_of_the_program_keeps_beside_ours_is_not_looked_at() -> None:
    other = msgspec.structs.replace(snapshot(2), feature_schema="other")
    for both in ((other, snapshot(3)), (snapshot(3), other)):
        evidence = ShopperEvidence(RULES, "ann", 2)
        for each in both:
            evidence.take(record_of(each))
        assert evidence.knowledge().scorer("ecommerce").version == 3


def test_another_catalogue_may_be_tried() -> None:
    evidence = ShopperEvidence(RULES, "ann", 2)
    assert set(evidence.knowledge([coupon("new")]).catalogue.by_id) == {"new"}


def test_campaigns_are_known_with_any_catalogue() -> None:
    evidence = ShopperEvidence(RULES, "ann", 2)
    log = Log()
    log.append(topics.CAMPAIGNS, Campaign(campaign_id="spring", state="paused"))
    for record in log.read(evidence.READ):
        evidence.take(record)
    shared = coupon("new", campaign_id="spring")
    assert evidence.knowledge([shared]).catalogue.set_of("new").stops == [Ineligible.PAUSED]
    assert set(evidence.knowledge().catalogue.campaigns) == {"spring"}
