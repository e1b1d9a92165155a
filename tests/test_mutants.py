"""The suite is worth something: each of these mutants of the program turns it red.

A mutant is a copy of the package with one piece of text replaced. Run against it are the tests that need no broker.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SUITE = ("tests/runtime", "tests/core", "tests/agents")
MUTANTS = {
    "a copy of an event counts again": (
        "core/profile.py",
        "    if place_of(profile.seen, digest) >= 0:\n        return True\n",
        "",
    ),
    "a copy of a message counts again": (
        "runtime/cells.py",
        "return found is not None and found[1] <=",
        "return False and found is not None and found[1] <=",
    ),
    "a replayed record is applied again": (
        "runtime/cells.py",
        "return record.offset <= self.applied.get(record.topic, -1)",
        "return False",
    ),
    "a replayed record is not answered again": (
        "runtime/batch.py",
        "result.slot().extend(kept.again(record) for kept in cell.kept_for(record))",
        "pass",
    ),
    "what was finished later is said later": (
        "runtime/batch.py",
        "self._conclude(attempt, key, one.record, outcome, one.slot)",
        "self._conclude(attempt, key, one.record, outcome, None)",
    ),
    "one more than the stock": (
        "core/ledger.py",
        "ledger.reserved + ledger.issued >= coupon.stock",
        "ledger.reserved + ledger.issued > coupon.stock",
    ),
    "stock is not looked at": (
        "core/ledger.py",
        "if coupon.stock is not None and",
        "if False and",
    ),
    "budget is not looked at": (
        "core/ledger.py",
        "if committed <= coupon.budget_minor",
        "if committed < float('inf') or committed <= coupon.budget_minor",
    ),
    "acknowledged before it is delivered": (
        "runtime/lane.py",
        "        await self._delivery.deliver(self.name,",
        "        for message in messages:\n"
        "            consumer.acknowledge(message, is_committed=self._delivery.is_transactional)\n"
        "        await self._delivery.deliver(self.name,",
    ),
    "outputs before cells": (
        "runtime/delivery.py",
        "[change for parcel in parcels for change in parcel.changes]",
        "[output for parcel in parcels for output in parcel.outputs]",
    ),
    "a transaction is committed of which a record was refused": (
        "runtime/delivery.py",
        "await wait_for_all(answers)",
        "await asyncio.gather(*answers, return_exceptions=True)",
    ),
    "read before the predecessor is shut out": (
        "runtime/lane.py",
        "await self._delivery.take_over(self.name, gained)\n"
        "        while (count := await self._recover(gained)) is None:\n"
        "            await self.sleep(MEND_PAUSE_S)\n"
        "            if self.should_stop or ownership is not self.inbox.ownership:\n                return\n",
        "while (count := await self._recover(gained)) is None:\n            await self.sleep(MEND_PAUSE_S)\n"
        "            if self.should_stop or ownership is not self.inbox.ownership:\n                return\n"
        "        await self._delivery.take_over(self.name, gained)\n",
    ),
    "a broken chain is taken": (
        "runtime/consumer.py",
        "if self._taken.get(chunk.tp) != chunk.previous:",
        "if False:",
    ),
    "what a stream skipped is committed": (
        "runtime/consumer.py",
        "                self.add_future(self._rewind(chunk.tp))\n        return False",
        "                self._done[chunk.tp] = chunk.end\n        return False",
    ),
    "a lease that has run out does not hold back": (
        "runtime/producer.py",
        "if not is_held():",
        "if False:",
    ),
}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_turns_the_suite_red(name: str, tmp_path: Path) -> None:
    path, old, new = MUTANTS[name]
    shutil.copytree(ROOT / "stream_coupons", tmp_path / "stream_coupons")
    mutant = tmp_path / "stream_coupons" / path
    text = mutant.read_text(encoding="utf-8")
    assert text.count(old) == 1, f"{path} has changed: {old!r} stands in it {text.count(old)} times"
    mutant.write_text(text.replace(old, new), encoding="utf-8")
    # -P: the folder that it runs in must not come before the mutant.
    command = [sys.executable, "-P", "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *SUITE]
    run = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 1, f"the suite did not fail:\n{run.stdout[-2000:]}{run.stderr[-2000:]}"
    assert "failed" in run.stdout
