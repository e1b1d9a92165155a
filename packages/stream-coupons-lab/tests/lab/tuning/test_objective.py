"""The objective: nothing after the cut is known before it, and two settings are compared on the same issues."""

import math
from pathlib import Path

import msgspec
import numpy as np
import pytest

from lab.foreign_shop import HOUR_S, START_AT, WINDOW_S, write_log
from stream_coupons.core.errors import BadConfig
from stream_coupons.settings import LearningSettings, Settings, load
from stream_coupons_lab.datasets import foreign
from stream_coupons_lab.offline.quality import LabelledIssues
from stream_coupons_lab.offline.scored import Scored
from stream_coupons_lab.tuning.objective import (
    Objective,
    compare,
    loss_of,
    sample,
    settings_file,
    split_at,
)
from stream_coupons_lab.tuning.options import TunedHead

ISSUES = 120
CUT = START_AT + 80 * HOUR_S


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_log(tmp_path_factory.mktemp("log") / "log.jsonl", ISSUES)


def objective(log: Path, until: float = CUT) -> Objective:
    return Objective(log, WINDOW_S, until, TunedHead.REDEEM)


def rows(users: list[str], probabilities: list[float], labels: list[int]) -> LabelledIssues:
    issues = [
        Scored(
            issue_id=str(at), user_id=user, arm="c", coupon_id="c", occurred_at=at, propensity=None, p_click=p,
            p_redeem=p, p_order=p, model_version=0, clicked=bool(label), redeemed=bool(label), labelled_at=at + 10.0,
        )
        for at, (user, p, label) in enumerate(zip(users, probabilities, labels, strict=True))
    ]  # fmt: skip
    return sample(issues, TunedHead.REDEEM)


@pytest.mark.long
def test_nothing_from_the_cut_on_is_looked_at(log: Path, tmp_path: Path) -> None:
    lines = [line for line in log.read_bytes().splitlines(True) if msgspec.json.decode(line)["occurred_at"] < CUT]
    assert len(lines) < len(log.read_bytes().splitlines())
    short = tmp_path / "short.jsonl"
    short.write_bytes(b"".join(lines))
    assert objective(log)(Settings()) == objective(short, until=math.inf)(Settings())


@pytest.mark.long
def test_the_search_sees_what_is_known_before_the_cut_of_the_same_predictions(log: Path) -> None:
    predictions = objective(log).predictions(Settings())
    known = predictions.known_before(CUT)
    # A window of a day is open when the cut comes, unless its shopper purchased: that closes none.
    assert len(known) == 80 - 24
    assert objective(log)(Settings()) == pytest.approx(loss_of(known), abs=1e-12)
    later = predictions.issued_since(CUT)
    ends_at = max(record.occurred_at for record in foreign.read(log).records())
    assert [issue.occurred_at for issue in later.issues] == [
        at for at in np.arange(CUT, ends_at, HOUR_S).tolist() if at + WINDOW_S <= ends_at
    ]


def test_the_cut_leaves_the_share_that_is_asked_for(log: Path) -> None:
    assert split_at(foreign.read(log), 0.25) == START_AT + 90 * HOUR_S


def test_issues_at_one_time_cannot_be_cut(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    issue = {"type": "issue", "user_id": "u", "occurred_at": 1.0, "coupon": {"coupon_id": "c", "discount_percent": 1}}
    path.write_bytes(b"".join(msgspec.json.encode(issue | {"issue_id": str(n)}) + b"\n" for n in range(9)))
    with pytest.raises(BadConfig, match="9 issues of a coupon: too few, or too many at one time"):
        split_at(foreign.read(path), 0.3)


def test_a_gain_is_positive_where_the_second_is_better() -> None:
    users = [f"u{number // 2}" for number in range(20)]
    worse = rows(users, [0.5, 0.4, 0.6, 0.7] * 5, [1, 0, 1, 0] * 5)
    better = rows(users, [0.9, 0.1, 0.8, 0.2] * 5, [1, 0, 1, 0] * 5)
    comparison = compare(worse, better)
    assert (comparison.issues, comparison.positives) == (20, 10)
    assert comparison.first == loss_of(worse)
    assert comparison.second == loss_of(better)
    assert 0 < comparison.gain.low <= comparison.gain.value <= comparison.gain.high
    assert compare(better, worse).gain.value == -comparison.gain.value
    assert compare(better, better).gain.high == 0


def test_the_interval_draws_shoppers_and_not_issues() -> None:
    """Twenty issues of one shopper say no more than one."""
    draw = np.random.default_rng(1)
    users, labels = [f"u{n}" for n in range(20)], draw.integers(0, 2, 20).tolist()
    probabilities = [draw.uniform(low, 1 - low, 20).tolist() for low in (0.05, 0.1)]
    alone = [rows(users, each, labels) for each in probabilities]
    repeated = [rows(users * 20, each * 20, labels * 20) for each in probabilities]
    once, often = compare(*alone).gain, compare(*repeated).gain
    assert often.low == pytest.approx(once.low)
    assert often.high == pytest.approx(once.high)


def test_one_kind_of_outcome_is_nothing_to_compare_by() -> None:
    with pytest.raises(BadConfig, match="here: 2 of 2 known outcomes are positive, expected some but not all"):
        rows(["a", "b"], [0.1, 0.2], [1, 1]).require_both("here")
    rows(["a", "b"], [0.1, 0.2], [1, 0]).require_both("here")


@pytest.mark.long
def test_a_model_that_learns_is_better_than_one_that_does_not(tmp_path: Path) -> None:
    log, slow = write_log(tmp_path / "log.jsonl", 2 * ISSUES), Settings(learning=LearningSettings(prior_variance=1e-6))
    whole = objective(log, until=math.inf)
    assert whole(Settings()) < whole(slow) - 0.05


@pytest.mark.parametrize("transfer", [{}, {"travel": "retail"}, {"travel.air": "travel", "travel": "retail"}])
def test_what_it_was_found_under_is_read_back_with_what_was_found(tmp_path: Path, transfer: dict[str, str]) -> None:
    base = Settings(learning=LearningSettings(transfer=transfer), secret_file="secret.key")
    file = tmp_path / "found.toml"
    file.write_text(settings_file({"learning.prior_variance": 0.5}, base))
    assert load(file, {}) == Settings(
        learning=LearningSettings(transfer=transfer, prior_variance=0.5), secret_file="secret.key"
    )
