"""A worker that kills itself at a failpoint: `python -m tests.faults.failing_worker AT:COUNT --config FILE`.

It is the product's own worker, but for a SIGKILL at the COUNTth time that it comes to AT.
"""

import os
import signal
import sys
from typing import Any

from stream_coupons.cli.main import main
from stream_coupons.kafka.transactions import TransactionalProducer
from stream_coupons.runtime.batch import BatchProcessor
from stream_coupons.runtime.delivery import AtLeastOnce
from stream_coupons.runtime.faust_driver.consumer import BatchConsumer

AT = ("after-decide", "after-changelog", "after-output", "before-commit", "after-commit")


class Failpoint:
    """Counts down to the end of the process."""

    def __init__(self, spec: str) -> None:
        self.at, _, count = spec.partition(":")
        assert self.at in AT, f"{spec}: expected one of {', '.join(AT)}"
        self._left = int(count)

    def reach(self, at: str) -> None:
        """Die, if this is the place and the time."""
        if at == self.at:
            self._left -= 1
            if self._left <= 0:
                os.kill(os.getpid(), signal.SIGKILL)


def install(point: Failpoint) -> None:
    """Put the failpoint into the loop."""
    apply_all = BatchProcessor.apply_all

    def apply_and_reach(self: Any, *given: Any) -> Any:
        results = apply_all(self, *given)
        # What decides nothing is no place to die at.
        if any(result.outputs for result in results):
            point.reach("after-decide")
        return results

    BatchProcessor.apply_all = apply_and_reach  # type: ignore[method-assign]
    _around_sends(AtLeastOnce, point)
    _around_transactions(point)
    commit = BatchConsumer._commit

    async def commit_and_reach(self: Any, offsets: Any) -> Any:
        point.reach("before-commit")
        is_done = await commit(self, offsets)
        point.reach("after-commit")
        return is_done

    BatchConsumer._commit = commit_and_reach


def _around_sends(kind: Any, point: Failpoint) -> None:
    async def deliver(self: Any, agent: str, changes: Any, outputs: Any, offsets: Any) -> None:  # noqa: ARG001
        await self._senders[agent].deliver(changes, self.whole_bytes)
        if outputs:
            point.reach("after-changelog")
        await self._senders[agent].deliver(outputs)
        if outputs:
            point.reach("after-output")

    kind.deliver = deliver


def _around_transactions(point: Failpoint) -> None:
    append, end = TransactionalProducer._append, TransactionalProducer._take_producer

    async def append_and_reach(self: Any, *given: Any) -> None:
        await append(self, *given)
        point.reach("after-changelog")

    async def end_and_reach(self: Any, ask: Any) -> None:
        if is_begun := self._producer[0] >= 0:
            point.reach("after-output")
            point.reach("before-commit")
        await end(self, ask)
        if is_begun:
            point.reach("after-commit")

    TransactionalProducer._append = append_and_reach  # type: ignore[method-assign]
    TransactionalProducer._take_producer = end_and_reach  # type: ignore[method-assign]


if __name__ == "__main__":
    install(Failpoint(sys.argv[1]))
    sys.argv = ["stream-coupons", "worker", *sys.argv[2:]]
    main()
