"""The benchmark of redemptions scores what could be known, on a case that is counted by hand."""

import numpy as np

from benchmarks.redemption import SCORED_FROM, Scored, rate_so_far, relearnt
from stream_coupons.core.shopper.profile import DAY_S
from stream_coupons.settings import Settings
from tests.models.builders import example, random_rows


def scored() -> Scored:
    """Three campaigns of four coupons each; the second begins before the first is learnt, the third after."""
    rows = random_rows(1, 12)
    examples = [
        example(issue_id=f"i{n}", numeric=rows.numeric[n].tolist(), hashed=rows.hashed[n].tolist()) for n in range(12)
    ]
    starts = np.repeat([SCORED_FROM, SCORED_FROM + DAY_S, SCORED_FROM + 9 * DAY_S], 4)
    return Scored(
        examples,
        np.repeat([1, 2, 16], 4),
        np.tile([10, 11, 12, 13], 3),
        np.tile([0, 1], 6),
        starts,
        starts + 5 * DAY_S,
        np.array([1, 0, 0, 0, 0, 1, 0, 0, 1, 1, 0, 0], np.bool_),
        np.full(12, 0.1),
    )


def test_only_what_is_known_by_its_start_is_used_for_a_campaign() -> None:
    known = [rows.tolist() for rows, _ in scored().campaigns()]
    assert known == [[], [], list(range(8))]


def test_rates_are_those_of_known_labels_drawn_to_the_base_rate() -> None:
    one = scored()
    rates = rate_so_far(one, one.household)
    base = (2 + 0.5) / (8 + 1)
    assert rates[:8].tolist() == [0.5] * 8
    assert rates[8:10].tolist() == [(1 + 20 * base) / 22] * 2
    assert rates[10:].tolist() == [20 * base / 22] * 2


def test_what_is_learnt_again_starts_from_the_prior_and_then_knows_the_labels() -> None:
    one = scored()
    predicted, _ = relearnt(one, Settings())
    without, _ = relearnt(one, Settings(), ("habit", "shopper"))
    assert predicted[:8].tolist() != without[:8].tolist() or predicted[8:].tolist() != without[8:].tolist()
    assert len(set(predicted.tolist())) == 12
