"""Models and policies from another package in the whole system: in one process, on a log, and in workers."""

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from loopback_kafka import BrokerProcess
from stream_coupons import secret
from stream_coupons.core.messages.decisions import CouponIssue, LoggedDecision
from stream_coupons.core.messages.inputs import FeedbackEvent, ObservedIssue
from stream_coupons.core.messages.learning import ModelSnapshot, TrainingExample
from stream_coupons.core.rules import PolicyRules
from stream_coupons.kafka import topics
from stream_coupons.models.rules import LearningRules
from stream_coupons.models.serving import compile_snapshot
from stream_coupons.settings import LearningSettings, Settings
from stream_coupons.testing import LocalPipeline
from stream_coupons_lab.demo.system import LocalSystem
from stream_coupons_lab.simulation.shoppers import World, WorldSettings
from tests.cli.conftest import Run, run  # noqa: F401 - run is a fixture
from tests.integration.builders import (
    AT,
    DAY_S,
    IDLE_WITHIN_S,
    browse,
    coupon,
    messages,
    send_ticks,
    wait_for_version,
    wait_until,
)
from tests.integration.builders import settings as plain_settings

from .packages import MODELS, POLICIES, RIVER, install

SOFTMAX = "shop_policies:gentle"
BOTH = f"""[learning]
models = ["{RIVER}"]
[policy]
strategy = "{SOFTMAX}"
"""


@pytest.fixture(autouse=True)
def _installed(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, MODELS)
    install(monkeypatch, POLICIES)


def simulate(settings: Settings, hours: int = 80) -> LocalPipeline:
    """Days of a simulated shop, and all that the engine sent."""
    world = World(WorldSettings(seed=5, shoppers=25, days=7, coupons=12))
    pipeline, answered = LocalPipeline(settings, world.catalogue()), 0
    for _ in range(hours):
        for _, message in world.advance(world.now + 3600.0):
            pipeline.publish(message)
        pipeline.tick(world.now)
        issues = pipeline.issues
        for issue in issues[answered:]:
            world.receive(issue)
        answered = len(issues)
    return pipeline


@pytest.mark.long
def test_a_river_pipeline_and_a_policy_run_a_shop_and_run_it_again_alike() -> None:
    settings = Settings(
        learning=LearningSettings(models=[RIVER]), policy=PolicyRules(strategy=SOFTMAX, min_value_minor=0.0)
    )
    shop = simulate(settings)
    issues, decisions = shop.issues, shop.messages(LoggedDecision)
    assert shop.dead_letters == []
    assert shop.messages(TrainingExample)
    assert issues[-1].model_version > 0
    assert issues[-1].reasons
    assert all(0.0 < issue.p_redeem < 0.5 for issue in issues), "an untrained classifier says 0.5"
    assert all(len(one.shares) == len(one.arms) + 1 for one in decisions)
    again = simulate(settings)
    assert (again.issues, again.messages(LoggedDecision)) == (issues, decisions)


@pytest.mark.kafka
@pytest.mark.long
def test_workers_learn_and_serve_a_river_pipeline_and_explain_its_coupons(
    run_broker: Callable[[], AbstractContextManager[BrokerProcess]],
    run: Run,  # noqa: F811
    tmp_path: Path,
) -> None:
    key_file = tmp_path / "secret.key"
    secret.make(key_file)
    plain = plain_settings(learning=LearningSettings(models=[RIVER], publish_every_s=0.5), strategy=SOFTMAX)
    settings = msgspec.structs.replace(plain, secret_file=str(key_file))
    with run_broker() as broker:
        system = LocalSystem(broker, settings, tmp_path, workers=1)
        system.prepare([coupon("c1")])
        with system:
            _learn_and_serve(system, run, key_file)


def _learn_and_serve(system: LocalSystem, run: Run, key_file: Path) -> None:  # noqa: F811
    rules, key = LearningRules(models=[RIVER]), secret.read(key_file)
    system.wait_ready()
    teach(system, AT)
    wait_until(lambda: bool(messages(system, topics.SNAPSHOTS)), "a snapshot")
    system.wait_idle(IDLE_WITHIN_S)
    first: ModelSnapshot = messages(system, topics.SNAPSHOTS)[-1]
    assert {state.champion for state in first.heads.values()} == {RIVER}
    assert compile_snapshot(first, rules, key).version == first.version

    system.kill(0)
    system.restart(0)
    system.wait_ready()
    teach(system, AT + 2 * DAY_S)
    wait_until(lambda: messages(system, topics.SNAPSHOTS)[-1].examples == 2 * first.examples, "all examples")
    wait_for_version(system, messages(system, topics.SNAPSHOTS)[-1].version)
    with system.publisher() as publisher:
        for number in range(20):
            publisher.send(topics.BROWSE, browse(f"buyer{number}", at=AT + 4 * DAY_S))
        publisher.flush()
        system.wait_idle(IDLE_WITHIN_S)
    issues: list[CouponIssue] = messages(system, topics.ISSUES)
    assert 0 < len(issues) <= 20
    assert min(issue.model_version for issue in issues) > first.version
    config = key_file.with_name("explain.toml")
    config.write_text(f'secret_file = "{key_file}"\n{BOTH}', encoding="utf-8")
    result = run("explain", issues[0].issue_id, "-b", system.bootstrap, "-c", config, "--json")
    assert result.exit_code == 0, result.stderr
    explained = json.loads(result.stdout)
    assert [one["feature"] for one in explained["reasons"]] == [reason.feature for reason in issues[0].reasons]


def teach(system: LocalSystem, at: float) -> None:
    """Ten coupons of another system, half of them clicked; then their windows close."""
    with system.publisher() as publisher:
        for number in range(10):
            about: dict[str, Any] = {"user_id": f"u{number}", "issue_id": f"{number}-{at}"}
            observed = ObservedIssue(
                event_id=f"o{number}-{at}", coupon_id="c1", occurred_at=at, expires_at=at + 10, **about
            )
            publisher.send(topics.OBSERVED, observed)
            if number % 2:
                click = FeedbackEvent(event_id=f"f{number}-{at}", occurred_at=at + 1, kind="click", **about)
                publisher.send(topics.FEEDBACK, click)
        publisher.flush()
        system.wait_idle(IDLE_WITHIN_S)
        send_ticks(system, publisher, at + 0.5 * DAY_S)


@pytest.mark.process
def test_a_worker_says_what_is_wrong_with_a_model_before_it_joins(run: Run, tmp_path: Path) -> None:  # noqa: F811
    key_file, config = tmp_path / "secret.key", tmp_path / "settings.toml"
    secret.make(key_file)
    config.write_text(f'secret_file = "{key_file}"\n[learning]\nmodels = ["shop_models:Labels"]\n')
    result = run("worker", "-c", config)
    assert result.exit_code != 0
    assert "learning.models: 'shop_models:Labels' is a Labels: expected a river.base.Classifier" in result.stderr
