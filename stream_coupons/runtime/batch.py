"""Apply batches of records to the table of one agent: pure of Kafka and Faust, so it runs under any test.

A batch is all or nothing until it is sent. All partitions are applied together (`apply`). If a part of them cannot be
applied, the batch is rolled back and each partition is applied alone; in one that fails again, the guilty records and
keys are isolated (`isolate`).
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Any, Generic, TypeVar

from stream_coupons.kafka.records import Output, Record
from stream_coupons.runtime.apply import Applier, Attempt
from stream_coupons.runtime.cells import CellCodec, CellStore, StateCodec
from stream_coupons.runtime.isolate import Isolation, TooManyFailures
from stream_coupons.runtime.shard import AgentTable, Shard
from stream_coupons.runtime.steps import CannotApply, KeyedStep, Result

State = TypeVar("State")
Work = tuple[Sequence[Record], Mapping[str, int]]
"""Records of a partition, and the next offset to be delivered after a restart, by topic."""

MAX_LIVE = 4096
"""Cells kept decoded after they were saved, in all partitions together: shoppers come in sessions, so most records are
of a key seen lately."""


class BatchProcessor(Generic[State]):
    """Applies batches to the cells of one agent.

    Parameters
    ----------
    step : KeyedStep
        The agent's step.
    ticks : str
        Name of the topic whose records report that time has passed in their partition.
    partition_for : callable
        Key and number of partitions to partition.
    partitions : int
        Number of partitions of every topic that the agent reads.
    keeps_outputs : bool
        True if a cell keeps its outputs until their input is committed. Not needed where states, outputs and offsets
        are appended in one transaction: an input whose state was saved does not come again.
    max_cell_bytes : int
        The most that a cell may take, bytes. A record that would make it grow beyond is refused.
    """

    def __init__(
        self,
        step: KeyedStep[State],
        ticks: str,
        partition_for: Callable[[bytes, int], int],
        partitions: int,
        *,
        keeps_outputs: bool = True,
        max_cell_bytes: int = sys.maxsize,
    ) -> None:
        self.step = step
        self._codec = CellCodec(step.state_type, max_cell_bytes)
        self._shared_codec: StateCodec[Any] | None = None if step.shared_type is None else StateCodec(step.shared_type)
        self._table = AgentTable(
            step, ticks, keeps_outputs, self._codec, self._shared_codec, lambda key: partition_for(key, partitions)
        )
        self._applier = Applier(self._table)
        self._shards: dict[int, Shard[State]] = {}

    @property
    def owned(self) -> set[int]:
        """The partitions adopted."""
        return set(self._shards)

    def cells(self, partition: int) -> CellStore:
        """Return the saved cells of a partition."""
        return self._shards[partition].cells

    def state(self, partition: int, key: str) -> State:
        """Return the saved state of a key, or a new one, only to be read.

        Parameters
        ----------
        partition : int
            An owned partition.
        key : str
            Key of the state.
        """
        shard = self._shards[partition]
        return (shard.live.get(key) or shard.saved(key)).state

    def shared(self, partition: int) -> Mapping[str, Any]:
        """Return the saved states that all keys of a partition share, only to be read."""
        return self._shards[partition].shared

    def adopt(self, partition: int, cells: CellStore) -> int:
        """Take over a partition with these saved cells. Returns their number.

        Parameters
        ----------
        partition : int
            Number of the partition.
        cells : CellStore
            Its saved cells.

        Raises
        ------
        UnreadableCell
            If one of them is none.
        """
        self.drop(partition)
        shard = self._shards[partition] = Shard(partition, cells, self._table)
        return shard.recover()

    def unsent(self, partition: int, committed: Mapping[str, int]) -> list[Output]:
        """Return what the last owner of a partition may not have sent, in the order in which it was decided.

        It is to be sent before anything else of the partition: so what comes of a key keeps that order, whichever of
        its inputs comes again first. What repeats the value of its input is left out, and sent when that comes.

        Parameters
        ----------
        partition : int
            An owned partition.
        committed : mapping of str to int
            The next offset to be delivered, by topic: the outputs of what lies below were sent.
        """
        kept = [one for one in self._shards[partition].unsent if one.offset >= committed.get(one.topic, 0)]
        return [one.output for one in sorted(kept, key=lambda one: one.number) if one.output.value is not None]

    def sent(self, partition: int) -> None:
        """Note that what was unsent is sent."""
        self._shards[partition].unsent.clear()

    def drop(self, partition: int) -> None:
        """Forget a partition: it is somebody else's."""
        shard = self._shards.pop(partition, None)
        if shard is not None:
            shard.cells.discard()
            self.step.forget(partition)

    def ends(self, partition: int) -> Mapping[str, int]:
        """Return, by topic, the offset behind the last record applied: the log of a partition does not end before."""
        return self._shards[partition].ends

    def reach(self, partition: int, ends: Mapping[str, int]) -> None:
        """Note how far records were applied.

        Parameters
        ----------
        partition : int
            An owned partition.
        ends : mapping of str to int
            Offset behind the last record applied, by topic.
        """
        shard = self._shards[partition]
        shard.ends |= {topic: max(end, shard.ends.get(topic, 0)) for topic, end in ends.items()}

    def save(self, result: Result) -> None:
        """Replace saved cells by the new ones, which the broker has."""
        shard = self._shards[result.partition]
        shard.cells.save(result.cells)
        shard.live.update(result.live)
        shard.shared.update(result.shared)
        for key in list(islice(shard.live, max(len(shard.live) - MAX_LIVE // len(self._shards), 0))):
            del shard.live[key]

    def give_back(self, result: Result) -> None:
        """Undo a result that is not to be saved."""
        shard = self._shards[result.partition]
        shard.undo(result.last_tick, result.open_tick, ((key, shard.saved(key)) for key in result.live))

    def apply(self, partition: int, records: Sequence[Record], committed: Mapping[str, int]) -> Result:
        """Apply records of one partition number, of any of the agent's topics, in order.

        Parameters
        ----------
        partition : int
            An adopted partition.
        records : sequence of Record
            In the order in which they were appended, topic by topic.
        committed : mapping
            The next offset to be delivered after a restart, by topic: what lies below is never replayed.
        """
        return self.apply_all({partition: (records, committed)})[0]

    def apply_all(self, work: Mapping[int, Work], most: int = sys.maxsize) -> list[Result]:
        """Apply records of several partitions; they are decided together.

        Parameters
        ----------
        work : mapping of int to Work
            By partition.
        most : int
            Most steps in a partition: records, and keys for which a tick passes. The result has what is left.

        Raises
        ------
        TooManyFailures
            If more than `MAX_FAILURES` steps raise in one partition.
        """
        try:
            return self._run(self._applier, work, self._codec.max_bytes, most)
        except CannotApply:
            if len(work) == 1:
                # Every trial checks the size: a cell that was larger before may stay so.
                return self._run(Isolation(self._table), work, sys.maxsize, most)
            return [self.apply_all({partition: part}, most)[0] for partition, part in work.items()]

    def _run(self, applier: Applier[State], work: Mapping[int, Work], max_cell_bytes: int, most: int) -> list[Result]:
        """Apply and encode, or roll everything back."""
        parts = [
            (Attempt(self._shards[partition], committed, most=most), records)
            for partition, (records, committed) in work.items()
        ]
        try:
            applier.apply_all(parts)
            return [attempt.encode(max_cell_bytes) for attempt, _ in parts]
        except (CannotApply, TooManyFailures):
            for attempt, _ in parts:
                attempt.roll_back()
            raise
