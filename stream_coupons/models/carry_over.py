r"""Snapshots of another feature space, carried over to that of this program by the names of the numeric features.

The name of a feature space is a digest of its features and of the constants of hashing. So the digest of a snapshot's
own features with this program's constants states whether both agree (`is_carriable`). If they do, a hashed feature has
the same index and group in both, and only the indices of numeric features and their bins change.

A feature that stays keeps what is learnt of it. A new one starts from its prior. One that is gone is removed: from a
Kalman filter by conditioning on a weight of 0, which is the fit without it:

.. math:: w \leftarrow w - P_{\cdot d}\,w_d / P_{dd}, \qquad P \leftarrow P - P_{\cdot d}\,P_{d \cdot} / P_{dd}

Other features then take over what they share with it. All else of a domain stays: progress, level, drift, comparisons
and prices. River classifiers know features by name and stay as they are. The state of a model of another
package has an unknown layout: the model starts from the prior.
"""

from collections.abc import Mapping, Sequence

import msgspec
import numpy as np

from stream_coupons.core.errors import SnapshotMismatch
from stream_coupons.core.features.numeric import NUMERIC
from stream_coupons.core.features.rows import DIMENSIONS, HASHED, SCHEMA, schema_of
from stream_coupons.core.messages.learning import Array, HeadState, ModelSnapshot
from stream_coupons.models.encoding import BIAS, BINS, FIRST_BIN, HELD, MOST_JOINT, Indices
from stream_coupons.models.linear import prior_weights
from stream_coupons.models.rules import ModelName
from stream_coupons.models.snapshots import (
    COMPARISON,
    DRIFT,
    FORMAT_VERSION,
    LEVEL,
    check,
    checksum,
    label,
    named,
    pack_state,
    unpack_state,
)
from stream_coupons.models.states import PICKLE, State, check_finite, check_places

KEPT_PARTS = frozenset({DRIFT, LEVEL})
WEIGHTS = ("weights", "centres", "reviewed")
"""Columns of linear models that start from the prior; the others start from 0."""
COLUMNS = (*WEIGHTS, "variances", "first_variances", "seen", "groups")
MAX_FEATURES = 1024
"""Bound of the numeric features of a snapshot; a longer list is forged."""
MAX_EARLIER = 4
"""Number of earlier feature spaces whose names a snapshot keeps, the latest ones."""


def is_carriable(snapshot: ModelSnapshot) -> bool:
    """Return True for a snapshot of another feature space whose constants of hashing are those of this program.

    Its champions must have states whose layout is known here.
    """
    features = snapshot.features
    return (
        snapshot.format_version == FORMAT_VERSION
        and snapshot.feature_schema != SCHEMA
        and len(set(features)) == len(features) <= MAX_FEATURES
        and snapshot.feature_schema == schema_of(features, snapshot.hashed or HASHED)
        and all(_is_known(head.champion, head.parts.get(head.champion, {})) for head in snapshot.heads.values())
    )


def _is_known(model: str, arrays: Mapping[str, Array]) -> bool:
    return model in {*ModelName} or PICKLE in arrays


def changes(snapshot: ModelSnapshot) -> str:
    """Return a line on the features that a snapshot of another space keeps, gets and loses."""
    new = [name for name in NUMERIC if name not in snapshot.features]
    gone = [name for name in snapshot.features if name not in NUMERIC]
    added, dropped = (", ".join(names) or "none" for names in (new, gone))
    return (
        f"{label(snapshot)} is carried over from feature schema {snapshot.feature_schema}: "
        f"{len(NUMERIC) - len(new)} features kept, new: {added}, dropped: {dropped}"
    )


def carried(snapshot: ModelSnapshot) -> ModelSnapshot:
    """Return a snapshot in this program's feature space; the same snapshot if it is, or cannot be carried over.

    Raises
    ------
    SnapshotMismatch
        If it can, but its content is inconsistent.
    """
    if not is_carriable(snapshot):
        return snapshot
    of_this_space = msgspec.structs.replace(
        snapshot, feature_schema=SCHEMA, features=list(NUMERIC), hashed=list(HASHED)
    )
    check(of_this_space)
    moves = Moves(snapshot.features)
    heads = {}
    for name, head in snapshot.heads.items():
        with named(f"{label(snapshot)}, {name}"):
            heads[name] = _head(head, moves, moves.prior_of_new(name))
    total = checksum(heads, snapshot.viewed_prices, snapshot.incremental)
    return msgspec.structs.replace(of_this_space, heads=heads, checksum=total)


def earlier_of(snapshot: ModelSnapshot) -> dict[str, list[str]]:
    """Return the names of numeric features by other feature schema, the last one that of the snapshot if it is another.

    Only spaces with the hashed columns of this program count: a training example has them by position.
    """
    spaces = {**snapshot.earlier, snapshot.feature_schema: snapshot.features}
    earlier = [
        (schema, names)
        for schema, names in spaces.items()
        if schema != SCHEMA and len(names) <= MAX_FEATURES and schema == schema_of(names, HASHED)
    ]
    return dict(earlier[-MAX_EARLIER:])


class Moves:
    """Indices of this program by those of a program with other numeric features.

    Parameters
    ----------
    features : sequence of str
        Names of the other program's numeric features, in the order of their columns.

    Attributes
    ----------
    to : array of int
        Index in this program by index in the other one; -1 for those of a feature that is gone.
    before, now : array of int
        Columns of the features that stay, in the other program and in this one.
    """

    def __init__(self, features: Sequence[str]) -> None:
        self.count = len(features)
        stays = [(column, NUMERIC.index(name)) for column, name in enumerate(features) if name in NUMERIC]
        self.before, self.now = np.array(stays, np.int64).reshape(-1, 2).T
        numbers = np.full(self.count, -1, np.int64)
        numbers[self.before] = DIMENSIONS + self.now
        bins = np.full((self.count, BINS), -1, np.int64)
        bins[self.before] = FIRST_BIN + self.now[:, None] * BINS + np.arange(BINS)
        rest = np.arange(HELD, BIAS + 1)
        self.to: Indices = np.concatenate((np.arange(DIMENSIONS), numbers, bins.ravel(), rest))

    def prior_of_new(self, head: str) -> dict[int, float]:
        """Return the initial weights of a head's new features, by index."""
        new = set(range(len(NUMERIC))) - set(self.now.tolist())
        prior = prior_weights(head)
        return {at: prior[at] for at in sorted(DIMENSIONS + column for column in new) if at in prior}


def _head(head: HeadState, moves: Moves, prior: Mapping[int, float]) -> HeadState:
    parts: dict[str, dict[str, Array]] = {}
    for name, arrays in head.parts.items():
        if name in {*ModelName}:
            parts[name] = pack_state(_linear(_without_gone(unpack_state(arrays), moves), moves, prior), level=0)
        elif name in KEPT_PARTS or _is_known(name, arrays):
            parts[name] = arrays
    comparison = head.parts.get(COMPARISON, {})
    parts[COMPARISON] = {name: array for name, array in comparison.items() if name in parts}
    return HeadState(champion=head.champion, parts=parts)


def _require(state: State, names: Sequence[str]) -> None:
    if not {*names} <= state.keys():
        raise SnapshotMismatch(f"arrays are {sorted(state)}: expected {sorted(names)} among them")


def _linear(state: State, moves: Moves, prior: Mapping[int, float]) -> State:
    """Return places and columns with new indices, and the prior of new features."""
    _require(state, ("places", "weights"))
    places = check_places(state, len(moves.to) - 1)
    moved = moves.to[places]
    stays = moved >= 0
    at = np.concatenate((moved[stays], np.array([*prior], np.int64)))
    order = np.argsort(at)
    carried_over = state | {"places": at[order].astype(np.uint32)}
    for name in state.keys() & {*COLUMNS}:
        check_finite(state, name, places.shape)
        first = [*prior.values()] if name in WEIGHTS else [0.0] * len(prior)
        carried_over[name] = np.concatenate((state[name][stays], first))[order]
    return carried_over


def _without_gone(state: State, moves: Moves) -> State:
    """Return the state of a Kalman filter with joint indices of this program, conditioned on removed weights of 0."""
    _require(state, ("places", "weights", "reviewed", "joint", "covariance"))
    places, joint = check_places(state, len(moves.to) - 1), state["joint"]
    check_finite(state, "weights", places.shape)
    if joint.dtype != np.uint32 or joint.ndim != 1 or len(joint) > MOST_JOINT or not np.isin(joint, places).all():
        raise SnapshotMismatch(f"joint is {joint.dtype} of shape {joint.shape}: expected at most {MOST_JOINT} places")
    size = len(joint)
    rows, columns = np.triu_indices(size)
    check_finite(state, "covariance", (len(rows),))
    covariance = np.zeros((size, size))
    covariance[rows, columns] = covariance[columns, rows] = state["covariance"]
    at = np.searchsorted(places, joint)
    weights = state["weights"].copy()
    stays = moves.to[joint] >= 0
    for slot in np.flatnonzero(~stays & (covariance.diagonal() > 0.0)).tolist():
        if (variance := float(covariance[slot, slot])) > 0.0:
            column = covariance[slot].copy()
            weights[at] -= column * (float(weights[at[slot]]) / variance)
            covariance -= column[:, None] * (column / variance)
    left = covariance[np.ix_(stays, stays)]
    return state | {
        "weights": weights,
        "reviewed": state["reviewed"] if stays.all() else weights,
        "joint": moves.to[joint[stays]].astype(np.uint32),
        "covariance": left[np.triu_indices(len(left))],
    }
