"""A context that holds an outcome is refused, and a context that predicts one is not."""

import random
from collections.abc import Callable
from typing import Any

import pytest

from lab.foreign_logs import AT, HOUR_S, Record, feedback, issue, read
from stream_coupons.core.errors import BadConfig

Context = Callable[[bool, random.Random], dict[str, Any]]
"""The context of a decision with, or without, a purchase."""


def log_of(context: Context, *, decisions: int = 2000, rate: float = 0.1, kind: str = "purchase") -> list[Record]:
    rng, records = random.Random(3), list[Record]()
    for n in range(decisions):
        buys = rng.random() < rate
        records.append(issue(f"i{n}", AT + n, context=context(buys, rng)))
        if buys:
            records.append(feedback(kind, f"i{n}", AT + n + HOUR_S, order_value_minor=500))
    return records


LEAKS: dict[str, Context] = {
    "a flag": lambda buys, _: {"converted": buys},
    "its opposite": lambda buys, _: {"lost": int(not buys)},
    "a code": lambda buys, _: {"status": "B" if buys else "N"},
    "one of many codes": lambda buys, rng: {"status": "bought" if buys else rng.choice(["open", "sent", "lost"])},
    "an amount": lambda buys, rng: {"revenue": rng.uniform(1, 99) if buys else 0.0},
    "an id": lambda buys, rng: {"order": f"o{rng.random()}"} if buys else {},
    "a cost of those without": lambda buys, rng: {"reward": rng.uniform(1, 99) if buys else -2},
    "nearly always": lambda buys, rng: {"converted": buys if rng.random() < 0.998 else not buys},
}
KNOWN: dict[str, Context] = {
    "a constant": lambda _, __: {"country": "de"},
    "a number that is always there": lambda _, rng: {"age": rng.randrange(18, 80)},
    "the value of the cart": lambda buys, rng: {"cart": 500 if buys else rng.choice([500, 700, 900])},
    "a strong predictor": lambda buys, rng: {"is_member": buys if rng.random() < 0.97 else not buys},
    "all who buy, and some others": lambda buys, rng: {"asked": buys or rng.random() < 0.05},
    "none but buyers, and not all": lambda buys, rng: {"has_voucher": buys and rng.random() < 0.9},
}


@pytest.mark.parametrize("rate", [0.05, 0.5, 0.95])
@pytest.mark.parametrize("kind", ["click", "purchase"])
@pytest.mark.parametrize("context", LEAKS.values(), ids=[*LEAKS])
def test_an_outcome_in_the_context_is_refused(context: Context, kind: str, rate: float) -> None:
    with pytest.raises(BadConfig, match=rf"log.jsonl: context field '\w+' is an outcome: .* a {kind}, .* leave it out"):
        read(log_of(context, kind=kind, rate=rate))


@pytest.mark.parametrize("rate", [0.03, 0.1, 0.5, 0.9, 0.97])
@pytest.mark.parametrize("context", KNOWN.values(), ids=[*KNOWN])
def test_what_is_known_at_the_decision_is_kept(context: Context, rate: float) -> None:
    log = read(log_of(context, rate=rate))
    assert log.counts["issue"] == 2000
    assert 40 < log.counts["feedback"] < 1960


def test_few_decisions_are_no_evidence() -> None:
    assert read(log_of(LEAKS["a flag"], decisions=30, rate=0.5)).counts["issue"] == 30
