"""`python -m benchmarks.load.learner`: what it counts, and models of its stream."""

import json
from itertools import islice

import numpy as np
import pytest

from benchmarks.load import learner
from benchmarks.load.examples import RATES, Rows, log_losses, rows_of, stream, value_of
from benchmarks.load.learner import Mark, lag_at_end, main
from stream_coupons.core.decision.scoring import HEADS
from stream_coupons.kafka import topics
from stream_coupons.kafka.codec import Decoder
from stream_coupons.models.linear import prior
from tests.models.builders import example, random_rows


@pytest.fixture(scope="module")
def rows() -> Rows:
    table, labels = random_rows(1, 400), (*HEADS, "visit")
    examples = [
        example(head=labels[n % len(labels)], numeric=numeric.tolist(), hashed=hashed.tolist(), coupon_id=f"c{n % 7}")
        for n, (numeric, hashed) in enumerate(zip(table.numeric, table.hashed, strict=True))
    ]
    return rows_of(examples, seed=2)


def test_the_stream_is_the_same_each_time_with_ids_of_its_own_and_labels_at_their_rates(rows: Rows) -> None:
    drawn = list(islice(stream(rows, 3), 20_000))
    assert drawn[:2_500] == list(islice(stream(rows, 3), 2_500))
    assert len({each.example_id for each in drawn}) == len(drawn)
    assert not {each.row for each in drawn} & set(rows.held_out)
    share = np.mean([each.label for each in drawn])
    assert share == pytest.approx(rows.probabilities[rows.learnt].mean(), rel=0.15)


def test_a_record_of_the_stream_is_an_example_with_its_id_and_label(rows: Rows) -> None:
    decode = Decoder(topics.EXAMPLES)
    for drawn in islice(stream(rows, 3), 200):
        found = decode(value_of(rows, drawn))
        assert (found.example_id, found.label) == (drawn.example_id, drawn.label)
        assert found.numeric == rows.examples[drawn.row].numeric
        assert found.ordered == (drawn.label if found.head in ("redeem", "order") else None)


def test_no_model_is_better_than_the_ground_truth(rows: Rows) -> None:
    truth, found = log_losses(rows, None), log_losses(rows, prior())
    assert all(truth[label] < found[label] for label in RATES)


def test_the_lag_at_the_end_is_that_of_the_last_snapshot_while_examples_were_sent() -> None:
    marks = [Mark(seconds, 100, taken, taken, 0, 0) for seconds, taken in ((1.0, 10), (2.0, 40), (3.0, 100))]
    assert (lag_at_end(marks, 2.5), lag_at_end(marks, 0.5)) == (60, 90)


@pytest.mark.process
def test_it_counts_what_a_learner_learnt_and_lost(
    rows: Rows, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learner, "decisions", lambda: rows.examples)
    assert main(["--rate", "500", "--seconds", "2", "--whole", "300", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["sent"], found["learnt"], found["left_out"], found["rare_lost"]) == (1_000, 1_000, 0, 0)
    losses = {name.partition(",")[0]: by_label for name, by_label in found["log_loss"].items()}
    assert losses.keys() == {"sample", "all", "ground truth"}
