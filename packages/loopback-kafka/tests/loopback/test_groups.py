from dataclasses import dataclass, field

from loopback_kafka.groups import Group
from loopback_kafka.members import (
    GroupState,
    JoinAnswer,
    JoinRequest,
    MemberRef,
    SyncAnswer,
)
from loopback_kafka.protocol import ErrorCode

DELAY_S = 0.2
SESSION_S = 10.0
REBALANCE_S = 30.0


@dataclass
class Fixture:
    """A group with its own clock, and the answers its members got."""

    group: Group = field(default_factory=lambda: Group("g", DELAY_S))
    now: float = 100.0

    def join(
        self,
        member_id: str = "",
        *,
        instance_id: str | None = None,
        protocols: tuple[str, ...] = ("range",),
        wants_id_first: bool = False,
    ) -> list[JoinAnswer]:
        answers: list[JoinAnswer] = []
        request = JoinRequest(
            member_id,
            instance_id,
            "client",
            SESSION_S,
            REBALANCE_S,
            "consumer",
            dict.fromkeys(protocols, b"topics"),
            wants_id_first,
        )
        self.group.join(request, self.now, answers.append)
        return answers

    def sync(self, joined: JoinAnswer, assignments: dict[str, bytes]) -> list[SyncAnswer]:
        answers: list[SyncAnswer] = []
        ref = MemberRef(joined.member_id, joined.generation)
        self.group.sync(ref, assignments, self.now, answers.append)
        return answers

    def heartbeat(self, joined: JoinAnswer) -> ErrorCode:
        return self.group.heartbeat(MemberRef(joined.member_id, joined.generation), self.now)

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.group.tick(self.now)

    def stable(self, members: int) -> list[JoinAnswer]:
        """Bring the group to its first stable generation."""
        waiting = [self.join() for _ in range(members)]
        self.wait(DELAY_S)
        joined = [answers[0] for answers in waiting]
        assignments = {answer.member_id: b"p%d" % i for i, answer in enumerate(joined)}
        for answer in joined:
            self.sync(answer, assignments if answer.member_id == answer.leader else {})
        assert self.group.state is GroupState.STABLE
        return joined


def test_the_first_rebalance_waits_for_more_members() -> None:
    fixture = Fixture()
    first, second = fixture.join(), fixture.join()
    assert first == second == []
    fixture.wait(DELAY_S)
    assert first[0].generation == second[0].generation == 1
    assert first[0].leader == first[0].member_id == second[0].leader
    assert len(first[0].members) == 2
    assert second[0].members == ()


def test_the_leader_hands_out_the_assignments() -> None:
    fixture = Fixture()
    waiting = [fixture.join(), fixture.join()]
    fixture.wait(DELAY_S)
    leader, follower = (answers[0] for answers in waiting)
    follower_sync = fixture.sync(follower, {})
    assert follower_sync == []
    assignments = {leader.member_id: b"0", follower.member_id: b"1"}
    assert fixture.sync(leader, assignments) == [SyncAnswer(ErrorCode.NONE, b"0")]
    assert follower_sync == [SyncAnswer(ErrorCode.NONE, b"1")]
    assert fixture.group.state is GroupState.STABLE


def test_an_id_is_given_out_before_the_first_join() -> None:
    fixture = Fixture()
    (told,) = fixture.join(wants_id_first=True)
    assert told.error is ErrorCode.MEMBER_ID_REQUIRED
    answers = fixture.join(told.member_id)
    fixture.wait(DELAY_S)
    assert answers[0].error is ErrorCode.NONE


def test_an_id_given_out_and_never_used_is_forgotten() -> None:
    fixture = Fixture()
    (told,) = fixture.join(wants_id_first=True)
    fixture.wait(SESSION_S)
    assert fixture.group.is_idle
    assert fixture.join(told.member_id)[0].error is ErrorCode.UNKNOWN_MEMBER_ID


def test_a_new_member_makes_the_others_rejoin() -> None:
    fixture = Fixture()
    (old,) = fixture.stable(1)
    joining = fixture.join()
    assert fixture.heartbeat(old) is ErrorCode.REBALANCE_IN_PROGRESS
    rejoined = fixture.join(old.member_id)
    assert rejoined[0].generation == joining[0].generation == 2
    assert len(rejoined[0].members) == 2


def test_a_silent_member_is_evicted_after_its_session() -> None:
    fixture = Fixture()
    first, second = fixture.stable(2)
    fixture.wait(SESSION_S / 2)
    assert fixture.heartbeat(first) is ErrorCode.NONE
    fixture.wait(SESSION_S / 2)
    assert list(fixture.group.members) == [first.member_id]
    assert fixture.heartbeat(first) is ErrorCode.REBALANCE_IN_PROGRESS
    assert fixture.heartbeat(second) is ErrorCode.UNKNOWN_MEMBER_ID
    assert fixture.join(first.member_id)[0].generation == 2


def test_a_waiting_join_outlives_the_session_but_not_the_rebalance() -> None:
    fixture = Fixture()
    old, silent = fixture.stable(2)
    joining = fixture.join()
    fixture.join(old.member_id)
    fixture.wait(SESSION_S / 2)
    fixture.heartbeat(silent)
    assert joining == []
    fixture.wait(SESSION_S)
    assert joining[0].generation == 2
    assert silent.member_id not in fixture.group.members


def test_a_member_that_never_rejoins_is_dropped_when_the_rebalance_times_out() -> None:
    fixture = Fixture()
    old, stubborn = fixture.stable(2)
    joining = fixture.join()
    fixture.join(old.member_id)
    for _ in range(int(REBALANCE_S)):
        fixture.wait(1.0)
        if joining:
            break
        fixture.heartbeat(stubborn)
    assert joining[0].generation == 2
    assert stubborn.member_id not in fixture.group.members


def test_a_leader_that_dies_before_it_syncs_is_replaced() -> None:
    fixture = Fixture()
    waiting = [fixture.join(), fixture.join()]
    fixture.wait(DELAY_S)
    leader, follower = (answers[0] for answers in waiting)
    follower_sync = fixture.sync(follower, {})
    fixture.wait(SESSION_S / 2)
    fixture.heartbeat(follower)
    fixture.wait(SESSION_S / 2)
    assert follower_sync == [SyncAnswer(ErrorCode.REBALANCE_IN_PROGRESS)]
    rejoined = fixture.join(follower.member_id)
    assert rejoined[0].leader == follower.member_id != leader.member_id


def test_leaving_rebalances_the_rest_and_empties_the_group_in_the_end() -> None:
    fixture = Fixture()
    first, second = fixture.stable(2)
    assert fixture.group.leave(MemberRef(first.member_id), fixture.now) is ErrorCode.NONE
    assert fixture.heartbeat(second) is ErrorCode.REBALANCE_IN_PROGRESS
    assert fixture.group.leave(MemberRef(second.member_id), fixture.now) is ErrorCode.NONE
    assert fixture.group.state is GroupState.EMPTY
    assert fixture.group.is_idle
    unknown = fixture.group.leave(MemberRef(second.member_id), fixture.now)
    assert unknown is ErrorCode.UNKNOWN_MEMBER_ID


def test_an_old_generation_may_neither_sync_nor_commit() -> None:
    fixture = Fixture()
    (joined,) = fixture.stable(1)
    stale = MemberRef(joined.member_id, joined.generation - 1)
    assert fixture.group.check_commit(stale, fixture.now) is ErrorCode.ILLEGAL_GENERATION
    answers: list[SyncAnswer] = []
    fixture.group.sync(stale, {}, fixture.now, answers.append)
    assert answers[0].error is ErrorCode.ILLEGAL_GENERATION


def test_commits_need_membership_once_there_are_members() -> None:
    fixture = Fixture()
    outsider = MemberRef("", -1)
    assert fixture.group.check_commit(outsider, fixture.now) is ErrorCode.NONE
    (joined,) = fixture.stable(1)
    assert fixture.group.check_commit(outsider, fixture.now) is ErrorCode.UNKNOWN_MEMBER_ID
    member = MemberRef(joined.member_id, joined.generation)
    assert fixture.group.check_commit(member, fixture.now) is ErrorCode.NONE


def test_a_commit_waits_until_the_new_generation_is_assigned() -> None:
    fixture = Fixture()
    waiting = fixture.join()
    fixture.wait(DELAY_S)
    ref = MemberRef(waiting[0].member_id, waiting[0].generation)
    assert fixture.group.check_commit(ref, fixture.now) is ErrorCode.REBALANCE_IN_PROGRESS


def test_members_agree_on_a_protocol_that_all_know() -> None:
    fixture = Fixture()
    first = fixture.join(protocols=("sticky", "range"))
    second = fixture.join(protocols=("range",))
    odd = fixture.join(protocols=("cooperative",))
    assert odd[0].error is ErrorCode.INCONSISTENT_GROUP_PROTOCOL
    fixture.wait(DELAY_S)
    assert first[0].protocol == second[0].protocol == "range"


def test_a_static_member_comes_back_without_a_rebalance() -> None:
    fixture = Fixture()
    waiting = [fixture.join(instance_id="one"), fixture.join(instance_id="two")]
    fixture.wait(DELAY_S)
    one, two = (answers[0] for answers in waiting)
    fixture.sync(one, {one.member_id: b"0", two.member_id: b"1"})
    (back,) = fixture.join(instance_id="two")
    assert (back.error, back.generation) == (ErrorCode.NONE, one.generation)
    assert fixture.sync(back, {}) == [SyncAnswer(ErrorCode.NONE, b"1")]
    fenced = MemberRef(two.member_id, two.generation, "two")
    assert fixture.group.heartbeat(fenced, fixture.now) is ErrorCode.FENCED_INSTANCE_ID


def test_a_static_leader_that_comes_back_is_not_told_to_assign() -> None:
    fixture = Fixture()
    (one,) = fixture.join(instance_id="one") or [None]
    fixture.wait(DELAY_S)
    assert one is None
    (joined,) = [member.member_id for member in fixture.group.members.values()]
    answer = JoinAnswer(ErrorCode.NONE, joined, fixture.group.generation)
    fixture.sync(answer, {joined: b"0"})
    (back,) = fixture.join(instance_id="one")
    assert back.leader == joined != back.member_id
    assert fixture.group.leader == back.member_id


def test_a_static_member_leaves_by_its_instance_id() -> None:
    fixture = Fixture()
    fixture.join(instance_id="one")
    fixture.wait(DELAY_S)
    assert fixture.group.leave(MemberRef("", instance_id="one"), fixture.now) is ErrorCode.NONE
    assert fixture.group.is_idle
