"""A world is played message by message: what is given is valued before its shopper receives it, and runs are kept."""

import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from benchmarks.worlds import __main__ as command
from benchmarks.worlds import compared, registry, runs
from benchmarks.worlds.chart import chart
from benchmarks.worlds.compared import compare, coupons_of
from benchmarks.worlds.play import Given, Held, Outcome, play
from benchmarks.worlds.policies import NEVER, AtRandom, NoRepeats
from benchmarks.worlds.runs import ENGINE, Shop, WorldRun, WorldTask, key_of, tasks_of
from stream_coupons.core.catalogue.compiled import CouponSet
from stream_coupons.core.features.rows import FeatureRows, Subject
from stream_coupons.core.rules import PolicyRules
from stream_coupons.settings import Settings
from stream_coupons.testing import START, coupon, feedback, issue
from tests.benchmarks.worlds.toy import Toy

SHOP = Shop(world="toy", shoppers=12, days=3.0)


@pytest.fixture(autouse=True)
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every name that of the toy."""
    for module in (runs, compared):
        monkeypatch.setattr(module, "world_class", lambda _: Toy)
    monkeypatch.setattr(command, "names_of", lambda names: names)


def played(policy: str, shop: Shop = SHOP, **average_minor: float) -> WorldRun:
    return WorldTask(policy, 1, shop, Settings(), "", "", average_minor).play()


def test_true_value_earns_more_than_chance_and_gives_what_is_worth_something() -> None:
    truth, at_random = played("true_value"), played("random")
    assert truth.outcome.margin_minor > 0 > at_random.outcome.margin_minor
    assert truth.margin_without_minor == pytest.approx(12 * 3 * 0.2 * 2000 * 0.4)
    assert max(truth.average_minor, key=truth.average_minor.__getitem__).endswith("-10")
    assert {name.split("-")[1] for name in truth.outcome.by_coupon} == {"10"}
    assert truth.outcome.sixths[0].predicted_minor == pytest.approx(truth.outcome.sixths[0].true_minor, abs=1.0)


def test_sums_agree_with_the_issues_and_a_run_survives_its_file() -> None:
    outcome = played(ENGINE).outcome
    halves = [half for each in outcome.by_coupon.values() for half in each]
    assert outcome.issues == outcome.decisions["given"] == sum(half.issues for half in halves) > 0
    assert outcome.margin_minor == pytest.approx(sum(half.true_minor for half in halves))
    assert outcome.whole_shop.issues == 0
    assert msgspec.json.decode(msgspec.json.encode(outcome), type=Outcome) == outcome


def test_the_same_seed_plays_the_same_run() -> None:
    assert played("pooled").outcome == played("pooled").outcome


def test_a_coupon_is_valued_before_its_shopper_receives_it() -> None:
    valued: list[str] = []

    class Watched(Toy):
        def true_values(self, user_id: str, at: float) -> Any:
            held = [each for each in self._held[user_id] if each.issued_at == at]
            assert not held, "the shopper has it already"
            valued.append(user_id)
            return super().true_values(user_id, at)

    outcome = play(Watched(1), Settings(policy=PolicyRules(min_value_minor=28.0, control_ratio=0.0)))
    assert outcome.issues + outcome.decisions["not_worth_it"] == len(valued) > outcome.issues > 0


def test_a_message_that_the_system_refuses_ends_the_run() -> None:
    class Broken(Toy):
        def events(self) -> Any:
            yield feedback(issue("u1", coupon("0-5")), "purchase", at=START - 9e9)

    with pytest.raises(RuntimeError, match="refused"):
        play(Broken(1), Settings())


def test_held_coupons_are_those_that_are_neither_used_nor_expired() -> None:
    held, one = Held(), issue("ann", coupon("a"), at=START, expires_at=START + 10)
    held.give(one)
    assert held.holds("ann", "a", START + 9)
    assert not held.holds("ann", "a", START + 10)
    assert not held.holds("ann", "b", START)
    assert not held.holds("bob", "a", START)
    held.use(one.issue_id)
    assert not held.holds("ann", "a", START)


def test_a_policy_without_repeats_never_values_what_the_shopper_holds() -> None:
    coupons = CouponSet([coupon("a"), coupon("b")], 1000.0)
    policy = NoRepeats(AtRandom(1))
    policy.hear(issue("ann", coupon("b"), at=START, expires_at=START + 10))
    both = coupons.position["a"], coupons.position["b"]
    subjects = tuple(Subject(user, coupons, np.array(both, np.intp), START + 1) for user in ("ann", "bob"))
    values = policy.values(FeatureRows(np.zeros((4, 0)), np.zeros((4, 0), np.uint32), subjects))
    assert (values == NEVER).tolist() == [False, True, False, False]


def run_of(policy: str, world: str, seed: int, *thirds: float, **shop: Any) -> Any:
    given = [Given(5, 150.0, 50.0 * third) for third in thirds for _ in range(2)]
    outcome = Outcome(
        sixths=given,
        by_coupon={},
        whole_shop=Given(),
        repeats=Given(3),
        explored=Given(),
        withheld=Given(),
        refused=Given(2, 0.0, 30.0),
        orders=[],
        decisions={"given": 30, "not_worth_it": 10, "cooldown": 99},
        redemptions=0,
        discount_minor=0,
        events=1,
    )
    about: dict[str, Any] = {"configuration": Shop(world=world, **shop), "key": "", "commit": "", "cpu_s": 1.0}
    without = 500_000.0 if policy == "true_value" else None
    return WorldRun(policy=policy, seed=seed, outcome=outcome, margin_without_minor=without, **about)


def test_shares_are_ratios_of_sums_on_what_all_have_played() -> None:
    all_runs = [
        run_of("engine", "x", 1, 1.0, 2.0, 3.0),
        run_of("true_value", "x", 1, 10.0, 10.0, 10.0),
        run_of("engine", "y", 1, 0.0, 0.0, -2.0),
        run_of("true_value", "y", 1, 3.0, 3.0, 4.0),
        run_of("true_value", "y", 2, 1e6, 1e6, 1e6),
    ]
    x, y, over_all = compare(all_runs)
    assert (x.name, y.name, over_all.name, over_all.runs) == ("x", "y", "all worlds", 2)
    assert [group.policies["engine"].margin for group in (x, y, over_all)] == [6.0, -2.0, 4.0]
    shares = [group.policies["engine"].share for group in (x, y, over_all)]
    assert [each and each.mean for each in shares] == [0.2, -0.2, 0.1]
    assert x.policies["engine"].thirds == [0.1, 0.2, 0.3]
    assert x.policies["engine"].none_share == 0.25
    assert x.policies["engine"].repeats == 0.1
    assert x.policies["engine"].refused_minor == 15.0
    late = x.policies["engine"].second_half
    assert late is not None
    assert late.mean == round(4 / 15, 4)
    assert over_all.leads["true_value"].margin.mean == -18.0
    assert (over_all.leads["true_value"].ahead, over_all.leads["true_value"].of) == (0, 2)
    assert x.margin_without == 5000.0
    assert chart([x, y, over_all]).count("<circle") == 1 + 3


def test_true_value_of_a_large_world_is_that_of_a_smaller_one_per_shopper() -> None:
    runs_of_both = [
        run_of("engine", "x", 1, 1.0, 1.0, 1.0, shoppers=6000),
        run_of("true_value", "x", 1, 1.0, 1.0, 1.0, shoppers=2000),
    ]
    (group,) = compare(runs_of_both)
    share = group.policies["engine"].share
    assert (group.shoppers, group.margin_without, share and share.mean) == (6000, 15000.0, round(1 / 3, 4))
    tasks = tasks_of([Shop(world="x", shoppers=n) for n in (500, 6000, 9000)], [1], ["true_value"], Settings(), "")
    assert [task.configuration.shoppers for task in tasks] == [500, 2000]


def test_values_by_coupon_are_compared_where_there_are_enough_issues() -> None:
    def given(issues: int, predicted: float, *true: float) -> Given:
        found = Given()
        for n in range(issues):
            found.add(predicted, true[n % len(true)])
        return found

    # Predicted 10, 20, 30; true twice that less 10. One is wrong in sign beyond doubt, and one coupon has few issues.
    late = {"a": given(600, 10.0, 9.0, 11.0), "b": given(600, 20.0, 30.0), "c": given(600, 30.0, 50.0)}
    run = {name: [Given(), each] for name, each in late.items()}
    run |= {"d": [Given(), given(9, 5.0, 99.0)], "e": [given(600, 4.0, -9.0, -7.0), Given()]}
    found = coupons_of([run])
    assert (found.slope, found.rank_correlation) == (2.0, 1.0)
    assert (found.many, found.wrong, found.very_wrong) == (4, 1, 1)
    assert found.lost == found.below_zero == 0.0
    assert coupons_of([{}]).slope is coupons_of([{}]).level is None
    losing = coupons_of([{"a": [Given(), Given(issues=1.0, predicted_minor=3.0, true_minor=-2.0, valued=1)]}])
    assert losing.level is losing.lost is losing.below_zero is None


def test_a_sample_of_issues_stands_for_all() -> None:
    whole, sample = (play(Toy(1, 300, 4.0), Settings(), valued_ratio=ratio) for ratio in (1.0, 0.3))
    assert sum(each.valued for each in sample.sixths) < 0.5 * whole.issues
    assert sample.issues == pytest.approx(whole.issues, rel=0.3)
    assert sample.decisions == whole.decisions


@pytest.mark.long
def test_what_the_engine_learns_by_changes_its_own_runs_alone() -> None:
    base = Settings()
    changed = msgspec.structs.replace(base, policy=msgspec.structs.replace(base.policy, exploration_ratio=0.3))
    assert key_of(ENGINE, "x", base) != key_of(ENGINE, "x", changed)
    assert key_of("random", "x", base) == key_of("random", "x", changed)


@pytest.mark.process
def test_the_command_keeps_runs_and_writes_a_chart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--worlds", "toy", "--seeds", "1", "--shoppers", "8", "--days", "2", "--jobs", "1"]
    arguments += ["--policies", "random", "ranking_learnt", "ranking_true", "--runs", str(tmp_path / "runs.jsonl")]
    assert command.main([*arguments, "--json", "--chart", str(tmp_path / "chart.svg")]) == 0
    (group,) = json.loads(capsys.readouterr().out)
    assert list(group["policies"]) == ["random", "ranking_learnt", "ranking_true", "true_value"]
    assert (tmp_path / "chart.svg").read_text().startswith("<svg")
    kept = (tmp_path / "runs.jsonl").read_bytes()
    assert command.main(arguments) == 0
    assert "of true value" in capsys.readouterr().out
    assert (tmp_path / "runs.jsonl").read_bytes() == kept


def test_every_module_of_a_world_has_one_and_the_final_half_is_as_it_was() -> None:
    assert set(registry.DEVELOPMENT).isdisjoint(registry.FINAL)
    assert {*registry.DEVELOPMENT, *registry.FINAL} <= set(registry.all_names())
    if registry.FINAL:
        assert registry.CHECKSUMS.read_text() == registry.checksums(), "run python -m benchmarks.worlds.registry"
    with pytest.raises(ValueError, match="no world nowhere"):
        registry.names_of(["nowhere"])


def test_a_half_is_its_worlds_each_once_and_every_world_is_in_one_half() -> None:
    development, final = registry.HALVES["development"], registry.HALVES["final"]
    assert registry.names_of(["development", development[0]]) == [*development]
    assert sorted(registry.all_names()) == sorted([*development, *final])
    with pytest.raises(ValueError, match="no world nowhere"):
        registry.names_of(["nowhere"])
