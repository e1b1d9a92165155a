"""Counts of views and their mean prices: fading, bounds, and snapshots."""

from typing import Any

import msgspec
import numpy as np
import pytest

from stream_coupons.core.catalogue.compiled import CouponSet
from stream_coupons.core.catalogue.viewed_prices import ViewedPrices
from stream_coupons.core.errors import SnapshotMismatch
from stream_coupons.core.messages.learning import MAX_PRICE_MINOR, ModelSnapshot, OnView
from stream_coupons.core.vectors.sparse import feature_index
from stream_coupons.models.learner import Trainer
from stream_coupons.models.rules import LearningRules
from stream_coupons.models.serving import compile_snapshot
from stream_coupons.models.snapshots import checksum, pack_state
from stream_coupons.models.viewed_prices import LEFT, MAX_CELLS, PERIOD, ViewCounts, viewed_prices_of
from stream_coupons.testing import coupon

from .builders import example


def seen(category: str, brand: str | None, price_minor: int) -> OnView:
    return OnView(category=category, brand=brand, price_minor=price_minor)


def counted(*views: OnView) -> ViewCounts:
    counts = ViewCounts()
    for view in views:
        counts.learn_one(view)
    return counts


def same(one: ViewedPrices, other: ViewedPrices) -> bool:
    names = ("categories", "brands", "views", "prices", "logs")
    return all(getattr(one, name).tobytes() == getattr(other, name).tobytes() for name in names)


def test_means_are_those_of_the_views_of_each_category_and_brand() -> None:
    served = counted(seen("tea", "x", 100), seen("tea", "x", 400), seen("tea", None, 50), seen("oats", "x", 800)).served
    cells = dict(zip(zip(served.categories.tolist(), served.brands.tolist(), strict=True), range(3), strict=True))
    at = cells[feature_index("category:tea"), feature_index("brand:x")]
    assert (served.views[at], served.prices[at]) == (2.0, pytest.approx(250.0))
    assert served.logs[at] == pytest.approx(np.log2([100, 400]).mean())
    assert cells[feature_index("category:tea"), 0] is not None
    assert (np.diff(served.categories.astype(np.int64)) >= 0).all()


def test_a_slip_of_the_point_is_bounded_once_prices_are_known() -> None:
    usual = [seen("tea", "x", 500)] * 20
    slipped = counted(*usual, seen("tea", "x", MAX_PRICE_MINOR)).served.prices
    assert slipped == pytest.approx([(20 * 500 + 8 * 500) / 21])


def test_old_views_fade_and_their_mean_price_stays() -> None:
    served = counted(*[seen("tea", "x", 500)] * (PERIOD - 1), seen("oats", "x", 100)).served
    assert sorted(served.views) == pytest.approx([LEFT, LEFT * (PERIOD - 1)])
    assert sorted(served.prices) == pytest.approx([100.0, 500.0])


def test_the_cells_viewed_least_are_dropped() -> None:
    often = [seen("tea", "x", 500)] * 3
    counts = counted(*often, *(seen("tea", f"brand {n}", 500) for n in range(MAX_CELLS)))
    served = counts.served
    assert len(served) == MAX_CELLS * 7 // 8
    assert feature_index("brand:x") in served.brands


def learnt(views: int) -> Trainer:
    trainer = Trainer(LearningRules())
    rng = np.random.default_rng(3)
    for offset in range(views):
        view = seen(f"c{rng.integers(4)}", f"b{rng.integers(5)}", int(rng.integers(100, 9000)))
        trainer.learn(example(head="visit", observed=False, on_view=view), offset, None)
    return trainer


def test_a_snapshot_serves_what_was_counted_and_the_learner_resumes_from_it() -> None:
    trainer = learnt(300)
    [snapshot] = trainer.snapshots()
    live = trainer.models["ecommerce"].live().viewed_prices
    assert len(live) == 20
    assert same(compile_snapshot(snapshot).viewed_prices, live)
    resumed = Trainer(LearningRules())
    resumed.restore({"ecommerce": snapshot})
    for each, offset in ((trainer, 300), (resumed, 300)):
        each.learn(example(head="visit", observed=False, on_view=seen("c1", "b1", 700)), offset, None)
    first, second = (each.models["ecommerce"].scorer().viewed_prices for each in (trainer, resumed))
    assert same(first, second)
    assert not same(first, live)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("views", lambda values: values * 0.0),
        ("views", lambda values: -values),
        ("prices", lambda values: values * np.nan),
        ("logs", lambda values: values[1:]),
        ("brands", lambda values: values[::-1].copy()),
        ("categories", lambda values: values.astype(np.int64)),
        ("seen", lambda values: values - 10**6),
    ],
)
def test_a_state_that_does_not_fit_is_refused(name: str, change: Any) -> None:
    state = learnt(300).models["ecommerce"].views.state()
    changed = state | {name: change(state[name])}
    with pytest.raises(SnapshotMismatch):
        ViewCounts().restore(changed)


def with_viewed_prices(snapshot: ModelSnapshot, changed: dict[str, Any], *, is_honest: bool) -> ModelSnapshot:
    packed = pack_state(changed)
    total = checksum(snapshot.heads, packed, snapshot.incremental) if is_honest else snapshot.checksum
    return msgspec.structs.replace(snapshot, viewed_prices=packed, checksum=total)


def test_a_snapshot_with_other_prices_is_refused() -> None:
    trainer = learnt(50)
    [snapshot] = trainer.snapshots()
    state = trainer.models["ecommerce"].views.state()
    with pytest.raises(SnapshotMismatch, match="checksum"):
        compile_snapshot(with_viewed_prices(snapshot, state | {"views": state["views"] * 2.0}, is_honest=False))
    with pytest.raises(SnapshotMismatch, match="viewed_prices: arrays are"):
        compile_snapshot(with_viewed_prices(snapshot, {"views": state["views"]}, is_honest=True))


def test_an_empty_state_serves_nothing() -> None:
    assert len(viewed_prices_of(ViewCounts().state())) == 0


def test_prices_of_a_scope_are_found_once_for_a_set_of_coupons() -> None:
    served = counted(seen("tea", "x", 100)).served
    coupons = CouponSet([coupon("x", brands=["x"])], 1000.0)
    assert served.of(coupons) is served.of(coupons)
