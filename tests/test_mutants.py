"""Each of these changes to the program breaks a property, and the test of that property fails by an assertion.

A mutant is a copy of the package with one piece of text replaced. An exception that the change itself raises proves
nothing, so only a failed assertion counts. `make mutants` tries many more, made by a tool.
"""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ERROR = re.compile(r"^E +(.+)", re.MULTILINE)
ASSERTIONS = ("assert ", "AssertionError", "Failed: DID NOT RAISE")


@dataclass(frozen=True)
class Mutant:
    """A change of a file, and the test that names the property which it breaks."""

    path: str
    old: str
    new: str
    test: str


MUTANTS = {
    "a copy of an event counts again": Mutant(
        "core/shopper/profile.py",
        "    if digest in profile.seen and place_of(profile.seen, digest) >= 0:\n        return True\n",
        "",
        "core/shopper/test_profile.py::test_an_event_is_a_duplicate_within_the_horizon_only",
    ),
    "a lost call for what lies idle is not repeated": Mutant(
        "core/money/leases.py",
        "not holding.is_called or abs(at - holding.called_at) >= ASK_AGAIN_S",
        "not holding.is_called",
        "core/money/test_leases.py::test_a_lost_call_for_what_lies_idle_is_repeated",
    ),
    "a replayed record is applied again": Mutant(
        "runtime/cells.py",
        "return record.offset <= self.applied.get(record.topic, -1)",
        "return False",
        "runtime/test_batch.py::test_a_replay_after_a_crash_sends_the_old_bytes_and_decides_nothing_anew",
    ),
    "a dead letter of a replayed record is not sent again": Mutant(
        "runtime/apply.py",
        "slot.extend(cell.repeats_of(record))",
        "pass",
        "runtime/test_batch.py::test_what_repeats_its_input_is_sent_again_without_being_kept",
    ),
    "what a predecessor had not sent is not sent": Mutant(
        "runtime/agent_loop.py",
        "            await self._delivery.deliver(self.name, (), outputs, {})\n",
        "            pass\n",
        "runtime/test_agent_loop.py::"
        "test_who_takes_over_sends_what_its_predecessor_may_not_have_sent_before_it_is_ready",
    ),
    "what a predecessor had not sent is sent in another order": Mutant(
        "runtime/batch.py",
        "sorted(kept, key=lambda one: one.number)",
        "sorted(kept, key=lambda one: (one.topic, one.offset))",
        "runtime/test_batch.py::"
        "test_what_comes_of_a_key_is_in_the_order_of_its_decisions_whichever_input_comes_first_after_a_crash",
    ),
    "what was decided in a round is said behind it": Mutant(
        "runtime/apply.py",
        "self._send(attempt, attempt.loaded[key], record, outcome, slot, 0)",
        "self._send(attempt, attempt.loaded[key], record, outcome, attempt.slot(), 0)",
        "runtime/test_batch.py::test_a_record_refused_amid_a_round_is_a_dead_letter_in_its_place",
    ),
    "a round goes on though its key is undecided": Mutant(
        "runtime/apply.py",
        "                    if key in open_keys:\n                        break\n",
        "",
        "runtime/test_batch.py::test_a_round_is_committed_before_its_key_changes_or_time_passes",
    ),
    "what a step books is lost": Mutant(
        "agents/keyed.py",
        "        self.settle(effects, record.partition, shared)\n",
        "",
        "agents/test_keyed.py",
    ),
    "an order that a coupon brings about counts as one without it": Mutant(
        "models/learner.py",
        "of_demand.held = example.held",
        "pass",
        "models/test_effect.py::test_what_a_coupon_in_hand_adds_to_a_visit_is_left_out",
    ),
    "a report frees what is held": Mutant(
        "core/shopper/state.py",
        "return Stake(max(self.held_minor - spent_minor, 0), spent_minor=spent_minor, rest_minor=rest_minor)",
        "return Stake(spent_minor=spent_minor)",
        "core/decision/test_uses.py::test_a_first_report_of_0_frees_nothing_for_others",
    ),
    "a second order of a coupon corrects the first": Mutant(
        "core/shopper/uses.py",
        "order = stable_hash(order_id)",
        "order = 1",
        "core/decision/test_uses.py::test_each_order_that_a_coupon_is_used_in_is_booked_in_full",
    ),
    "one more than the stock": Mutant(
        "core/money/leases.py",
        "        if rest < least:\n",
        "        if rest < least - 1:\n",
        "core/money/test_leases.py::test_no_limit_is_passed_though_messages_are_lost_doubled_and_reordered",
    ),
    "what is available is not looked at": Mutant(
        "core/money/wallet.py",
        "purse.available >= amount and",
        "purse.available >= amount - 1 and",
        "core/money/test_wallet.py",
    ),
    "a coupon is given beyond the bound of a budget": Mutant(
        "core/money/purses.py",
        "    return max(held, _least_committed(purse.worst + most_minor, limit.max_overspend_ratio)) - purse.committed",
        "    return held - purse.committed",
        "core/money/test_overspend.py::test_the_worst_case_is_what_was_stated_no_less_and_no_more",
    ),
    "what a hold has lost is free beyond the bound": Mutant(
        "core/money/purses.py",
        "    purse.freed += freed\n    _reserve(purse)\n",
        "    purse.freed += freed\n",
        "core/money/test_purses.py",
    ),
    "a step that raises keeps what it drew": Mutant(
        "runtime/steps.py",
        "state = copy.copy(below) if below is not None",
        "state = below if below is not None",
        "runtime/test_shared.py::test_a_step_that_raises_has_drawn_nothing_and_the_others_draw_once",
    ),
    "what a cell too large has drawn is kept": Mutant(
        "runtime/apply.py",
        "SharedStates(below, self._step.new_shared)",
        "SharedStates(below, dict) if parent is None else parent.shared",
        "runtime/test_shared.py::test_a_record_that_would_make_a_cell_too_large_has_drawn_nothing",
    ),
    "what a failed record changed is not undone": Mutant(
        "runtime/isolate.py",
        "            trial.roll_back()\n",
        "",
        "runtime/test_batch.py::test_a_record_that_cannot_be_applied_is_a_dead_letter_as_if_it_never_came",
    ),
    "cells of a partition are several batches": Mutant(
        "kafka/producer.py",
        "in_batches(outputs, batch_bytes, codec)",
        "in_batches(outputs, 1, codec)",
        "kafka/test_producer.py::test_up_to_the_bytes_asked_for_the_records_of_a_partition_are_one_batch",
    ),
    "acknowledged before it is delivered": Mutant(
        "runtime/agent_loop.py",
        "        results = await self._apply(work, ends)\n",
        "        for message, chunks in taken:\n"
        "            consumer.acknowledge(message, chunks, is_committed=self._delivery.is_transactional)\n"
        "        results = await self._apply(work, ends)\n",
        "runtime/test_agent_loop.py::test_what_cannot_be_delivered_is_neither_saved_nor_acknowledged",
    ),
    "outputs before states": Mutant(
        "runtime/delivery.py",
        "deliver(changes, self.whole_bytes, ZSTD)\n        await self._senders[agent].deliver(outputs)",
        "deliver(outputs)\n        await self._senders[agent].deliver(changes, self.whole_bytes, ZSTD)",
        "runtime/test_delivery.py::test_at_least_once_appends_all_cells_before_any_output",
    ),
    "a transaction is committed of which a record was refused": Mutant(
        "kafka/transactions.py",
        "await wait_for_all([self._append(",
        "await asyncio.gather(return_exceptions=True, *[self._append(",
        "kafka/test_transactions.py::test_nothing_is_committed_of_which_a_part_was_refused",
    ),
    "a broken chain is taken": Mutant(
        "runtime/faust_driver/consumer.py",
        "if self._taken.get(chunk.tp) != chunk.previous:",
        "if False:",
        "runtime/faust_driver/test_consumer.py::test_a_chunk_that_vanished_is_noticed_by_the_next_one",
    ),
    "what a stream skipped is committed": Mutant(
        "runtime/faust_driver/consumer.py",
        "                self.add_future(self._rewind(chunk.tp))\n        return False",
        "                self._done[chunk.tp] = chunk.end\n        return False",
        "runtime/faust_driver/test_consumer.py::test_a_chunk_that_a_stream_skipped_is_handed_on_again_and_nothing_overtakes_it",
    ),
    "a rebalance without the member does not end its lease": Mutant(
        "kafka/membership_lease.py",
        "min(self._ends_at)",
        "self._ends_at[0]",
        "kafka/test_membership_lease.py::test_answers_amid_a_rebalance_extend_the_session_but_not_the_rebalance",
    ),
    "a lease that has run out does not hold back": Mutant(
        "kafka/producer.py",
        "if not is_held():",
        "if False:",
        "kafka/test_producer.py::test_no_record_leaves_without_a_lease_but_other_requests_do",
    ),
}


@pytest.mark.process
@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_fails_the_assertion_of_its_property(name: str, tmp_path: Path) -> None:
    mutant = MUTANTS[name]
    shutil.copytree(ROOT / "stream_coupons", tmp_path / "stream_coupons")
    path = tmp_path / "stream_coupons" / mutant.path
    text = path.read_text(encoding="utf-8")
    assert text.count(mutant.old) == 1, f"{path.name} has changed: {mutant.old!r} stands {text.count(mutant.old)} times"
    path.write_text(text.replace(mutant.old, mutant.new), encoding="utf-8")
    # -P and append: neither the folder that it runs in nor that of the tests must come before the mutant.
    options = ("-q", "-x", "--tb=short", "--timeout=60", "-p", "no:cacheprovider", "--import-mode=append")
    run = subprocess.run(
        [sys.executable, "-P", "-m", "pytest", *options, f"tests/{mutant.test}"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 1, f"the test did not fail:\n{run.stdout[-2000:]}{run.stderr[-2000:]}"
    [error, *_] = ERROR.findall(run.stdout)
    assert error.startswith(ASSERTIONS), f"no assertion failed, but {error}"
