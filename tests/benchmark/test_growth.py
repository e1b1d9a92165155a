"""The benchmark of growth does the whole workload, and its exponents are those of the curves."""

import pytest

from benchmarks.growth import Point, exponent, exponents, markdown, measure, plan
from stream_coupons.settings import Store

SIZES = (10.0, 50.0, 300.0, 5000.0)


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0, 2.0])
def test_the_exponent_of_a_power_is_the_power(power: float) -> None:
    assert exponent([(x, 7.0 * x**power) for x in SIZES]) == pytest.approx(power)


def test_the_exponent_lies_between_those_of_noisy_points() -> None:
    found = exponent([(x, x * noise) for x, noise in zip(SIZES, (1.2, 0.8, 1.1, 0.9), strict=True)])
    assert found == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize("points", [[], [(1.0, 2.0)], [(3.0, 1.0), (3.0, 2.0)], [(1.0, 0.0), (2.0, 1.0)]])
def test_without_two_sizes_there_is_no_exponent(points: list[tuple[float, float]]) -> None:
    assert exponent(points) is None


@pytest.mark.long
@pytest.mark.parametrize("store", list(Store))
def test_a_point_does_the_whole_workload(store: Store) -> None:
    point = Point(curve="shoppers", shoppers=100, coupons=20, partitions=4, chunk=50, store=store)
    done: list[int] = []
    found = measure(point, done.append)
    assert sum(done) == found["events"] == 1200
    assert found["timed_events"] == 200
    assert found["dead_letters"] == 0
    assert found["cells"]["users"] == 100
    # One event in ten is a trigger; of one shopper's that come within a chunk the second is refused.
    assert 0.5 * found["triggers"] <= found["issues"] <= found["triggers"] <= 200
    assert found["cpu_us_per_event"] == pytest.approx(sum(found["cpu_us_per_event_by_agent"].values()), abs=0.1)
    assert set(found["cpu_us_per_event_by_agent"]) == {"users", "budgets", "neighbours"}
    assert found["cell_bytes"] > 100_000


def test_every_curve_has_a_table_and_exponents() -> None:
    points = plan(0.001, 50, Store.MEMORY, large=False)
    rows = [
        {
            "curve": point.curve, "shoppers": point.shoppers, "coupons": point.coupons, "partitions": point.partitions,
            "cpu_us_per_event": 1.0, "cpu_us_per_event_by_agent": {"users": 1.0, "budgets": 0.0, "neighbours": 0.0},
            "rss_bytes": 5 * point.shoppers, "rss_bytes_per_shopper": 5.0, "cell_bytes": 3 * point.shoppers,
            "cell_bytes_per_shopper": 3.0,
        }
        for point in points
    ]  # fmt: skip
    fitted = exponents(rows)
    assert fitted["shoppers"] == {"cpu_us_per_event": 0.0, "rss_bytes": 1.0, "cell_bytes": 1.0}
    assert fitted["coupons"]["cpu_us_per_event"] == 0.0
    text = markdown(rows, fitted)
    assert text.count("CPU us/event") == 3
    assert "cpu_us_per_event ~ partitions^0.0" in text
    assert "rss_bytes for each more shopper: 5" in text
