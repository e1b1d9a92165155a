"""Verbs lead from state to state as the table says, and the history knows which change is in effect."""

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_coupons.core.messages.campaign_changes import CampaignChange, CampaignVerb
from stream_coupons.core.messages.catalogue import Campaign, CampaignState
from stream_coupons.ops.campaign_life import TRANSITIONS, ForbiddenTransition, changed, history, settled
from stream_coupons.testing import campaign

STATES: tuple[CampaignState, ...] = get_args(CampaignState)
LIFE: dict[CampaignVerb, dict[str, str]] = {
    "stage": {"draft": "staged", "approved": "staged", "staged": "staged"},
    "approve": {"draft": "approved", "staged": "approved"}
    | {state: state for state in ("approved", "ramp", "running", "paused", "held")},
    "launch": dict.fromkeys(("approved", "ramp", "running"), "running"),
    "pause": dict.fromkeys(("ramp", "running", "paused"), "paused"),
    "hold": dict.fromkeys(("ramp", "running", "paused", "held"), "held"),
    "resume": {"paused": "running", "held": "running", "running": "running", "ramp": "ramp"},
    "end": dict.fromkeys(("staged", "approved", "ramp", "running", "paused", "held", "ended"), "ended"),
    "archive": {"draft": "archived", "ended": "archived", "archived": "archived"},
}
"""By verb and state, the state after it; a verb whose state is reached already changes nothing."""


@pytest.mark.parametrize("verb", LIFE)
@pytest.mark.parametrize("state", STATES)
def test_a_verb_leads_to_its_state_or_is_refused(verb: CampaignVerb, state: CampaignState) -> None:
    before = campaign("spring", state=state)
    if (after := LIFE[verb].get(state)) is not None:
        assert changed(before, verb) == campaign("spring", state=after)
        return
    with pytest.raises(ForbiddenTransition) as refused:
        changed(before, verb)
    text = str(refused.value)
    assert text.startswith(f"is {state}, to {verb} it expected ")
    assert all(allowed in text for allowed in TRANSITIONS[verb])
    assert "; run `stream-coupons campaigns " in text or text.endswith("; nothing leads back: push it under another id")


def test_an_error_names_the_way() -> None:
    for state, verb, way in (
        ("draft", "launch", "run `stream-coupons campaigns approve spring` first"),
        ("held", "launch", "run `stream-coupons campaigns resume spring` first"),
        ("draft", "pause", "`stream-coupons campaigns approve spring` and `stream-coupons campaigns launch spring`"),
        ("running", "archive", "run `stream-coupons campaigns end spring` first"),
        ("archived", "launch", "nothing leads back"),
    ):
        with pytest.raises(ForbiddenTransition, match=way):
            changed(campaign("spring", state=state), verb)  # type: ignore[arg-type]


def test_every_state_is_reached_from_a_draft_and_leads_to_the_archive() -> None:
    steps = {(one, target) for each in TRANSITIONS.values() for one, target in each.items()}
    steps |= {(one, "ramp") for one, target in steps if target == "running"}

    def reached(start: str) -> set[str]:
        found, size = {start}, 0
        while len(found) > size:
            size = len(found)
            found |= {target for one, target in steps if one in found}
        return found

    assert reached("draft") == set(STATES)
    assert all("archived" in reached(state) for state in STATES)


@given(st.floats(0, 1, exclude_max=True), st.sampled_from(["pause", "hold"]))
def test_a_pause_does_not_lift_a_ramp(ratio: float, verb: CampaignVerb) -> None:
    ramp = changed(campaign("spring", state="approved"), "launch", ratio)
    assert (ramp.state, ramp.ramp_ratio) == ("ramp", ratio)
    assert changed(changed(ramp, verb), "resume") == ramp
    assert changed(ramp, "launch") == campaign("spring", state="running")
    assert changed(changed(ramp, "launch"), "launch", ratio) == ramp, "and back"


def test_a_push_keeps_the_state_unless_it_names_one() -> None:
    paused = campaign("spring", state="paused", ramp_ratio=0.25, budget_minor=5)
    entry = campaign("spring", budget_minor=9)
    kept = settled(entry, paused, states=False, needs_approval=True)
    assert kept == campaign("spring", state="paused", ramp_ratio=0.25, budget_minor=9)
    assert settled(entry, None, states=False, needs_approval=False).state == "running"
    assert settled(entry, None, states=False, needs_approval=True).state == "draft"
    assert settled(campaign("spring", state="staged"), None, states=True, needs_approval=True).state == "staged"
    assert settled(entry, paused, states=True, needs_approval=False) == entry, "resumed by the file"
    with pytest.raises(ForbiddenTransition, match="is archived, for the state running of the file expected approved"):
        settled(entry, campaign("spring", state="archived"), states=True, needs_approval=False)
    with pytest.raises(ForbiddenTransition, match="for the state draft of the file expected draft; nothing leads back"):
        settled(campaign("spring", state="draft"), paused, states=True, needs_approval=False)


def change(verb: CampaignVerb, before: Campaign | None, after: Campaign | None) -> CampaignChange:
    return CampaignChange(campaign_id="spring", at=1.0, by="ann", verb=verb, before=before, after=after)


@given(st.lists(st.tuples(st.sampled_from([*LIFE]), st.booleans()), max_size=12))
def test_changes_whose_record_was_not_written_are_not_in_effect(plan: list[tuple[CampaignVerb, bool]]) -> None:
    """Each verb may be cut short between its two records."""
    record, log, expected = campaign("spring", state="draft"), list[CampaignChange](), list[bool]()
    for verb, is_cut in plan:
        try:
            after = changed(record, verb)
        except ForbiddenTransition:
            continue
        if after == record:
            continue
        log.append(change(verb, record, after))
        expected.append(not is_cut)
        record = record if is_cut else after
    assert [one.in_effect for one in history(log, {"spring": record})] == expected


def test_the_history_of_a_removed_campaign() -> None:
    spring = campaign("spring")
    log = [change("push", None, spring), change("remove", spring, None), change("push", None, spring)]
    assert [one.in_effect for one in history(log, {"spring": spring})] == [True, True, True]
    assert [one.in_effect for one in history(log, {})] == [True, True, False]
    other = campaign("spring", budget_minor=7)
    [found] = history([change("push", spring, other)], {"spring": other})
    assert found.fields == ["budget_minor"]
