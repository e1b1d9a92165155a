"""Output of `--json` by verb: the keys on the first level, which scripts may rely on.

Keys are added, never renamed or removed. Money is in minor units, times are UTC epoch seconds.
"""

SHAPES = {
    "topics apply": "an object: topics, created",
    "topics list": "an array of objects: name, key, about, partitions, configs",
    "secret make": "an object: fingerprint",
    "secret show": "an object: own, workers",
    "secret adopt": "an object: workers, before",
    "catalog push": "an object: good, published, refused, refused_count, warnings",
    "catalog list": "an array of coupons, as `catalog push` reads them",
    "catalog remove": "an object: removed, unknown",
    "catalog pause": "an object: paused, unknown",
    "catalog resume": "an object: resumed, unknown",
    "campaigns push": "an object: good, published, refused, refused_count, warnings",
    "campaigns list": (
        "an array of objects: campaign, coupons, state, spent_minor, held_minor, expected_minor, share_used, "
        "share_due, price"
    ),
    "campaigns remove": "an object: removed, unknown",
    "campaigns pause": "an object: paused, unknown",
    "campaigns resume": "an object: resumed, unknown",
    "margins push": "an object: good, published, refused, refused_count, warnings",
    "margins list": "an array of margins, as `margins push` reads them",
    "margins remove": "an object: removed, unknown",
    "publish": "an object: lines, sent, appended, refused, interrupted, warnings",
    "tail": "the messages themselves, one a line; of a dead letter its headers, key and text",
    "dlq list": "an object: letters, totals, older",
    "dlq show": (
        "an object: letter, at, reason, source, key, bytes, is_cut, detail, sent_again_at, came_back_of, headers, "
        "value, value_hex, cannot_be_sent"
    ),
    "dlq redrive": "an object: dry_run, letters, counts, refused_again, interrupted",
    "erase": "an array of objects: event_id, user_id, occurred_at",
    "verify": (
        "an object: clean, violations, first, checks, not_committed, overspent, lost_their_beginning, never_checked"
    ),
    "state digest": "by agent, an object: keys, bytes, blake2b",
    "explain": (
        "of an issue: issue, choice, reasons, content, neighbours, is_reproduced, others, notes; of a shopper: "
        "user_id, at, last_event_at, objection, is_holdout, model_versions, coupons"
    ),
    "replay": (
        "an object: key, workers_key, lines, refused, events, ticks, applied, duplicates, dead_letters, decisions, "
        "issues, feedback, examples, decisions_sha256, state_blake2b, interrupted"
    ),
    "evaluate": (
        "an object: records, refused_lines, refused_feedback, feedback_on_none, redescribed_coupons, unknown_keys, "
        "issues, labelled, heads, slices, baselines"
    ),
    "ope": "an object: reward, decisions, shoppers, arms, valued, effects, warnings, notes",
    "lift": (
        "an object: rows, warnings, notes; each of rows: domain, campaign, since, until, treated, holdout, orders, "
        "expected_buyers, effects, assumed_ratio, discounts_minor, given, predicted_minor, open_minor, agrees, "
        "sample_ratio; each of effects, by outcome: treated_mean, holdout_mean, lift, unadjusted, total; "
        "sample_ratio: expected, found, evidence, is_mismatch"
    ),
    "simulate": (
        "an object: seed, shoppers, simulated_days, events, ticks, coupons_published, issues, duplicates, strangers, "
        "unreadable, impressions, clicks, redemptions, persuaded, discount_minor, order_value_minor, "
        "incremental_margin_minor, interrupted"
    ),
    "tune": (
        "an object: log, method, head, seed, trials, failed, best_trial, best_quality, used_today, found, "
        "split_at, searched, held_out, is_better, written"
    ),
    "schemas write": "an object: written",
    "schemas check": "an object: stale, breaking",
}
"""The form of each output, with the keys of the object, or of each object."""


def text_of(verb: str) -> str | None:
    """Return what the help of a verb says of its JSON; None if it prints none."""
    return f"With --json: {SHAPES[verb]}." if verb in SHAPES else None
