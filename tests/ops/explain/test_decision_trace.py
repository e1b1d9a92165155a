"""From an issue back to its decision, through logs as a broker keeps them; and what it says when they are gone."""

from typing import Any

import msgspec
import pytest

from lab.builders import USERS, Log
from lab.decided import CATALOGUE, SETTINGS, STEP_S, busy_shop, compact, order_later, whole_log
from stream_coupons.core.decision.scoring import Knowledge
from stream_coupons.core.draws import PUBLIC_KEY
from stream_coupons.core.errors import BadMessage, SnapshotMismatch
from stream_coupons.core.messages.catalogue import Campaign
from stream_coupons.core.messages.decisions import CouponIssue, LoggedDecision
from stream_coupons.core.messages.learning import ModelSnapshot
from stream_coupons.core.money.accounts import Accounts
from stream_coupons.core.money.purses import Purse
from stream_coupons.core.reasons import Ineligible, NoCoupon, Passed, Shortage
from stream_coupons.core.shopper.state import Shopper
from stream_coupons.kafka import topics
from stream_coupons.kafka.codec import encode
from stream_coupons.kafka.records import ORIGIN_HEADER, Record
from stream_coupons.models.learner import DomainModel
from stream_coupons.models.rules import LearningRules
from stream_coupons.ops.explain.candidate_verdicts import Lack
from stream_coupons.ops.explain.decision_trace import ACCOUNTS, DecisionTrace, find_issue, trace
from stream_coupons.ops.explain.explanation import ExplainedChoice, IssueExplanation, explain_issue
from stream_coupons.runtime.cells import CellCodec, StateCodec
from stream_coupons.testing import item
from tests.core.builders import AT, browse, order
from tests.core.builders import repeatable as coupon

RULES = SETTINGS.rules(PUBLIC_KEY)
ANNS_HOME = topics.partition_for(b"ann", 2)


@pytest.fixture
def log() -> Log:
    return whole_log(busy_shop())


def issues(log: Log) -> list[CouponIssue]:
    read = log.read((topics.ISSUES.name,))
    return [msgspec.json.decode(record.value or b"", type=CouponIssue) for record in read]


def fetcher(log: Log) -> Any:
    def fetch(topic: str, partition: int, offset: int) -> Record | None:
        return next((one for one in log.records[topic, partition] if one.offset == offset), None)

    return fetch


def explain(log: Log, issue_id: str) -> IssueExplanation:
    found = find_issue(log.read((topics.ISSUES.name,)), issue_id)
    assert found is not None
    issue, record = found
    evidence = DecisionTrace(RULES, issue.user_id, log.partitions, issue)
    for name in (*evidence.READ, *evidence.read_of_shopper):
        for one in log.read((name,)):
            evidence.take(one)
    return explain_issue(issue, evidence.kept(trace(issue, record, fetcher(log))), evidence.knowledge())


def test_every_decision_comes_out_again_to_the_last_digit(log: Log) -> None:
    all_issues = issues(log)
    choices = set()
    for issue in all_issues:
        found = explain(log, issue.issue_id)
        assert (found.is_reproduced, found.notes) == (True, [])
        assert [told.feature for told in found.reasons] == [reason.feature for reason in issue.reasons]
        assert found.issue == issue
        choices.add(found.choice)
        said = {verdict.coupon_id: verdict.reason for verdict in found.others}
        assert set(said) == {one.coupon_id for one in CATALOGUE} - {issue.coupon_id}
        assert said["late"] == Ineligible.NOT_YET_VALID
        assert said["trip"] == Ineligible.OTHER_DOMAIN
        assert Passed.NOT_KNOWN not in said.values()
    assert choices == set(ExplainedChoice)


def test_what_was_sold_out_or_capped_then_is_said(log: Log) -> None:
    said = {(found.choice, one.coupon_id, one.reason) for found in explained(log) for one in found.others}
    assert {choice for choice, coupon_id, reason in said if (coupon_id, reason) == ("few", NoCoupon.SOLD_OUT)} == {
        *ExplainedChoice
    }
    assert any(coupon_id == "ham" and reason == Ineligible.SHOPPER_CAP for _, coupon_id, reason in said)
    assert any(reason == Passed.EXPLORED for choice, _, reason in said if choice is ExplainedChoice.EXPLORED)
    assert any(reason == Passed.OUTRANKED for choice, _, reason in said if choice is ExplainedChoice.BEST)


def explained(log: Log) -> list[IssueExplanation]:
    return [explain(log, issue.issue_id) for issue in issues(log)]


def test_the_scores_are_those_of_the_moment(log: Log) -> None:
    first = explain(log, issues(log)[0].issue_id)
    assert first.content == pytest.approx(1.0, rel=1e-3)
    assert first.neighbours == 0.0


def test_a_state_that_has_moved_on_is_said() -> None:
    shop = busy_shop()
    order_later(shop, "ann")
    log = whole_log(shop)
    compact(log)
    issue = next(one for one in issues(log) if one.user_id == "ann")
    found = explain(log, issue.issue_id)
    assert not found.is_reproduced
    assert any("the shopper's state has moved on" in note for note in found.notes)
    assert any("computed again" in note for note in found.notes)
    # These were stored with the issue, which is still open.
    assert found.content == pytest.approx(1.0, rel=1e-3)


def test_the_state_that_was_saved_before_the_decision_is_looked_for(log: Log) -> None:
    issue = [one for one in issues(log) if one.user_id == "ann"][4]
    evidence = DecisionTrace(RULES, "ann", log.partitions, issue)
    decode, states = CellCodec(Shopper).decode, list[Shopper]()
    for record in log.read((USERS,)):
        evidence.take(record)
        if record.key == b"ann":
            states.append(decode(record.value or b"").state)
    first = next(n for n, state in enumerate(states) if issue.issue_id in state.issues)
    kept = evidence.kept(None)
    assert 0 < first < len(states) - 1
    assert (kept.before, kept.after, kept.now) == (states[first - 1], states[first], states[-1])


def of_one_batch(*events: tuple[topics.Topic, Any]) -> IssueExplanation:
    """What is said of the issue that is made when these events of ann are applied together."""
    shop = busy_shop()
    before = len(shop.messages(topics.ISSUES))
    for topic, event in events:
        shop.publish(topic, event)
    shop.settle()
    [issue] = shop.messages(topics.ISSUES)[before:]
    return explain(whole_log(shop), issue.issue_id)


def test_an_event_that_was_applied_together_with_the_trigger_is_said_if_it_matters() -> None:
    at, ham = AT + 20 * STEP_S, item("x", category="ham", price_minor=600)
    bought = order("bought", at, ham, user="ann"), browse("b", at + 1.0, ham, user="ann")
    found = of_one_batch((topics.ORDER, bought[0]), (topics.BROWSE, bought[1]))
    assert not found.is_reproduced
    assert any("other events were applied in one batch with the trigger" in note for note in found.notes)
    looked = browse("b", at, ham, user="ann"), browse("later", at + 1.0, ham, user="ann")
    found = of_one_batch((topics.BROWSE, looked[0]), (topics.BROWSE, looked[1]))
    assert (found.is_reproduced, found.notes) == (True, [])


def test_a_decision_that_is_not_on_record_is_said(log: Log) -> None:
    sold_out = next(
        found.issue for found in explained(log) if NoCoupon.SOLD_OUT in {one.reason for one in found.others}
    )
    record = next(iter(log.read((topics.DECISIONS.name,))))
    decision = msgspec.json.decode(record.value or b"", type=LoggedDecision)
    forged = msgspec.structs.replace(decision, decision_id=sold_out.issue_id, user_id="eve", sold_out=["tea", "few"])
    log.drop_beginning(topics.DECISIONS.name, 10**6)
    for value in (encode(forged), b"nonsense " + sold_out.issue_id.encode()):
        log.put(record._replace(value=value))
    found = explain(log, sold_out.issue_id)
    unknown = "which coupons were sold out, and what budgets charged for them, is not known"
    note = f"the decision is not in the topic decisions: {unknown}"
    assert (found.is_reproduced, found.notes) == (True, [note])
    assert NoCoupon.SOLD_OUT not in {one.reason for one in found.others}


def test_what_is_gone_is_said(log: Log) -> None:
    issue = issues(log)[0]
    found = explain_issue(
        issue, DecisionTrace(RULES, "ann", log.partitions, issue).kept(None), knowledge_of(log, issue)
    )
    assert [note.partition(":")[0] for note in found.notes] == [
        "the decision is not in the topic decisions",
        "no state of this shopper is kept",
        "the event that triggered it is no longer kept",
    ]


def knowledge_of(log: Log, issue: CouponIssue) -> Knowledge:
    evidence = DecisionTrace(RULES, issue.user_id, log.partitions, issue)
    for record in log.read(evidence.READ):
        evidence.take(record)
    return evidence.knowledge()


def test_without_any_state_the_issue_still_explains_itself(log: Log) -> None:
    issue = issues(log)[0]
    for records in (records for (topic, _), records in log.records.items() if topic == USERS):
        records.clear()
    found = explain(log, issue.issue_id)
    assert [told.feature for told in found.reasons] == [reason.feature for reason in issue.reasons]
    assert [one.coupon_id for one in found.others] == ["trip"]
    assert (found.content, found.neighbours) == (None, None)
    assert "no state of this shopper is kept: why not the others cannot be said" in found.notes


def test_a_coupon_that_has_left_the_catalogue_is_said(log: Log) -> None:
    issue = next(one for one in issues(log) if one.coupon_id == "tea")
    log.put(Record(topics.CATALOG.name, 0, 0, 0, b"tea", None))
    found = explain(log, issue.issue_id)
    assert found.notes == ["coupon tea is no longer in the catalogue"]
    assert not found.is_reproduced
    assert found.content is not None


def test_a_shopper_without_a_state_any_more_is_not_known(log: Log) -> None:
    evidence = DecisionTrace(RULES, "ann", log.partitions)
    for record in log.read((USERS,)):
        evidence.take(record)
    assert evidence.now is not None
    evidence.take(Record(USERS, ANNS_HOME, 0, 0, b"ann", None))
    assert evidence.now is None


def test_what_is_left_is_that_of_the_shoppers_partition_and_of_the_accounts(log: Log) -> None:
    evidence = DecisionTrace(RULES, "ann", log.partitions)
    few = next(Accounts([one]).of(one) for one in CATALOGUE if one.coupon_id == "few")
    lack = Lack(shortage=Shortage.STOCK, account_id="units:few", needed=1, here=0, in_all=0)
    for record in (*log.read(evidence.READ), *log.read(evidence.read_of_shopper)):
        evidence.take(record)
    assert evidence.funds().lack(few, 100) == lack
    one_left = StateCodec(Purse).encode(Purse(granted=5, drawn=4))
    evidence.take(Record(USERS, 1 - ANNS_HOME, 0, 0, b"\0units:few", one_left))
    assert evidence.funds().lack(few, 100) == lack
    evidence.take(Record(USERS, ANNS_HOME, 0, 0, b"\0units:few", one_left))
    assert evidence.funds().lack(few, 100) is None
    evidence.take(Record(ACCOUNTS, 0, 0, 0, b"units:few", None))
    assert "units:few" not in evidence.funds().accounts


@pytest.mark.parametrize(
    ("topic", "key"),
    [(USERS, b"ann"), (USERS, b"\0units:few"), (topics.SNAPSHOTS.name, b"ecommerce"), (ACCOUNTS, b"units:few")],
)
def test_what_cannot_be_read_names_its_place(topic: str, key: bytes) -> None:
    with pytest.raises(BadMessage, match=f"{topic}:{ANNS_HOME}:7 cannot be read"):
        DecisionTrace(RULES, "ann", 2).take(Record(topic, ANNS_HOME, 7, 0, key, b"nonsense"))


# ---------------------------------------------------------------- the way back


def test_an_unknown_issue_is_not_found(log: Log) -> None:
    assert find_issue(log.read((topics.ISSUES.name,)), "nonsense") is None


def test_a_text_that_only_holds_the_id_is_no_issue(log: Log) -> None:
    issue = issues(log)[0]
    others = [
        b"nonsense " + issue.issue_id.encode(),
        encode(msgspec.structs.replace(issue, issue_id="x", title=issue.issue_id)),
    ]
    records = [Record(topics.ISSUES.name, 0, 0, 0, b"ann", value) for value in others]
    assert find_issue(records, issue.issue_id) is None


def traced(log: Log, issue: CouponIssue, *headers: tuple[str, bytes | None]) -> Any:
    found = find_issue(log.read((topics.ISSUES.name,)), issue.issue_id)
    assert found is not None
    return trace(issue, found[1]._replace(headers=headers or found[1].headers), fetcher(log))


def test_an_issue_leads_back_to_its_event_while_that_is_kept(log: Log) -> None:
    issue = issues(log)[0]
    assert traced(log, issue).event_id == issue.trigger_id
    log.drop_beginning(topics.BROWSE.name, 10**6)
    assert traced(log, issue) is None


@pytest.mark.parametrize("origin", [b"", b"nonsense", b"coupon-catalog:0:0:0", b"browse-events:x:0:0", b"ticks:0:0:0"])
def test_a_forged_origin_leads_nowhere(log: Log, origin: bytes) -> None:
    assert traced(log, issues(log)[0], (ORIGIN_HEADER, origin)) is None


def test_the_event_of_another_issue_is_not_taken_for_it(log: Log) -> None:
    first, other = issues(log)[0], issues(log)[-1]
    found = find_issue(log.read((topics.ISSUES.name,)), other.issue_id)
    assert found is not None
    assert traced(log, first, *found[1].headers) is None


def test_an_origin_that_is_no_event_leads_nowhere(log: Log) -> None:
    nonsense = log.put(Record(topics.BROWSE.name, 0, 0, 0, b"ann", b"nonsense"))
    place = f"{nonsense.topic}:0:{nonsense.offset}:0".encode()
    assert traced(log, issues(log)[0], (ORIGIN_HEADER, place)) is None


# ---------------------------------------------------------------- models


def snapshot(version: int) -> ModelSnapshot:
    model = DomainModel("ecommerce", LearningRules())
    model.version, model.offset = version - 1, version  # no more versions than records
    return model.snapshot()


def record_of(one: ModelSnapshot) -> Record:
    return Record(topics.SNAPSHOTS.name, 0, 0, 0, one.domain.encode(), encode(one))


def test_the_model_that_decided_is_used_while_it_is_kept(log: Log) -> None:
    issue = msgspec.structs.replace(issues(log)[0], model_version=2)
    evidence = DecisionTrace(RULES, "ann", 2, issue)
    for version in (1, 2, 3):
        evidence.take(record_of(snapshot(version)))
    assert evidence.knowledge().scorer("ecommerce").version == 2
    assert evidence.knowledge(with_models=False).scorer("ecommerce").version == 0

    evidence = DecisionTrace(RULES, "ann", 2, issue)
    evidence.take(record_of(snapshot(3)))
    known = evidence.knowledge(CATALOGUE)
    notes = explain_issue(issue, evidence.kept(None), known).notes
    assert "model version 2 is no longer kept: the others are judged by version 3" in notes


def test_before_anything_was_learnt_the_prior_decided(log: Log) -> None:
    evidence = DecisionTrace(RULES, "ann", 2, issues(log)[0])
    evidence.take(record_of(snapshot(3)))
    assert evidence.knowledge().scorer("ecommerce").version == 0


def test_a_snapshot_that_does_not_fit_says_so() -> None:
    for wrong in (
        msgspec.structs.replace(snapshot(4), feature_schema="other"),
        msgspec.structs.replace(snapshot(4), checksum=1),
    ):
        evidence = DecisionTrace(RULES, "ann", 2)
        evidence.take(record_of(wrong))
        with pytest.raises(SnapshotMismatch, match="snapshot 4 of ecommerce"):
            evidence.knowledge()
    evidence = DecisionTrace(RULES, "ann", 2)
    evidence.take(Record(topics.SNAPSHOTS.name, 0, 0, 0, b"ecommerce", b'{"domain": "ecommerce", "version": 4}'))
    with pytest.raises(SnapshotMismatch, match="missing required field"):
        evidence.knowledge()


def test_what_another_version_of_the_program_keeps_beside_ours_is_not_looked_at(log: Log) -> None:
    issue = msgspec.structs.replace(issues(log)[0], model_version=2)
    other = msgspec.structs.replace(snapshot(2), feature_schema="other")
    for both in ((other, snapshot(3)), (snapshot(3), other)):
        evidence = DecisionTrace(RULES, "ann", 2, issue)
        for each in both:
            evidence.take(record_of(each))
        assert evidence.knowledge().scorer("ecommerce").version == 3


def test_another_catalogue_may_be_tried() -> None:
    evidence = DecisionTrace(RULES, "ann", 2)
    assert set(evidence.knowledge([coupon("new")]).catalogue.by_id) == {"new"}


def test_campaigns_are_known_with_any_catalogue() -> None:
    evidence = DecisionTrace(RULES, "ann", 2)
    log = Log()
    log.append(topics.CAMPAIGNS, Campaign(campaign_id="spring", paused=True))
    for record in log.read(evidence.READ):
        evidence.take(record)
    shared = coupon("new", campaign_id="spring")
    assert evidence.knowledge([shared]).catalogue.by_id["new"].paused
    assert set(evidence.knowledge().catalogue.campaigns) == {"spring"}
