"""The phases of our pipeline that are timed, and how: CPU before and after every call, without sampling.

A phase's time is its own: what phases called inside it take is theirs. What the timing itself costs is measured first
and taken off by the number of calls.
"""

import functools
import importlib
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

BATCH, APPLY = "stream_coupons.runtime.batch", "stream_coupons.runtime.apply"
CELLS, KEYED = "stream_coupons.runtime.cells", "stream_coupons.agents.keyed"
PIPELINE, NEIGHBOURHOOD = "stream_coupons.core.decision.pipeline", "stream_coupons.core.neighbours.buckets"
SCORING = "stream_coupons.core.decision.scoring"
POLICY, WALLET = "stream_coupons.core.decision.policy", "stream_coupons.core.money.wallet"


class Phase(NamedTuple):
    """A name for some functions, each as (module, attribute where its caller finds it)."""

    name: str
    functions: tuple[tuple[str, str], ...]


PHASES = (
    Phase("batch: rest (loop, replay check, marks, deadlines)", ((BATCH, "BatchProcessor.apply_all"),)),
    Phase("batch: headers and outbox", ((APPLY, "Applier._send"),)),
    Phase("cell: decode", ((CELLS, "CellCodec.decode"),)),
    Phase("cell: encode", ((CELLS, "CellCodec.encode_within"),)),
    Phase("cell: prune outbox", ((CELLS, "Cell.prune"),)),
    Phase("parse: decode message", (("stream_coupons.kafka.codec", "Decoder.__call__"),)),
    Phase("parse: key and rest", ((KEYED, "KeyedAgent.parse"),)),
    Phase("agent: dispatch and effects", ((KEYED, "KeyedAgent.apply"),)),
    Phase("output: encode message, partition", ((KEYED, "output"),)),
    Phase("take in: rest", ((PIPELINE, "take_in"),)),
    Phase("take in: known event?", ((PIPELINE, "is_duplicate"),)),
    Phase("take in: fold", ((PIPELINE, "fold"),)),
    Phase("take in: observe order", ((PIPELINE, "observe_order"),)),
    Phase("take in: publish vector", ((PIPELINE, "publish_vector"),)),
    Phase("decide: rest", ((PIPELINE, "decide"),)),
    Phase("decide: eligible", ((PIPELINE, "eligible"),)),
    Phase("decide: look", ((SCORING, "look"),)),
    Phase("decide: shortlist", ((SCORING, "shortlist"),)),
    Phase("decide: extract", ((SCORING, "extract"),)),
    Phase("decide: predict", (("stream_coupons.models.linear", "OwnScorer.predict"),)),
    Phase("decide: values", ((POLICY, "values"),)),
    Phase("decide: choose", ((POLICY, "pick"),)),
    Phase("decide: what can be had", ((WALLET, "Wallet.charge"),)),
    Phase("give: rest", ((PIPELINE, "give"),)),
    Phase("give: draw", ((WALLET, "Wallet.draw"),)),
    Phase("give: reasons", (("stream_coupons.core.decision.issuing", "_reasons"),)),
    Phase("users: learn neighbours", ((PIPELINE, "learn_neighbours"),)),
    Phase("users: next deadline", (("stream_coupons.agents.users", "next_due"),)),
    Phase("neighbours: rest", (("stream_coupons.agents.neighbours", "update"),)),
    Phase("neighbours: put into cell", ((NEIGHBOURHOOD, "BucketVectors.put"),)),
    Phase("neighbours: nearest", ((NEIGHBOURHOOD, "BucketVectors.nearest"),)),
)
"""In the order of the table. A function that is not there any more is named in the result, and the others are timed."""


class Stopwatch:
    """Sums of CPU seconds and calls by phase."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.calls: Counter[str] = Counter()
        self.inner_calls: Counter[str] = Counter()
        """Calls of other phases that a phase made."""
        self.missing: list[str] = []
        self._running: list[str] = [""]
        self._since = 0.0

    def timed(self, phase: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, timed."""

        @functools.wraps(function)
        def call(*arguments: Any, **named: Any) -> Any:
            now = time.process_time()
            outer = self._running[-1]
            self.seconds[outer] += now - self._since
            self.inner_calls[outer] += 1
            self.calls[phase] += 1
            self._running.append(phase)
            self._since = time.process_time()
            try:
                return function(*arguments, **named)
            finally:
                now = time.process_time()
                self.seconds[phase] += now - self._since
                self._running.pop()
                self._since = time.process_time()

        return call

    @contextmanager
    def watching(self, phases: tuple[Phase, ...] = PHASES) -> Iterator[None]:
        """Time these functions wherever they are called."""
        undo = []
        for phase in phases:
            for module, path in phase.functions:
                owner: Any = importlib.import_module(module)
                *outer, name = path.split(".")
                for part in outer:
                    owner = getattr(owner, part, None)
                function = getattr(owner, name, None)
                if function is None:
                    self.missing.append(f"{module}.{path}")
                    continue
                undo.append((owner, name, function))
                setattr(owner, name, self.timed(phase.name, function))
        self._since = time.process_time()
        try:
            yield
        finally:
            for owner, name, function in undo:
                setattr(owner, name, function)

    def own_seconds(self) -> dict[str, float]:
        """Seconds by phase, without what the timing cost."""
        inside, around = overhead()
        return {
            phase: max(self.seconds[phase] - self.calls[phase] * inside - self.inner_calls[phase] * around, 0.0)
            for phase in self.calls
        }


def overhead(calls: int = 100_000) -> tuple[float, float]:
    """Seconds that a timed call adds to its own phase, and to the phase that makes it."""
    watch = Stopwatch()
    inner = watch.timed("inner", _nothing)

    def many() -> None:
        for _ in range(calls):
            inner()

    watch.timed("outer", many)()
    began = time.process_time()
    for _ in range(calls):
        _nothing()
    bare = (time.process_time() - began) / calls
    return max(watch.seconds["inner"] / calls - bare, 0.0), watch.seconds["outer"] / calls


def _nothing() -> None:
    pass
