"""What a worker takes in of the compacted topics, and what it refuses."""

import asyncio
import logging
import threading
import zlib
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from stream_coupons.agents.keyed import output
from stream_coupons.core.catalogue.catalogue import Catalogue
from stream_coupons.core.catalogue.code_pools import CodePools
from stream_coupons.core.draws import PUBLIC_KEY
from stream_coupons.core.features.numeric import NUMERIC
from stream_coupons.core.features.rows import HASHED, schema_of
from stream_coupons.core.messages.catalogue import Campaign, CodeBlock, Coupon
from stream_coupons.core.messages.learning import Array, ModelSnapshot
from stream_coupons.core.money.accounts import codes_of
from stream_coupons.kafka.codec import encode
from stream_coupons.models.learner import Trainer
from stream_coupons.models.rules import LearningRules
from stream_coupons.models.snapshots import checksum
from stream_coupons.observability.metrics import Metrics
from stream_coupons.settings import Settings
from stream_coupons.worker.knowledge import MAX_STRANGERS, CurrentKnowledge
from tests.models.builders import examples


@pytest.fixture(scope="module")
def snapshot() -> ModelSnapshot:
    trainer = Trainer(LearningRules())
    trainer.learn(examples(1, 1)[0], 0, None)
    [made] = trainer.snapshots()
    return made


def test_a_coupon_whose_categories_times_brands_would_fill_the_memory_is_refused_and_the_old_one_kept() -> None:
    known = CurrentKnowledge(Settings().rules(PUBLIC_KEY), Metrics(CollectorRegistry()))
    good = Coupon(coupon_id="c", max_discount_minor=1)
    known.take_coupon(("c", good))
    many = [f"{number}" for number in range(3000)]
    forged = msgspec.json.encode({"coupon_id": "c", "max_discount_minor": 1, "categories": many, "brands": many})
    assert len(forged) < 50_000
    assert known.read_coupon(b"c", forged) is None
    assert known.now().catalogue.by_id == {"c": good}


REFUSED = {
    "a value that this version does not know": encode(Coupon(coupon_id="c", max_discount_minor=1, stock=5)).replace(
        b'"stock":5', b'"stock":0,"budget_curve":"steps"'
    ),
    "no JSON": b"{",
    "the id of another": encode(Coupon(coupon_id="d", max_discount_minor=1)),
}


@pytest.mark.parametrize("bad", REFUSED.values(), ids=REFUSED)
def test_a_coupon_that_cannot_be_read_is_counted_by_who_keeps_the_old_one_and_by_who_starts_without_it(
    bad: bytes,
) -> None:
    good = Coupon(coupon_id="c", max_discount_minor=1, stock=5)
    for log, kept in (([encode(good), bad], {"c": good}), ([bad], {})):
        metrics = Metrics(CollectorRegistry())
        known = CurrentKnowledge(Settings().rules(PUBLIC_KEY), metrics)
        for value in log:
            if (read := known.read_coupon(b"c", value)) is not None:
                known.take_coupon(read)
        assert known.now().catalogue.by_id == kept
        assert metrics.coupons_refused._value.get() == 1


def test_a_new_snapshot_leaves_the_compiled_catalogue_as_it_is_and_a_changed_coupon_does_not(
    snapshot: ModelSnapshot,
) -> None:
    known = CurrentKnowledge(Settings().rules(PUBLIC_KEY), Metrics(CollectorRegistry()))
    known.take_coupon(("c", Coupon(coupon_id="c", max_discount_minor=1)))
    before = known.now()
    read = known.read_snapshot(b"ecommerce", encode(snapshot))
    assert read is not None
    known.take_snapshot(read)
    after = known.now()
    assert after.catalogue is before.catalogue
    assert (before.scorer("ecommerce").version, after.scorer("ecommerce").version) == (0, 1)
    for coupon in (Coupon(coupon_id="c", max_discount_minor=2), None):
        known.take_coupon(("c", coupon))
        asyncio.run(known.compile())
        assert known.now().catalogue.by_id.get("c") == coupon
        assert known.now().scorer("ecommerce").version == 1


def test_changed_coupons_stop_no_decision_and_count_when_they_are_compiled() -> None:
    known = CurrentKnowledge(Settings().rules(PUBLIC_KEY), Metrics(CollectorRegistry()))
    old, new = (Coupon(coupon_id="c", max_discount_minor=amount) for amount in (1, 2))
    known.take_coupon(("c", old))
    before = known.now()

    async def change() -> None:
        known.take_coupon(("c", new))
        assert known.now() is before
        compiling = asyncio.ensure_future(known.compile())
        await asyncio.sleep(0)
        # While it is compiled, the loop goes on with what was known, and another change waits for the next time.
        known.take_coupon(("d", msgspec.structs.replace(old, coupon_id="d")))
        assert known.now() is before
        await compiling
        assert known.now().catalogue.by_id == {"c": new}
        await known.compile()
        assert known.now().catalogue.by_id.keys() == {"c", "d"}
        after = known.now()
        await known.compile()
        assert known.now() is after

    asyncio.run(change())


def test_a_domain_whose_last_coupon_is_withdrawn_is_reported_to_have_none() -> None:
    registry = CollectorRegistry()
    known = CurrentKnowledge(Settings().rules(PUBLIC_KEY), Metrics(registry))

    def count_after(coupon: Coupon | None) -> float | None:
        known.take_coupon(("c", coupon))
        asyncio.run(known.compile())
        known.now()
        return registry.get_sample_value("stream_coupons_catalogue_coupons", {"domain": "shop"})

    coupon = Coupon(coupon_id="c", domain="shop", max_discount_minor=1)
    assert [count_after(each) for each in (coupon, None, coupon)] == [1, 0, 1]


def with_weights(snapshot: ModelSnapshot, weights: Array) -> ModelSnapshot:
    head = snapshot.heads["click"]
    champion = head.parts[head.champion] | {"weights": weights}
    heads = snapshot.heads | {"click": msgspec.structs.replace(head, parts=head.parts | {head.champion: champion})}
    return msgspec.structs.replace(
        snapshot, version=2, heads=heads, checksum=checksum(heads, snapshot.viewed_prices, snapshot.incremental)
    )


SPOILT = {
    "nothing times too much": Array("<f8", [0, 2**53, 2**53], zlib.compress(b"")),
    "a bomb": Array("<f8", [2**24], zlib.compress(bytes(2**27), 9)),
    "other bytes": Array("<f8", [1], b"x"),
}


@pytest.mark.parametrize("weights", SPOILT)
def test_the_last_good_snapshot_is_kept_when_one_does_not_fit(snapshot: ModelSnapshot, weights: str) -> None:
    metrics = Metrics(CollectorRegistry())
    known = CurrentKnowledge(Settings().rules(PUBLIC_KEY), metrics)
    good = known.read_snapshot(b"ecommerce", encode(snapshot))
    assert good is not None
    known.take_snapshot(good)
    assert known.read_snapshot(b"ecommerce", encode(with_weights(snapshot, SPOILT[weights]))) is None
    assert metrics.snapshots_refused._value.get() == 1
    assert known.now().scorer("ecommerce").version == 1


FORGED = {
    "the largest version and offset": {"version": 2**52, "source_offset": 2**52},
    "an example that is not there yet": {"source_offset": 1},
    "more versions than records": {"version": 2},
    "more examples than records": {"examples": 2},
}


@pytest.mark.parametrize("about", FORGED.values(), ids=FORGED)
def test_what_a_log_of_one_example_cannot_lead_to_is_refused_and_learning_goes_on(
    snapshot: ModelSnapshot, about: dict[str, Any]
) -> None:
    metrics = Metrics(CollectorRegistry())
    known = CurrentKnowledge(Settings().rules(PUBLIC_KEY), metrics)
    known.log_end = 1
    good = known.read_snapshot(b"ecommerce", encode(snapshot))
    assert good is not None
    known.take_snapshot(good)
    assert known.read_snapshot(b"ecommerce", encode(msgspec.structs.replace(snapshot, **about))) is None
    assert metrics.snapshots_refused._value.get() == 1
    assert known.now().scorer("ecommerce").version == 1

    learner = Trainer(LearningRules())
    learner.restore(known.snapshots)
    assert learner.learn(examples(1, 2)[0], 1, None), "the next example is new to who goes on from the snapshot"
    [following] = learner.snapshots()
    known.log_end = 2
    assert known.read_snapshot(b"ecommerce", encode(following)) is not None


def test_domains_that_nobody_knows_take_no_more_memory_than_a_few(snapshot: ModelSnapshot) -> None:
    metrics = Metrics(CollectorRegistry())
    rules = msgspec.structs.replace(Settings().rules(PUBLIC_KEY), transfer={"fresh": "donor"})
    known = CurrentKnowledge(rules, metrics)
    known.take_coupon(("c", Coupon(coupon_id="c", domain="shop", max_discount_minor=1)))
    asyncio.run(known.compile())

    def read(domain: str) -> None:
        read = known.read_snapshot(b"x", encode(msgspec.structs.replace(snapshot, domain=domain)))
        if read is not None:
            known.take_snapshot(read)

    for number in range(40):
        read(f"forged-{number}")
        read("forged-0")
    for domain in ("shop", "fresh", "donor"):
        read(domain)
    assert len(known.snapshots) == MAX_STRANGERS + 3
    assert {"shop", "fresh", "donor", "forged-0"} <= known.snapshots.keys()
    assert metrics.snapshots_refused._value.get() == 40 - MAX_STRANGERS


def test_a_domain_that_nobody_knows_is_refused_before_an_array_is_unpacked(
    snapshot: ModelSnapshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = CurrentKnowledge(Settings().rules(PUBLIC_KEY), Metrics(CollectorRegistry()))
    for number in range(MAX_STRANGERS):
        assert known.read_snapshot(b"x", encode(msgspec.structs.replace(snapshot, domain=f"{number}"))) is not None
    monkeypatch.setattr("stream_coupons.worker.knowledge.compile_snapshot", lambda _: pytest.fail("was unpacked"))
    assert known.read_snapshot(b"x", encode(msgspec.structs.replace(snapshot, domain="one more"))) is None


NEXT = {"another schema": {"feature_schema": "0123456789abcdef"}, "another format": {"format_version": 99}}


@pytest.mark.parametrize("about", NEXT.values(), ids=NEXT)
def test_a_release_with_other_features_leaves_the_model_to_which_it_may_be_rolled_back(
    snapshot: ModelSnapshot, about: dict[str, Any]
) -> None:
    of_next = msgspec.structs.replace(snapshot, version=7, **about)
    sent = [output(each, 1) for each in (snapshot, of_next)]
    compacted = {one.key: one.value for one in sent}
    metrics = Metrics(CollectorRegistry())
    known = CurrentKnowledge(Settings().rules(PUBLIC_KEY), metrics)
    read = [known.read_snapshot(key, value) for key, value in compacted.items()]
    [ours] = [each for each in read if each is not None]
    known.take_snapshot(ours)
    assert known.snapshots == {"ecommerce": snapshot}
    assert metrics.snapshots_refused._value.get() == 0


def of_another_release(snapshot: ModelSnapshot, **about: Any) -> ModelSnapshot:
    names = ["gone", *NUMERIC[1:]]
    other = {"features": names, "feature_schema": schema_of(names, HASHED)}
    return msgspec.structs.replace(snapshot, **(other | about))


def test_a_snapshot_that_a_stopped_learner_appends_late_is_not_gone_on_from(snapshot: ModelSnapshot) -> None:
    known = CurrentKnowledge(Settings().rules(PUBLIC_KEY), Metrics(CollectorRegistry()))
    read = known.read_snapshot(b"ecommerce", encode(snapshot))
    assert read is not None
    for offset, version in ((79, 3), (119, 5), (79, 4), (119, 6)):
        known.take_snapshot((msgspec.structs.replace(snapshot, source_offset=offset, version=version), read[1]))
        assert known.snapshots["ecommerce"].source_offset == (119 if version > 3 else 79)
    assert known.snapshots["ecommerce"].version == 6  # one that learnt as much may have news of the brake


@pytest.mark.parametrize("is_reversed", [False, True])
@pytest.mark.parametrize(("offset", "is_ours"), [(0, False), (1, True), (2, True)])
def test_of_two_releases_with_the_same_hashing_the_model_that_learnt_most_is_served(
    snapshot: ModelSnapshot, is_reversed: bool, offset: int, is_ours: bool
) -> None:
    ours = msgspec.structs.replace(snapshot, source_offset=offset)
    theirs = of_another_release(snapshot, source_offset=1, version=2)
    sent = [output(each, 1) for each in (ours, theirs)]
    known = CurrentKnowledge(Settings().rules(PUBLIC_KEY), Metrics(CollectorRegistry()))
    for each in reversed(sent) if is_reversed else sent:
        if (read := known.read_snapshot(each.key, each.value)) is not None:
            known.take_snapshot(read)
    assert known.snapshots == {"ecommerce": ours if is_ours else theirs}
    assert known.now().scorer("ecommerce").version == (1 if is_ours else 2)


def test_a_carried_model_is_logged_once_and_a_damaged_one_refused(
    snapshot: ModelSnapshot, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    metrics = Metrics(CollectorRegistry())
    known = CurrentKnowledge(Settings().rules(PUBLIC_KEY), metrics)
    for offset in range(3):
        sent = output(of_another_release(snapshot, source_offset=offset), 1)
        read = known.read_snapshot(sent.key, sent.value)
        assert read is not None
        known.take_snapshot(read)
    assert caplog.text.count(f"new: {NUMERIC[0]}, dropped: gone") == 1
    damaged = output(of_another_release(snapshot, source_offset=9, checksum=0), 1)
    assert known.read_snapshot(damaged.key, damaged.value) is None
    assert metrics.snapshots_refused._value.get() == 1
    assert known.snapshots["ecommerce"].source_offset == 2


def test_a_model_is_read_under_the_key_that_versions_before_gave_it_and_refused_if_it_does_not_fit(
    snapshot: ModelSnapshot,
) -> None:
    metrics = Metrics(CollectorRegistry())
    known = CurrentKnowledge(Settings().rules(PUBLIC_KEY), metrics)
    assert known.read_snapshot(b"ecommerce", encode(snapshot)) is not None
    other = msgspec.structs.replace(snapshot, feature_schema="0123456789abcdef")
    assert known.read_snapshot(b"ecommerce", encode(other)) is None
    assert metrics.snapshots_refused._value.get() == 1


def test_imported_codes_count_once_they_are_compiled_and_what_does_not_fit_does_not() -> None:
    known = CurrentKnowledge(Settings().rules(PUBLIC_KEY), Metrics(CollectorRegistry()))
    known.take_coupon(("c", Coupon(coupon_id="c", max_discount_minor=1, codes="pool")))
    sizes, pools = [], CodePools.of({"c": ["A", "B"]})
    for block in (*(CodePools().block("c", codes) for codes in (["A", "B"], ["X"])), pools.block("c", ["C"])):
        read = known.read_codes(b"c", encode(block))
        assert read is not None
        known.take_codes(read)
        asyncio.run(known.compile())
        sizes.append(known.now().catalogue.accounts.limit(codes_of("c")).most)
    assert sizes == [2, 2, 3]
    assert [known.now().catalogue.pools.code("c", number) for number in range(3)] == ["A", "B", "C"]
    assert known.read_codes(b"another", encode(CodeBlock(coupon_id="c", first=3, codes=["D"]))) is None


def test_a_catalogue_that_takes_long_does_not_replace_one_with_what_was_read_since(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    known = CurrentKnowledge(Settings().rules(PUBLIC_KEY), Metrics(CollectorRegistry()))
    begun, may_end, make = threading.Event(), threading.Event(), known._new_catalogue

    def make_slowly(coupons: Sequence[Coupon], campaigns: Sequence[Campaign]) -> Catalogue:
        if not begun.is_set():
            begun.set()
            assert may_end.wait(30.0)
        return make(coupons, campaigns)

    async def read_apart() -> None:
        known.take_codes(("c", CodeBlock(coupon_id="c", first=0, codes=["ONE-CODE"])))
        codes = asyncio.ensure_future(known.compile())
        await asyncio.to_thread(begun.wait, 30.0)
        known.take_coupon(("c", Coupon(coupon_id="c", max_discount_minor=1)))
        coupons = asyncio.ensure_future(known.compile())
        await asyncio.wait([coupons], timeout=0.2)
        may_end.set()
        await asyncio.gather(codes, coupons)

    monkeypatch.setattr(known, "_new_catalogue", make_slowly)
    asyncio.run(read_apart())
    assert list(known.now().catalogue.by_id) == ["c"]
