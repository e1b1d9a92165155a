"""Clauses that compare fields with literals, evaluated for all coupons at once: CEL takes ten times as long for them.

A comparison of one of these forms means here what it means in CEL; every other form is left to CEL.
"""

import operator
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_coupons.core.catalogue.rule_fields import OCCASION_FIELDS
from stream_coupons.core.catalogue.rule_text import operands

Bools = NDArray[np.bool_]

_LITERAL = r"""(?:-?\d{1,15}|"[^"\\]*"|'[^'\\]*')"""
_FIELD = r"""(?P<field>[a-z]+\.[a-z_]+)(?:\.(?P<key>[A-Za-z_]\w*)|\["(?P<quoted>[^"\\]+)"\])?"""
_FORMS = [
    (sign, re.compile(form))
    for sign, form in (
        (None, rf"{_FIELD}\s*(?P<sign>>=|<=|==|!=|>|<)\s*(?P<literals>{_LITERAL})"),
        ("==", rf"{_FIELD}\s+in\s+\[\s*(?P<literals>{_LITERAL}(?:\s*,\s*{_LITERAL})*)\s*\]"),
        ("in", rf"(?P<literals>{_LITERAL})\s+in\s+{_FIELD}"),
        ("not in", rf"!\s*\(\s*(?P<literals>{_LITERAL})\s+in\s+{_FIELD}\s*\)"),
        ("==", rf"(?P<literals>){_FIELD}"),
        ("!=", rf"!\s*(?P<literals>){_FIELD}"),
    )
]
_COMPARE: Mapping[str, Callable[[Any, Any], Any]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
    "==": operator.eq,
    "!=": operator.ne,
}


_OF_KEYS, _OF_TEXTS = {"==", "!="}, {"==", "!=", "in", "not in"}


class LiteralComparison(NamedTuple):
    """A comparison of a field with a literal; with a key, of what a map has for it."""

    field: str
    key: str
    sign: str
    literal: int | str


Clause = tuple[LiteralComparison, ...]
"""Comparisons of which one must be true."""


@lru_cache(16384)
def simple(clause: str) -> Clause:
    """Return the comparisons of a clause of a checked rule; none if it has another form.

    Examples
    --------
    >>> simple('!("staff" in shopper.segments)')
    (LiteralComparison(field='shopper.segments', key='', sign='not in', literal='staff'),)
    >>> simple("shopper.orders + 1 > 2 || shopper.is_new")
    ()
    """
    found: list[LiteralComparison] = []
    for text in operands(clause, "||"):
        sign, match = next(((sign, match) for sign, form in _FORMS if (match := form.fullmatch(text))), (None, None))
        if match is None or match["field"] not in OCCASION_FIELDS:
            return ()
        key, literals = match["key"] or match["quoted"] or "", re.findall(_LITERAL, match["literals"])
        of_one = [
            LiteralComparison(match["field"], key, sign or match["sign"], one[1:-1] if one[0] in "\"'" else int(one))
            for one in literals or ["1"]
        ]
        # The compiler knows no types within a map, and texts are ordered in another way than in Python.
        is_text = all(isinstance(one.literal, str) for one in of_one)
        if of_one[0].sign not in ((_OF_KEYS if key else _OF_TEXTS) if is_text else () if key else _COMPARE):
            return ()
        found += of_one
    return tuple(found)


class SimpleClauses:
    """The simple clauses of coupons.

    Parameters
    ----------
    rules : sequence
        The clauses of each coupon, which must all be true.
    """

    def __init__(self, rules: Sequence[Sequence[Clause]]) -> None:
        clauses = dict.fromkeys(clause for rule in rules for clause in rule)
        comparisons = sorted({one for clause in clauses for one in clause}, key=lambda one: (one[:3], str(one.literal)))
        groups: defaultdict[tuple[str, str, str], dict[int | str, int]] = defaultdict(dict)
        for place, one in enumerate(comparisons):
            groups[one.field, one.key, one.sign][one.literal] = place
        self._groups = [
            (group, slice(min(places.values()), max(places.values()) + 1), places, _numbers(places))
            for group, places in groups.items()
        ]
        self._count = len(comparisons)
        number = {one: place for place, one in enumerate(comparisons)}
        self._alternatives = np.array([number[one] for clause in clauses for one in clause], np.intp)
        self._starts = np.cumsum([0, *map(len, clauses)])[:-1]
        most, row = max(map(len, rules), default=0), {clause: place for place, clause in enumerate(clauses)}
        rows = [[row[one] for one in rule] + [-1] * (most - len(rule)) for rule in rules]
        self._rows = np.array(rows, np.intp).reshape(len(rules), most).T
        self.fields = {one.field for one in comparisons}
        """Fields that are read."""

    def hold(self, values: Mapping[str, Any]) -> tuple[Bools, Bools]:
        """Return the coupons of which all clauses are true, and those of which they may be if no key were absent.

        Parameters
        ----------
        values : mapping
            Values of the fields, by name.

        Returns
        -------
        (array of bool, array of bool)
            Each of shape (coupons,).
        """
        found, absent = np.zeros(self._count, np.bool_), []
        for (field, key, sign), part, places, numbers in self._groups:
            value = values[field]
            if key and key not in value:
                absent.append(part)
            elif numbers is not None:
                found[part] = _COMPARE[sign](value, numbers)
            else:
                is_other = sign in ("!=", "not in")
                found[part] = is_other
                for one in value if sign in ("in", "not in") else (value[key] if key else value,):
                    if one in places:
                        found[places[one]] = not is_other
        certain = self._all(found)
        for part in absent:
            found[part] = True
        return certain, self._all(found) if absent else certain

    def _all(self, found: Bools) -> Bools:
        clauses = np.ones(len(self._starts) + 1, np.bool_)
        np.logical_or.reduceat(found.take(self._alternatives), self._starts, out=clauses[:-1])
        every: Bools = np.logical_and.reduce(clauses.take(self._rows), axis=0)
        return every


def _numbers(literals: Mapping[int | str, int]) -> NDArray[np.int64] | None:
    return None if any(isinstance(one, str) for one in literals) else np.array([*literals], np.int64)
