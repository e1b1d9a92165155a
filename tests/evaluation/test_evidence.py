"""From an issue back to its decision, through logs as a broker keeps them; and what it says when they are gone."""

from typing import Any

import msgspec
import pytest
from core.builders import coupon

from evaluation.builders import USERS, Log
from evaluation.decided import CATALOGUE, SETTINGS, busy_shop, compact, order_later, whole_log
from stream_coupons import topics
from stream_coupons.codec import encode
from stream_coupons.core.draws import PUBLIC_KEY
from stream_coupons.core.errors import BadMessage, SnapshotMismatch
from stream_coupons.core.events import CouponIssue, ModelSnapshot
from stream_coupons.core.reasons import Ineligible, NoCoupon, Passed
from stream_coupons.core.shopper import Shopper
from stream_coupons.evaluation.evidence import Evidence, find_issue, trace
from stream_coupons.evaluation.explanation import Choice, IssueExplanation, explain_issue
from stream_coupons.models.learner import DomainModel
from stream_coupons.models.rules import LearningRules
from stream_coupons.runtime.cells import CellCodec
from stream_coupons.runtime.records import ORIGIN_HEADER, Record

RULES = SETTINGS.rules(PUBLIC_KEY)


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
    proposal, trigger = trace(issue, record, fetcher(log))
    evidence = Evidence(RULES, issue.user_id, issue)
    for name in (*Evidence.READ, *Evidence.READ_OF_SHOPPER):
        for one in log.read((name,)):
            evidence.take(one)
    return explain_issue(issue, evidence.kept(proposal, trigger), evidence.knowledge())


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
    assert choices == set(Choice)


def test_what_was_sold_out_or_capped_then_is_said(log: Log) -> None:
    said = {(found.choice, one.coupon_id, one.reason) for found in explained(log) for one in found.others}
    assert (Choice.ALTERNATIVE, "few", NoCoupon.SOLD_OUT) in said
    assert any(coupon_id == "ham" and reason == Ineligible.SHOPPER_CAP for _, coupon_id, reason in said)
    assert any(reason == Passed.EXPLORED for choice, _, reason in said if choice is Choice.EXPLORED)
    assert any(reason == Passed.OUTRANKED for choice, _, reason in said if choice is Choice.BEST)


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


def test_of_several_states_with_the_proposal_the_first_is_the_decisions(log: Log) -> None:
    issue = issues(log)[0]
    evidence = Evidence(RULES, issue.user_id, issue)
    codec = CellCodec(Shopper)
    for record in log.read((USERS,)):
        evidence.take(record)
        cell = codec.decode(record.value or b"")
        if issue.issue_id in cell.state.proposals:
            cell.state.profile.browses *= 2  # another event, while the budgets are asked
            evidence.take(record._replace(value=codec.encode(cell)))
            break
    assert evidence.decided is not None
    assert evidence.now is not None
    assert evidence.now.profile.browses == 2 * evidence.decided.profile.browses > 0


def test_a_state_that_saw_later_events_is_said(log: Log) -> None:
    issue = issues(log)[0]
    versions = [one for one in log.read((USERS,)) if one.key == issue.user_id.encode()]
    for topic, home in list(log.records):
        if topic == USERS:
            log.records[topic, home] = [one for one in versions[-1:] if one.partition == home]
    evidence = Evidence(RULES, issue.user_id, issue)
    evidence.take(versions[-1])
    state = evidence.now
    assert state is not None
    evidence.decided = state
    found = explain_issue(issue, evidence.kept(None, None), evidence.knowledge(CATALOGUE))
    assert any("later events too" in note for note in found.notes)
    assert any("the proposal is no longer kept" in note for note in found.notes)
    assert any("the event that triggered it is no longer kept" in note for note in found.notes)


def test_a_trigger_from_a_clock_that_was_ahead_is_no_later_event(log: Log) -> None:
    issue = next(iter(issues(log)))
    _, trigger = trace(*(find_issue(log.read((topics.ISSUES.name,)), issue.issue_id) or ()), fetcher(log))
    evidence = Evidence(RULES, issue.user_id, issue)
    for one in log.read((USERS,)):
        evidence.take(one)
    assert trigger is not None
    decided_before = msgspec.structs.replace(issue, issued_at=trigger.occurred_at - 3600.0)
    notes = explain_issue(decided_before, evidence.kept(None, trigger), evidence.knowledge(CATALOGUE)).notes
    assert not any("later events too" in note for note in notes)


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
    evidence = Evidence(RULES, "ann")
    for record in log.read((USERS,)):
        evidence.take(record)
    assert evidence.now is not None
    evidence.take(Record(USERS, 0, 0, 0, b"ann", None))
    assert evidence.now is None


def test_ledgers_are_those_of_the_budgets(log: Log) -> None:
    evidence = Evidence(RULES, "ann")
    for record in log.read(Evidence.READ):
        evidence.take(record)
    assert evidence.ledgers["few"].issued == 5
    evidence.take(Record(Evidence.READ[-1], 0, 0, 0, b"few", None))
    assert "few" not in evidence.ledgers


@pytest.mark.parametrize("topic", [USERS, *Evidence.READ[1:]])
def test_what_cannot_be_read_names_its_place(topic: str) -> None:
    with pytest.raises(BadMessage, match=f"{topic}:1:7 cannot be read"):
        Evidence(RULES, "ann").take(Record(topic, 1, 7, 0, b"ann", b"nonsense"))


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


def traced(log: Log, issue: CouponIssue, *headers: tuple[str, bytes]) -> tuple[Any, Any]:
    found = find_issue(log.read((topics.ISSUES.name,)), issue.issue_id)
    assert found is not None
    return trace(issue, found[1]._replace(headers=headers or found[1].headers), fetcher(log))


def test_the_way_back_ends_where_a_log_ends(log: Log) -> None:
    issue = issues(log)[0]
    proposal, trigger = traced(log, issue)
    assert (proposal.proposal_id, trigger.event_id) == (issue.issue_id, issue.trigger_id)
    log.drop_beginning(topics.BROWSE.name, 10**6)
    assert traced(log, issue) == (proposal, None)
    log.drop_beginning(topics.PROPOSALS.name, 10**6)
    assert traced(log, issue) == (None, None)


@pytest.mark.parametrize("origin", [b"", b"nonsense", b"coupon-catalog:0:0:0", b"browse-events:x:0:0", b"ticks:0:0:0"])
def test_a_forged_origin_leads_nowhere(log: Log, origin: bytes) -> None:
    assert traced(log, issues(log)[0], (ORIGIN_HEADER, origin)) == (None, None)


def test_the_decision_of_another_issue_is_not_taken_for_it(log: Log) -> None:
    first, other = issues(log)[0], issues(log)[-1]
    found = find_issue(log.read((topics.ISSUES.name,)), other.issue_id)
    assert found is not None
    assert traced(log, first, *found[1].headers) == (None, None)
    event = next(one for one in log.read((topics.BROWSE.name,)) if b"bob-1" in (one.value or b""))
    place = f"{event.topic}:{event.partition}:{event.offset}:0".encode()
    assert traced(log, first, (ORIGIN_HEADER, place)) == (None, None)


# ---------------------------------------------------------------- models


def snapshot(version: int) -> ModelSnapshot:
    model = DomainModel("ecommerce", LearningRules())
    model.version, model.offset = version - 1, version  # no more versions than records
    return model.snapshot()


def record_of(one: ModelSnapshot) -> Record:
    return Record(topics.SNAPSHOTS.name, 0, 0, 0, one.domain.encode(), encode(one))


def test_the_model_that_decided_is_used_while_it_is_kept(log: Log) -> None:
    issue = msgspec.structs.replace(issues(log)[0], model_version=2)
    evidence = Evidence(RULES, "ann", issue)
    for version in (1, 2, 3):
        evidence.take(record_of(snapshot(version)))
    assert evidence.knowledge().scorer("ecommerce").version == 2
    assert evidence.knowledge(with_models=False).scorer("ecommerce").version == 0

    evidence = Evidence(RULES, "ann", issue)
    evidence.take(record_of(snapshot(3)))
    known = evidence.knowledge(CATALOGUE)
    notes = explain_issue(issue, evidence.kept(None, None), known).notes
    assert "model version 2 is no longer kept: the others are judged by version 3" in notes


def test_before_anything_was_learnt_the_prior_decided(log: Log) -> None:
    evidence = Evidence(RULES, "ann", issues(log)[0])
    evidence.take(record_of(snapshot(3)))
    assert evidence.knowledge().scorer("ecommerce").version == 0


def test_a_snapshot_that_does_not_fit_says_so() -> None:
    for wrong in (
        msgspec.structs.replace(snapshot(4), feature_schema="other"),
        msgspec.structs.replace(snapshot(4), checksum=1),
    ):
        evidence = Evidence(RULES, "ann")
        evidence.take(record_of(wrong))
        with pytest.raises(SnapshotMismatch, match="snapshot 4 of ecommerce"):
            evidence.knowledge()
    evidence = Evidence(RULES, "ann")
    evidence.take(Record(topics.SNAPSHOTS.name, 0, 0, 0, b"ecommerce", b'{"domain": "ecommerce", "version": 4}'))
    with pytest.raises(SnapshotMismatch, match="missing required field"):
        evidence.knowledge()


def test_what_another_version_of_the_program_keeps_beside_ours_is_not_looked_at(log: Log) -> None:
    issue = msgspec.structs.replace(issues(log)[0], model_version=2)
    other = msgspec.structs.replace(snapshot(2), feature_schema="other")
    for order in ((other, snapshot(3)), (snapshot(3), other)):
        evidence = Evidence(RULES, "ann", issue)
        for each in order:
            evidence.take(record_of(each))
        assert evidence.knowledge().scorer("ecommerce").version == 3


def test_another_catalogue_may_be_tried() -> None:
    evidence = Evidence(RULES, "ann")
    assert set(evidence.knowledge([coupon("new")]).catalogue.by_id) == {"new"}
