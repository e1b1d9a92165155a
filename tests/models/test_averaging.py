"""Averages are brought up to date late, and are what they would be if they were kept up to date at every step."""

import math

import numpy as np
import pytest

from stream_coupons.models.averaging import ETA, HORIZON, Averages, clock, served


def test_late_is_as_good_as_at_every_step() -> None:
    rng = np.random.default_rng(1)
    latest, late = dict.fromkeys(range(20), 0.5), Averages()
    eager = dict(latest)
    for step in range(1, 3001):
        touched = {int(index): 1.0 for index in rng.integers(0, 20, 3)}
        late.advance(touched, latest)
        left = math.exp(clock(step - 1.0) - clock(float(step))) if step > 1 else 1.0
        eager = {index: latest[index] + (average - latest[index]) * left for index, average in eager.items()}
        for index in touched:
            latest[index] += float(rng.normal(0.0, 0.1))
    now = clock(late.step)
    assert {index: late.of(index, latest, now) for index in latest} == pytest.approx(eager, abs=1e-12)


def test_what_never_moved_is_its_own_average() -> None:
    averages = Averages()
    averages.advance({1: 1.0}, {1: 0.3, 2: 0.7})
    assert averages.of(2, {1: 0.4, 2: 0.7}, clock(1.0)) == 0.7


def test_the_horizon_grows_with_experience_and_is_bounded() -> None:
    def per_step(step: float) -> float:
        return clock(step + 1) - clock(step)

    assert per_step(80.0) == pytest.approx(ETA / 80.0, rel=0.05)
    assert per_step(1e6) == pytest.approx(1 / HORIZON)
    assert clock(ETA * HORIZON + 1) > clock(ETA * HORIZON) > clock(ETA * HORIZON - 1)


def test_served_weights_are_the_averages_as_of_the_last_step() -> None:
    rng, averages, latest = np.random.default_rng(2), Averages(), {3: 0.1, 5: -0.2, 9: 0.0}
    for _ in range(100):
        touched = {3: 1.0} if rng.random() < 0.5 else {3: 1.0, 5: 1.0}
        averages.advance(touched, latest)
        for index in touched:
            latest[index] += float(rng.normal())
    state = {
        "places": np.array([3, 5, 9], np.uint32),
        "weights": np.array(list(latest.values())),
        "steps": np.array([averages.step]),
        **averages.columns([3, 5, 9], latest),
    }
    expected = [averages.of(index, latest, clock(averages.step)) for index in latest]
    assert served(state).tolist() == pytest.approx(expected, abs=1e-15)
    again = Averages()
    again.restore(state, averages.step)
    again.advance({5: 1.0}, latest)
    averages.advance({5: 1.0}, latest)
    assert again.of(5, latest, clock(101.0)) == averages.of(5, latest, clock(101.0))


def test_averages_are_steadier_than_the_latest_weights() -> None:
    rng, averages, latest, seen = np.random.default_rng(3), Averages(), {0: 0.0}, []
    for step in range(5000):
        averages.advance({0: 1.0}, latest)
        latest[0] = 1.0 + float(rng.normal())
        if step > 2500:
            seen.append(averages.of(0, latest, clock(averages.step)))
    assert abs(np.mean(seen) - 1.0) < 0.1
    assert np.std(seen) < 0.1
