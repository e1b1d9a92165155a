"""Metrics of scored issues: those of the right head, on labels in the order in which they came."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from sklearn.metrics import average_precision_score, brier_score_loss, f1_score, roc_auc_score

from stream_coupons.core.messages.catalogue import Coupon
from stream_coupons.models.metrics import BinaryMetrics, Interval
from stream_coupons_lab.offline.metrics import log_loss
from stream_coupons_lab.offline.quality import LabelledIssues, judged, quality, rate_interval, slice_of, working_point
from stream_coupons_lab.offline.scored import Scored
from stream_coupons_lab.offline.segments import by_coupon, by_segment


def scored(
    n: int = 0,
    p: float = 0.2,
    clicked: bool | None = False,
    redeemed: bool | None = False,
    coupon_id: str = "c1",
    **about: object,
) -> Scored:
    plain = {
        "issue_id": f"i{n}", "user_id": f"u{n % 7}", "arm": coupon_id, "occurred_at": float(n), "propensity": None,
        "p_click": p, "p_redeem": p / 2, "p_order": p / 4, "model_version": 1, "labelled_at": n + 10.0,
    }  # fmt: skip
    labels = {"clicked": clicked, "redeemed": redeemed, "coupon_id": coupon_id}
    return Scored(**{**plain, **labels, **about})  # type: ignore[arg-type]


def drawn(size: int = 400, seed: int = 0) -> list[Scored]:
    rng = np.random.default_rng(seed)
    chances = rng.uniform(0.02, 0.6, size)
    return [scored(n, float(p), clicked=bool(rng.random() < p)) for n, p in enumerate(chances)]


def of_head(issues: list[Scored], head: str) -> LabelledIssues:
    return next(series for series in judged(issues) if series.head == head)


def test_each_head_is_judged_on_the_issues_it_is_about() -> None:
    issues = [
        scored(0, clicked=True, redeemed=True),
        scored(1, clicked=False, redeemed=True),
        scored(2, coupon_id="none", redeemed=True),
        scored(3, clicked=None, redeemed=None, labelled_at=None),
    ]
    found = {
        series.head: ([issue.issue_id for issue in series.issues], series.labels.tolist()) for series in judged(issues)
    }
    assert found == {
        "click": (["i0", "i1"], [True, False]),
        "redeem": (["i0", "i1"], [True, True]),
        "order": (["i2"], [True]),
    }
    assert [series.probabilities.tolist() for series in judged(issues)] == [[0.2, 0.2], [0.1, 0.1], [0.05]]


def test_labels_are_in_the_order_in_which_they_came() -> None:
    series = of_head([scored(0, labelled_at=9.0), scored(1, labelled_at=5.0), scored(2, labelled_at=9.0)], "redeem")
    assert [issue.issue_id for issue in series.issues] == ["i1", "i0", "i2"]


def test_the_base_rate_is_the_best_constant_of_these_labels() -> None:
    series = of_head(drawn(), "click")
    said, labels = quality(series).base_log_loss, series.labels
    losses = [log_loss(np.full(len(labels), constant), labels) for constant in np.linspace(0.001, 0.999, 999)]
    assert said == pytest.approx(min(losses), abs=1e-5)
    assert said <= min(losses) + 1e-12


def test_a_few_issues_that_rank_the_same_however_they_are_drawn_give_no_interval() -> None:
    found = quality(of_head([scored(0, clicked=True, p_click=0.9), scored(1, clicked=False, p_click=0.1)], "click"))
    assert found.roc_auc.value == 1.0
    assert math.isnan(found.roc_auc.low)
    assert math.isnan(found.roc_auc.high)


def test_the_metrics_are_those_of_the_library_and_of_the_learner() -> None:
    series = of_head(drawn(), "click")
    found = quality(series)
    online = BinaryMetrics()
    for probability, label in zip(series.probabilities, series.labels, strict=True):
        online.update(float(probability), bool(label))
    assert found.examples == 400
    assert found.positives == int(series.labels.sum())
    assert found.roc_auc.value == pytest.approx(roc_auc_score(series.labels, series.probabilities))
    assert found.average_precision == pytest.approx(average_precision_score(series.labels, series.probabilities))
    assert found.log_loss.value == pytest.approx(online.log_loss)
    assert found.brier == pytest.approx(brier_score_loss(series.labels, series.probabilities))
    assert found.calibration_ratio.value == pytest.approx(series.probabilities.mean() / series.labels.mean())
    for interval in (found.log_loss, found.roc_auc, found.calibration_ratio):
        assert interval.low < interval.value < interval.high


def test_what_is_undefined_is_nan_and_no_error() -> None:
    nothing = quality(of_head([], "click"))
    assert (nothing.examples, nothing.positives) == (0, 0)
    assert math.isnan(nothing.log_loss.value)
    silent = quality(of_head([scored(n) for n in range(5)], "click"))
    assert math.isnan(silent.roc_auc.value)
    assert math.isnan(silent.average_precision)
    assert silent.log_loss.value == pytest.approx(-math.log(0.8))


# ------------------------------------------------------------ the conclusion


CALIBRATED = Interval(1.0, 0.9, 1.1)


def concluded(gain: Interval, ratio: Interval = CALIBRATED, positives: int = 100) -> str:
    found = quality(of_head(drawn(), "click"))
    return replace(found, over_base=gain, calibration_ratio=ratio, positives=positives).conclusion()


@pytest.mark.parametrize(
    ("gain", "verdict"),
    [
        (
            Interval(0.02, 0.01, 0.03),
            "better than the base rate by 0.02 (0.01 to 0.03) in log loss: significant at 95 %.",
        ),
        (
            Interval(-0.02, -0.03, -0.01),
            "worse than the base rate by 0.02 (0.01 to 0.03) in log loss: significant at 95 %.",
        ),
        (
            Interval(0.02, -0.01, 0.03),
            "not distinguishable from the base rate at 95 %: its log loss is 0.02 (−0.01 to 0.03)",
        ),
        (
            Interval(-0.02, -0.03, 0.01),
            "not distinguishable from the base rate at 95 %: its log loss is −0.02 (−0.03 to 0.01)",
        ),
    ],
)
def test_a_conclusion_is_on_the_gain_over_the_other_prediction(gain: Interval, verdict: str) -> None:
    assert concluded(gain).startswith(f"P(click) is {verdict}")


@pytest.mark.parametrize(
    ("ratio", "level"),
    [
        (Interval(1.2, 1.1, 1.3), "1.2 (1.1 to 1.3) times what was observed: too much."),
        (Interval(0.8, 0.7, 0.9), "0.8 (0.7 to 0.9) times what was observed: too little."),
        (Interval(1.2, 0.9, 1.3), "1.2 (0.9 to 1.3) times what was observed: calibrated within chance."),
    ],
)
def test_a_conclusion_states_the_calibration(ratio: Interval, level: str) -> None:
    assert concluded(Interval(0.02, 0.01, 0.03), ratio).endswith(f"It predicts {level}")


def test_nothing_is_concluded_from_few_labels_of_one_kind() -> None:
    for positives in (9, 391):
        text = concluded(Interval(0.02, 0.01, 0.03), positives=positives)
        assert text.startswith(
            f"No conclusion on P(click): {positives} of 400 labels are positive, expected at least 10"
        )
    assert quality(of_head([], "click")).conclusion().startswith("No conclusion on P(click): 0 of 0 labels")


# ------------------------------------------------------------ the working threshold


def test_nothing_is_called_positive_by_a_threshold_that_no_label_has_set() -> None:
    issues = [scored(n, p, clicked=True, labelled_at=1000.0) for n, p in enumerate((0.3, 0.6))]
    found = working_point(of_head(issues, "click"))
    assert (found.precision, found.recall, found.f1) == (1.0, 0.5, pytest.approx(2 / 3))
    assert found.threshold == pytest.approx(0.5, abs=0.01)


def test_the_threshold_is_the_best_of_the_labels_known_before() -> None:
    """Positives lie above 0.3, at a base rate at which 0.5 calls nothing positive."""
    first = [scored(n, p, clicked=p > 0.3) for n, p in enumerate(np.linspace(0.01, 0.4, 60).tolist())]
    later = [scored(1000 + n, p, clicked=p > 0.3) for n, p in enumerate((0.05, 0.2, 0.29, 0.31, 0.35))]
    found = working_point(of_head(first + later, "click"))
    alone = working_point(of_head(first, "click"))
    called = found.recall * (sum(p.clicked is True for p in first) + 2) - alone.recall * sum(
        p.clicked is True for p in first
    )
    assert called == pytest.approx(2)
    assert 0.28 < found.threshold <= 0.31


def test_a_label_does_not_choose_the_threshold_of_what_was_issued_before_it_came() -> None:
    issues = [scored(n, 0.3, clicked=True, labelled_at=100.0) for n in range(50)]
    assert working_point(of_head(issues, "click")).recall == 0.0
    prompt = [scored(n, 0.3, clicked=True, labelled_at=n + 0.5) for n in range(50)]
    assert working_point(of_head(prompt, "click")).recall == pytest.approx(49 / 50)


def test_the_last_threshold_has_the_greatest_f1_of_all() -> None:
    series = of_head([*drawn(800), scored(5000, 0.5, clicked=False, labelled_at=1e6)], "click")
    chosen = f1_score(series.labels, series.probabilities >= working_point(series).threshold)
    others = [f1_score(series.labels, series.probabilities >= p) for p in np.linspace(0.02, 0.6, 59)]
    assert chosen >= max(others) - 0.01


# ------------------------------------------------------------ slices


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_an_interval_of_a_rate_holds_it_and_stays_a_rate(drawn: tuple[int, int]) -> None:
    positives, examples = drawn
    interval = rate_interval(positives, examples)
    assert 0 <= interval.low <= interval.value <= interval.high <= 1
    wider = rate_interval(positives, examples, confidence=0.99)
    assert wider.low <= interval.low + 1e-12
    assert wider.high >= interval.high - 1e-12


def test_an_interval_of_a_rate_is_as_published() -> None:
    interval = rate_interval(1, 10)  # Newcombe (1998), Stat. Med. 17, uses the same formula
    assert (interval.low, interval.high) == (pytest.approx(0.0179, abs=1e-4), pytest.approx(0.4042, abs=1e-4))
    assert math.isnan(rate_interval(0, 0).value)


def test_slices_by_coupon_are_a_partition_the_most_issued_first() -> None:
    issues = [scored(n, coupon_id=f"c{n % 3 if n < 8 else 0}", clicked=n % 2 == 0) for n in range(20)]
    found = by_coupon(of_head(issues, "click"))
    assert [each.value for each in found] == ["c0", "c1", "c2"]
    assert sum(each.examples for each in found) == 20
    assert sum(each.positives for each in found) == 10
    assert {each.head for each in found} == {"click"}


def values(issues: list[Scored], by: str, *coupons: Coupon) -> dict[str, int]:
    catalogue = {coupon.coupon_id: coupon for coupon in coupons}
    slices = by_segment(of_head(issues, "redeem"), catalogue)
    return {each.value: each.examples for each in slices if each.by == by}


def test_segments_are_made_by_keys_with_a_few_values_and_missing_is_one() -> None:
    contexts = [{"weather": "rain", "app": True}, {"weather": "sun", "app": False}, {"app": True, "week": 3.0}]
    issues = [scored(n, context=contexts[n % 3]) for n in range(30)]
    assert values(issues, "weather") == {"(missing)": 10, "rain": 10, "sun": 10}
    assert values(issues, "app") == {"true": 20, "false": 10}
    assert values(issues, "week") == {"(missing)": 20, "3": 10}


def test_numbers_come_in_their_order_and_what_is_missing_last() -> None:
    visits = [{"visits": 10.0}, {"visits": 2.0}, {"visits": 2.0}, {"visits": 0.0}, {}, {}, {}]
    issues = [scored(n, context=visits[n % len(visits)]) for n in range(28)]
    assert list(values(issues, "visits")) == ["0", "2", "10", "(missing)"]


def test_numbers_of_many_values_are_cut_into_quarters_and_other_keys_left_out() -> None:
    issues = [scored(n, context={"temperature": float(n), "session": f"s{n}", "shop": "one"}) for n in range(40)]
    found = values(issues, "temperature")
    assert list(found) == ["up to 9.75", "9.75 to 19.5", "19.5 to 29.25", "above 29.25"]
    assert set(found.values()) == {10}
    assert values(issues, "session") == values(issues, "shop") == {}


def test_numbers_that_are_mostly_one_still_make_segments() -> None:
    issues = [scored(n, context={"seen": 0.0 if n < 50 else float(n)}) for n in range(64)]
    found = values(issues, "seen")
    assert sum(found.values()) == 64
    assert len(found) >= 2


def test_coupons_make_segments_by_kind_and_attributes_and_arms_where_they_have_names() -> None:
    coupons = [
        Coupon(coupon_id="c0", max_discount_minor=1, kind="percent", attributes={"colour": "red"}),
        Coupon(coupon_id="c1", max_discount_minor=1, attributes={"colour": "blue"}),
    ]
    issues = [scored(n, coupon_id=f"c{n % 2}", arm="AB"[n % 2]) for n in range(10)]
    assert values(issues, "coupon colour", *coupons) == {"blue": 5, "red": 5}
    assert values(issues, "coupon kind", *coupons) == {"(missing)": 5, "percent": 5}
    assert values(issues, "arm", *coupons) == {"A": 5, "B": 5}
    assert values([scored(0), scored(1, coupon_id="c2")], "arm", *coupons) == {}


def test_a_slice_has_the_metrics_of_its_issues() -> None:
    series = of_head(drawn(), "click")
    found = slice_of(series, "coupon", "c1")
    assert found.predicted == pytest.approx(series.probabilities.mean())
    assert found.observed.value == pytest.approx(series.labels.mean())
    assert found.log_loss == log_loss(series.probabilities, series.labels)
    assert found.roc_auc == roc_auc_score(series.labels, series.probabilities)


def test_rows_of_a_series_keep_their_order() -> None:
    series = of_head(drawn(20), "click").at([7, 3])
    assert [issue.issue_id for issue in series.issues] == ["i7", "i3"]
    assert all(one is not other for one, other in pairwise(series.issues))
