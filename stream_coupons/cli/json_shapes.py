"""Output of `--json` by verb: the keys on the first level, which scripts may rely on.

Keys are added, never renamed or removed. Money is in minor units, times are UTC epoch seconds.
"""

from typing import NamedTuple


class Shape(NamedTuple):
    """One form of output: `what` it is, and the keys of the object, or of each object."""

    what: str
    keys: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.what}: {', '.join(self.keys)}"


def _object(keys: str) -> tuple[Shape, ...]:
    return (Shape("an object", tuple(keys.split())),)


def _array(keys: str) -> tuple[Shape, ...]:
    return (Shape("an array of objects", tuple(keys.split())),)


def _each_of(what: str, keys: str) -> tuple[Shape, ...]:
    return (Shape(what, tuple(keys.split())),)


SHAPES: dict[str, tuple[Shape, ...]] = {
    "topics apply": _object("topics created"),
    "topics list": _array("name key about partitions configs"),
    "secret make": _object("fingerprint"),
    "secret show": _object("own workers"),
    "secret adopt": _object("workers before"),
    "catalog embed": _object("coupons embedded without_vector refused interrupted"),
    "catalog push": _object("good published refused refused_count warnings"),
    "catalog list": (Shape("an array of coupons, as `catalog push` reads them", ()),),
    "catalog remove": _object("removed unknown"),
    "catalog pause": _object("paused unknown"),
    "catalog resume": _object("resumed unknown"),
    "campaigns push": _object("good published refused refused_count warnings"),
    "campaigns list": _array("campaign coupons state spent_minor held_minor expected_minor share_used share_due price"),
    "campaigns remove": _object("removed unknown"),
    "campaigns pause": _object("paused unknown"),
    "campaigns resume": _object("resumed unknown"),
    "publish": _object("lines sent appended refused interrupted warnings"),
    "tail": (Shape("the messages themselves, one a line; of a dead letter its headers, key and text", ()),),
    "dlq list": _object("letters totals older"),
    "dlq show": _object(
        "letter at reason source key bytes is_cut detail sent_again_at came_back_of headers value value_hex "
        "cannot_be_sent"
    ),
    "dlq redrive": _object("dry_run letters counts refused_again interrupted"),
    "erase": _array("event_id user_id occurred_at"),
    "verify": _object("clean violations first checks not_committed overspent lost_their_beginning never_checked"),
    "state digest": (Shape("by agent, an object", ("keys", "bytes", "blake2b")),),
    "explain": (
        Shape(
            "of an issue",
            ("issue", "choice", "reasons", "content", "neighbours", "is_reproduced", "others", "notes"),
        ),
        Shape(
            "of a shopper",
            ("user_id", "at", "last_event_at", "objection", "is_holdout", "model_versions", "coupons"),
        ),
    ),
    "replay": _object(
        "key workers_key lines refused events ticks applied duplicates dead_letters decisions issues feedback examples "
        "decisions_sha256 state_blake2b interrupted"
    ),
    "evaluate": _object(
        "records refused_lines refused_feedback feedback_before_issue feedback_on_none redescribed_coupons "
        "unknown_keys issues labelled doubtful_impressions heads order_anyway slices models changes baselines "
        "interrupted"
    ),
    "ope": _object("reward decisions shoppers arms propensities valued targeting effects warnings notes"),
    "simulate": _object(
        "seed shoppers simulated_days events ticks coupons_published issues duplicates strangers unreadable "
        "impressions clicks redemptions persuaded discount_minor order_value_minor incremental_margin_minor interrupted"
    ),
    "tune": _object(
        "log method metric head seed trials given_up failed best_trial best_quality used_today found split_at searched "
        "held_out is_better written"
    ),
    "bench": (
        *_object("options machine throughput memory rates missing interrupted notes"),
        *_each_of(
            "throughput",
            "events seconds events_per_s worker_cpu_us_per_event broker_cpu_us_per_event cores_used batches_per_s "
            "events_per_batch peak_rss_bytes triggers pending missing",
        ),
        *_each_of("memory", "shoppers growth_bytes bytes_per_shopper"),
        *_each_of(
            "each of rates",
            "rate events seconds is_saturated is_learner_behind worker_cpu_us_per_event worker_cpu_us_per_batch "
            "broker_cpu_us_per_event cores_used batches_per_s events_per_batch agents lag_before lag_after latency "
            "hops floor",
        ),
        *_each_of("each of agents, by name", "batches_per_s records_per_batch mean_ms"),
        *_each_of(
            "latency and floor",
            "rate events awaited pending missing repeated measured p50_ms p90_ms p99_ms p999_ms max_ms "
            "sent_late_p99_ms sent_late_max_ms client_cpu_ratio",
        ),
        *_each_of("each of hops", "source target count p50_ms p99_ms"),
    ),
    "schemas write": _object("written"),
    "schemas check": _object("stale breaking"),
}


def text_of(verb: str) -> str | None:
    """Return what the help of a verb says of its JSON; None if it prints none."""
    shapes = SHAPES.get(verb)
    if shapes is None:
        return None
    return "With --json: " + "; ".join(str(shape) if shape.keys else shape.what for shape in shapes) + "."
