"""The model that is fitted every night learns from the labels of its days and no others."""

from benchmarks.retrained import RetrainedDaily
from stream_coupons.core.decision.scoring import HEADS
from stream_coupons.models.linear import prior
from stream_coupons_lab.offline.metrics import roc_auc
from tests.models.builders import example, random_rows


def test_the_model_of_the_night_knows_the_labels_of_its_days_and_no_later_ones() -> None:
    rows = random_rows(2, 400)
    all_days, last_days = RetrainedDaily(), RetrainedDaily(days_kept=2)
    for n in range(len(rows)):
        for head in HEADS:
            # Until day 5 what decides is turned around.
            label = bool((rows.numeric[n, 0] > 1.5) == (n >= 200))
            about = {"numeric": rows.numeric[n].tolist(), "hashed": rows.hashed[n].tolist(), "label": label}
            one = example(example_id=f"{n}-{head}", head=head, at=n * 86400.0 / 40, **about)
            for scorer in (all_days, last_days):
                scorer.hear(one)
    before = all_days.predict(rows)
    assert before.tolist() == last_days.predict(rows).tolist() == prior().predict(rows)[:, : len(HEADS)].tolist()
    areas = []
    for scorer in (all_days, last_days):
        scorer.retrain(10)
        areas.append(roc_auc(scorer.predict(rows)[200:, 0], rows.numeric[200:, 0] > 1.5))
    assert areas[1] > 0.95 > areas[0]
