"""What a learning process reports becomes part of what its worker exports."""

import msgspec
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from stream_coupons.kafka.settings import KafkaSettings
from stream_coupons.observability.metrics import Metrics
from stream_coupons.settings import Role, Settings, WorkerSettings
from stream_coupons.worker.learner_link import Greeting, LearnerStatus, MergedRegistry, families_of


def received(registry: CollectorRegistry) -> LearnerStatus:
    """A report as it comes out of the pipe."""
    return msgspec.msgpack.decode(msgspec.msgpack.encode(LearnerStatus([], families_of(registry))), type=LearnerStatus)


def test_counters_and_histograms_add_up_and_of_gauges_the_workers_own_count() -> None:
    own, other = CollectorRegistry(), CollectorRegistry()
    for registry, count in ((own, 2), (other, 3)):
        counter = Counter("seen", "Records.", ["topic"], registry=registry)
        counter.labels("both").inc(count)
        gauge = Gauge("age", "Age.", ["domain"], registry=registry)
        gauge.labels("both").set(count)
        Histogram("took", "Time.", buckets=(1.0,), registry=registry).observe(count)
        if registry is other:
            counter.labels("theirs").inc(7)
            gauge.labels("theirs").set(float("nan"))
            Gauge("alone", "Theirs alone.", registry=other).set(1)
    merged = MergedRegistry(own, lambda: received(other).families)
    values = {
        (sample.name, *sample.labels.values()): sample.value for metric in merged.collect() for sample in metric.samples
    }
    assert values["seen_total", "both"] == 5
    assert values["seen_total", "theirs"] == 7
    assert values["age", "both"] == 2
    assert values["age", "theirs"] != values["age", "theirs"]
    assert (values["took_count",], values["took_sum",], values["took_bucket", "1.0"]) == (2, 5, 0)
    assert values["alone",] == 1


def test_no_metric_is_exported_twice() -> None:
    own, other = Metrics(CollectorRegistry()), Metrics(CollectorRegistry())
    other.model_level.labels("ecommerce", "effect").set(1.5)
    merged = MergedRegistry(own.registry, lambda: received(other.registry).families)
    lines = generate_latest(merged).decode().splitlines()
    kinds = [line for line in lines if line.startswith("# TYPE")]
    samples = [line.rpartition(" ")[0] for line in lines if not line.startswith("#")]
    assert len(kinds) == len(set(kinds))
    assert len(samples) == len(set(samples))
    assert 'stream_coupons_model_level_ratio{domain="ecommerce",head="effect"} 1.5' in lines


def test_only_what_was_asked_for_is_exported() -> None:
    own, other = Metrics(CollectorRegistry()), Metrics(CollectorRegistry())
    other.examples.labels("ecommerce", "click").inc()
    merged = MergedRegistry(own.registry, lambda: received(other.registry).families)
    wanted = ["stream_coupons_training_examples_total", "stream_coupons_ready"]
    found = [
        (sample.name, sample.value)
        for metric in merged.restricted_registry(wanted).collect()
        for sample in metric.samples
    ]
    assert sorted(found) == [("stream_coupons_ready", 0.0), ("stream_coupons_training_examples_total", 1.0)]


def test_the_settings_arrive_as_they_were() -> None:
    settings = Settings(
        kafka=KafkaSettings(group_id="mine", partitions=7), worker=WorkerSettings(roles=[Role.LEARN], store_dir="ß")
    )
    assert msgspec.json.decode(msgspec.json.encode(Greeting(settings, "INFO")), type=Greeting).settings == settings
