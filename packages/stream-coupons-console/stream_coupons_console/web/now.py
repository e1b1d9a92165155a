"""The present: flow, lag, workers, and the latest decisions, each with its sentence."""

import asyncio
import time
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from stream_coupons.core.currencies import CENTS, money
from stream_coupons.core.errors import StreamCouponsError
from stream_coupons.core.reasons import NoCoupon
from stream_coupons.kafka import admin
from stream_coupons.ops.explain.candidate_verdicts import WORDS
from stream_coupons.ops.explain.feature_text import tell
from stream_coupons.ops.status import BudgetState, ModelState, SystemState, ask_worker, read_status
from stream_coupons.settings import Settings
from stream_coupons_console.index import RATES_OVER_S, Index, ShownDecision
from stream_coupons_console.web.money import campaign_states
from stream_coupons_console.web.render import page

SHOWN_DECISIONS = 30
STATUS_EVERY_S = 5.0
"""The broker is asked for the state of the system at most as often as this."""
GIVEN = "given"


class StatusReader:
    """Reads the state of the system now and then, however many pages ask."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = asyncio.Lock()
        self._read_at = -STATUS_EVERY_S
        self._found: SystemState | str = ""

    async def read(self, index: Index) -> SystemState | str:
        """Return the state of the system, at most some seconds old, or why it is not known."""
        async with self._lock:
            if time.monotonic() - self._read_at >= STATUS_EVERY_S:
                now = time.time()
                budgets = [
                    BudgetState(one.campaign.campaign_id, one.state, one.share_used, one.price)
                    for one in campaign_states(index, now)
                ]
                models = [
                    ModelState(one.domain, one.version, round(now - one.at, 1)) for one in index.snapshot_stamps()
                ]
                self._found = await asyncio.to_thread(self._ask, budgets, models)
                self._read_at = time.monotonic()
            return self._found

    def _ask(self, budgets: list[BudgetState], models: list[ModelState]) -> SystemState | str:
        kafka, worker = self._settings.kafka, self._settings.worker
        ports = [port for port in (worker.metrics_port, worker.learner_metrics_port) if port]
        workers = [ask_worker(f"http://{worker.metrics_host}:{port}") for port in ports]
        try:
            with admin.admin_client(kafka) as client:
                return read_status(client, kafka, budgets, [one for one in workers if one.answers], models)
        except StreamCouponsError as error:
            return str(error)


def sentence(shown: ShownDecision, index: Index) -> str:
    """Return a decision in one sentence: what was given and why, or why nothing was."""
    issue, currency = shown.issue, index.settings.shop.currency(shown.domain)
    if issue is not None:
        worth = money(issue.value_minor, currency or CENTS, sign="+", more=1)
        name = issue.title or issue.coupon_id
        if issue.is_explored:
            return f"got {name}, drawn by chance to learn from it (expected {worth})"
        strongest = next((tell(reason).sentence for reason in issue.reasons if reason.contribution > 0), "")
        return f"got {name}, expected to add {worth}" + (f": {strongest}" if strongest else "")
    if shown.decision is None or shown.result == GIVEN:
        return f"got {shown.coupon_id}"
    why = WORDS[NoCoupon(shown.result)]
    best = max(shown.decision.values_minor, default=None)
    if shown.result == "not_worth_it" and best is not None:
        count = len(shown.decision.arms)
        what = "the only coupon" if count == 1 else f"the best of {count} coupons"
        return f"got none: {what} would have added {money(best, currency or CENTS, sign='+', more=1)}"
    return f"got none: {why}"


async def show(request: Request) -> Response:
    """Return the page."""
    state = request.app.state
    index: Index = state.index
    counts = index.decision_counts(index.newest_at() - RATES_OVER_S)
    return page(
        request,
        "now",
        status_now=await state.status.read(index),
        counts=sorted(counts.items(), key=lambda one: -one[1]),
        decided=counts.total(),
        words=_words,
        decisions=[(one, sentence(one, index)) for one in index.latest(SHOWN_DECISIONS)],
        unread=index.unread,
    )


def _words(result: str) -> Any:
    return "a coupon was given" if result == GIVEN else WORDS[NoCoupon(result)]


ROUTES = [Route("/now", show, name="now")]
