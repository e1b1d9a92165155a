"""Scorers of learnt heads: by arrays where every champion compiles to them, else row by row."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from stream_coupons.core.catalogue.compiled import Floats
from stream_coupons.core.draws import PUBLIC_KEY, DrawKey
from stream_coupons.core.errors import SnapshotMismatch
from stream_coupons.core.messages.learning import HeadState, ModelSnapshot
from stream_coupons.models.carry_over import carried
from stream_coupons.models.encoding import BIAS
from stream_coupons.models.incremental import ShopModels, served_by
from stream_coupons.models.level import level_of
from stream_coupons.models.linear import ALL_HEADS, LinearScorer, live, prior_array
from stream_coupons.models.rules import LearningRules, ModelName
from stream_coupons.models.snapshots import (
    LEVEL,
    check,
    label,
    named,
    unpack_model,
    unpack_part,
    unpack_state,
)
from stream_coupons.models.states import check_linear
from stream_coupons.models.viewed_prices import viewed_prices_of

if TYPE_CHECKING:  # imported where a model from another package serves
    from stream_coupons.models.row_scorer import RowScorer, Served

DEFAULT_RULES = LearningRules()
SERVED = ("places", "weights")
"""Arrays of an own model that decisions need. The others, most of a snapshot, are for the learner alone."""
HeadScorer: TypeAlias = "LinearScorer | RowScorer"


def scorer_of(version: int, served: Mapping[str, Served], shop: ShopModels) -> HeadScorer:
    """Return a scorer of all heads, of copied weights and models: by arrays where every champion compiles to them.

    Parameters
    ----------
    version : int
        Number of the snapshot.
    served : mapping
        Weights or model of each of `linear.ALL_HEADS`.
    shop : ShopModels
        Models beside the heads.
    """
    columns = _columns(served)
    if columns is not None:
        return LinearScorer(version, np.stack(columns), shop)
    copies = {head: copy.deepcopy(model) for head, model in served.items()}
    from stream_coupons.models.row_scorer import RowScorer

    return RowScorer(version, copies, shop)


def live_scorer(version: int, served: Mapping[str, Served], shop: ShopModels) -> HeadScorer:
    """Return a scorer equal to that of `scorer_of`, without copies: later learning changes it.

    Parameters
    ----------
    version, served, shop : int, mapping and ShopModels
        As of `scorer_of`.
    """
    columns = _columns(served)
    if columns is None:
        from stream_coupons.models.row_scorer import RowScorer

        return RowScorer(version, served, shop)
    return live(version, columns, shop)


def _columns(served: Mapping[str, Served]) -> list[Floats] | None:
    """Return the weights of `ALL_HEADS`; None if one head has no array."""
    arrays = [each for head in ALL_HEADS if isinstance(each := served[head], np.ndarray)]
    return arrays if len(arrays) == len(ALL_HEADS) else None


def compile_snapshot(
    snapshot: ModelSnapshot, rules: LearningRules = DEFAULT_RULES, key: DrawKey = PUBLIC_KEY
) -> HeadScorer:
    """Return the scorer of a snapshot, from the state of each head's champion.

    Parameters
    ----------
    snapshot : ModelSnapshot
        As read from its topic.
    rules : LearningRules
        Names the models from other packages that may serve.
    key : DrawKey
        The learner's: it signed the pickles of River classifiers.

    Raises
    ------
    SnapshotMismatch
        If the snapshot does not fit this program.
    """
    snapshot = carried(snapshot)
    check(snapshot)
    served = {}
    for head in ALL_HEADS:
        with named(f"{label(snapshot)}, {head}"):
            served[head] = _served(head, snapshot.heads[head], rules, key)
    with named(f"{label(snapshot)}, viewed_prices"):
        viewed_prices = viewed_prices_of(unpack_state(snapshot.viewed_prices))
    with named(f"{label(snapshot)}, incremental"):
        incremental = served_by(unpack_state(snapshot.incremental))
    return scorer_of(snapshot.version, served, ShopModels(viewed_prices, incremental))


def _served(name: str, head: HeadState, rules: LearningRules, key: DrawKey) -> Served:
    """Return the served weights, the champion's or the prior's, or the champion."""
    served = None if head.champion in rules.imported else SERVED
    state, level = unpack_model(head, head.champion, key, served), unpack_part(head, LEVEL)
    if state is None or level is None:
        raise SnapshotMismatch(f"the champion {head.champion} or its level is missing")
    is_off = level_of(level).is_off
    if head.champion in rules.imported:
        from stream_coupons.models.plugins import make_plugin

        model = make_plugin(head.champion, name, rules, key)
        model.restore(state)
        return prior_array(name) if is_off else model
    if head.champion not in {*ModelName}:
        raise SnapshotMismatch(f"the champion is {head.champion!r}: expected a model of this worker's learning.models")
    check_linear(state)
    if is_off:
        return prior_array(name)
    weights = np.zeros(BIAS + 1)
    weights[state["places"]] = state["weights"]
    return weights
