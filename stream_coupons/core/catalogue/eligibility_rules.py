"""Eligibility rules of coupons, written in CEL: checked when they are published, compiled once a catalogue.

A rule is cut into the clauses that must all be true. The coupon's fields become literals, so a clause without a field
of the shopper or of the trigger is evaluated once a catalogue. Of the others, simple comparisons are evaluated for all
coupons at once. CEL evaluates what is left, each text once for all coupons: `CHUNK` texts are one list, since a call
costs ten times one comparison.

A rule that raises, or is no rule at all, keeps the coupon from everybody.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stream_coupons.core.catalogue.rule_fields import (
    COUPON_FIELDS,
    NEEDS_TRIGGER,
    OCCASION_FIELDS,
    CouponFields,
    Occasion,
)
from stream_coupons.core.catalogue.rule_text import faults_of_form, operands, references, with_literals
from stream_coupons.core.catalogue.simple_clauses import Bools, Clause, SimpleClauses, simple
from stream_coupons.core.validation_hints import near

if TYPE_CHECKING:
    from cel_expr_python.cel import Env, Expression

    from stream_coupons.core.catalogue.compiled import CouponSet
    from stream_coupons.core.messages.catalogue import Coupon

CHUNK = 64
"""Texts that are evaluated in one call."""
ROOM = 5
"""Negations that must fit around a rule: compiling adds less, and the compiler's depth has a limit."""
MAX_LITERAL = 5000
"""The most characters of a coupon's rules with its lists in them: they are evaluated in every decision."""
TOO_DEEP = "operators or brackets within one another are too deep, expected 20 at most"
_ERROR = re.compile(r"<input>:(-?\d+):(-?\d+): (.*)")
_UNDECLARED = re.compile(r"undeclared reference to '([^']+)'")


class BadRule(ValueError):
    """A text that is no rule."""


@lru_cache(1)
def _environment() -> Env:
    from cel_expr_python import cel  # here, for catalogues without a rule need none of it

    fields = {**OCCASION_FIELDS, **COUPON_FIELDS}
    types = {
        "int": cel.Type.INT,
        "bool": cel.Type.BOOL,
        "string": cel.Type.STRING,
        "list(string)": cel.Type.List(cel.Type.STRING),
        "map(string, dyn)": cel.Type.Map(cel.Type.STRING, cel.Type.DYN),
    }
    return cel.NewEnv(variables={name: types[field.kind] for name, field in fields.items()})


def _compile(text: str) -> Expression:
    try:
        return _environment().compile(text)
    except RuntimeError as error:
        raise BadRule(str(error)) from None


_compiled = lru_cache(4096)(_compile)
"""Compiled clauses: a catalogue that changes keeps most of them."""


@lru_cache(16384)
def rule_faults(rule: str) -> tuple[str, ...]:
    """Return what is wrong with a rule, each with its position and a remedy; none of a good one, or of no rule.

    Parameters
    ----------
    rule : str
        A boolean expression of CEL over the declared fields.

    Examples
    --------
    >>> rule_faults('shopper.orders >= 2 && !("staff" in shopper.segments)')
    ()
    >>> rule_faults("shopper.order >= 2")
    ("character 1: no field 'shopper.order', expected shopper.orders?",)
    """
    faults = tuple(f"{_place(rule, index)}: {text}" for index, text in faults_of_form(rule))
    if faults or not rule:
        return faults
    try:
        kind = _compile(rule).return_type().name()
    except BadRule as bad:
        return tuple(_told(rule, str(bad)))
    if kind not in ("BOOL", "DYN"):
        return (f"it is of type {kind.lower()}, expected bool: a comparison",)
    try:
        _compile(f"{'!(' * ROOM}{rule}\n{')' * ROOM}")
    except BadRule:
        return (TOO_DEEP,)
    return ()


def _place(rule: str, index: int) -> str:
    """Return the position of an index in words."""
    before = rule[:index].split("\n")
    where = f"character {len(before[-1]) + 1}"
    return f"line {len(before)}, {where}" if "\n" in rule else where


def _told(rule: str, error: str) -> Iterator[str]:
    """Yield the errors of the compiler, with the field that was meant, or the types of those that are named."""
    fields = {**OCCASION_FIELDS, **COUPON_FIELDS}
    named = {name: start for name, start, _ in references(rule)}
    types = ", ".join(f"{name} is of type {fields[name].kind}" for name in named if name in fields)
    positions = [found for found in _ERROR.findall(error) if int(found[0]) > 0]
    if not positions:
        yield TOO_DEEP if "recursion" in error else error
    for line, column, text in positions:
        index = sum(len(each) + 1 for each in rule.split("\n")[: int(line) - 1]) + int(column) - 1
        if found := _UNDECLARED.search(text):
            owned = next((f", expected {name}?" for name in fields if name.endswith(f".{found[1]}")), "")
            hint = owned or near(found[1], fields)
            yield f"{_place(rule, named.get(found[1], index))}: no field {found[1]!r}{hint}"
        else:
            remedy = f"; {types}" if types and "no matching overload" in text else ""
            yield f"{_place(rule, index)}: {text}{remedy}"


def clauses(rules: Iterable[str], coupon: Coupon) -> dict[str, str]:
    """Return the clauses of rules, as they are written, and each with the coupon's fields as literals.

    Parameters
    ----------
    rules : iterable of str
        Rules that must all be true; an empty one is none.
    coupon : Coupon
        Its fields are read.

    Raises
    ------
    BadRule
        If one of them is no rule, or its clauses are too long for this coupon.
    """
    found = {}
    for rule in rules:
        if faults := rule_faults(rule):
            raise BadRule("; ".join(faults))
        for text in operands(rule) if rule else ():
            found[text] = with_literals(text, lambda name: COUPON_FIELDS[name].read(CouponFields(coupon)))
    if (size := sum(map(len, found.values()))) > MAX_LITERAL:
        text = max(found, key=lambda text: len(found[text]))
        raise BadRule(f"{text}: {size} characters with the coupon's lists in it, expected {MAX_LITERAL} at most")
    return found


@lru_cache(16384)
def _names(text: str) -> frozenset[str]:
    return frozenset(name for name, _, _ in references(text))


def _holds(literal: str, values: Any) -> bool | None:
    """Return the value of a text of CEL; None if it raises or is no bool."""
    try:
        value = _compiled(literal).eval(values).plain_value()
    except BadRule:
        return None
    return value if isinstance(value, bool) else None


def _read(names: Iterable[str], occasion: Occasion) -> dict[str, Any]:
    return {name: OCCASION_FIELDS[name].read(occasion) for name in names}


def is_for_nobody(literals: Iterable[str]) -> bool:
    """Return True if one of the clauses reads neither shopper nor trigger, and is not true."""
    return any(_holds(literal, None) is not True for literal in literals if not _names(literal))


def _list_of(texts: Iterable[str]) -> Expression | None:
    """Return texts compiled as one list; None if they are too long for the compiler."""
    try:
        return _compile(f"[{', '.join(texts)}]")
    except BadRule:
        return None


class RuleTable:
    """The rules of a set of coupons.

    Parameters
    ----------
    coupons : CouponSet
        The coupons; those without a rule are for everybody.
    """

    def __init__(self, coupons: CouponSet) -> None:
        self._allows = np.ones(len(coupons), np.bool_)
        """False where a clause of the catalogue is not true, or the rule is none."""
        left = [self._left_of(position, coupons) for position in range(len(coupons))]
        self._simple = SimpleClauses([simple_ones for simple_ones, _ in left])
        # Texts with the same fields are neighbours: if one raises since a key is absent, so may those beside it.
        self._texts = sorted({text for _, text in left} - {""}, key=lambda text: (sorted(_names(text)), text))
        number = {text: place for place, text in enumerate(self._texts)}
        self._number: NDArray[np.intp] = np.array([number.get(text, -1) for _, text in left], np.intp)
        """Number of each coupon's text; -1 if it has none."""
        chunks = (self._texts[start : start + CHUNK] for start in range(0, len(self._texts), CHUNK))
        self._chunks = [_list_of(chunk) for chunk in chunks]
        self._fields = set[str]().union(*map(_names, self._texts))
        self._readers = [(name, OCCASION_FIELDS[name].read) for name in sorted(self._fields | self._simple.fields)]

    def _left_of(self, position: int, coupons: CouponSet) -> tuple[list[Clause], str]:
        """Return what is left of a rule after its clauses of the catalogue: simple clauses, and a text for CEL."""
        coupon, rules = coupons.coupons[position], coupons.rules[position]
        try:
            literals = [*clauses(rules, coupon).values()]
        except BadRule:
            literals = ["false"]
        self._allows[position] = not is_for_nobody(literals)
        left = [literal for literal in literals if _names(literal)] if self._allows[position] else []
        # A value of a map may be of any type: each clause becomes a bool.
        others = " && ".join(f"({literal}) == true" for literal in left if not simple(literal))
        return [found for literal in left if (found := simple(literal))], others

    def narrow(self, allowed: Bools, occasion: Occasion) -> int:
        """Exclude the coupons whose rule is not true.

        Parameters
        ----------
        allowed : array of bool, shape (coupons,)
            Changed in place. Rules of coupons that are excluded already need not be evaluated.
        occasion : Occasion
            The shopper and the trigger.

        Returns
        -------
        int
            Number of rules that raised.
        """
        allowed &= self._allows
        values, failed = {name: read(occasion) for name, read in self._readers}, 0
        if self._simple.fields:
            certain, possible = self._simple.hold(values)
            failed = int((allowed & possible & ~certain).sum()) if possible is not certain else 0
            allowed &= certain
        return failed + self._narrow_by_cel(allowed, values) if self._texts and allowed.any() else failed

    def _narrow_by_cel(self, allowed: Bools, values: Mapping[str, Any]) -> int:
        holds, failed = np.ones(len(self._texts) + 1, np.bool_), 0
        asked = self._number[allowed]
        bound = _environment().Activation({name: values[name] for name in self._fields})
        for place in np.flatnonzero(np.bincount(asked // CHUNK + 1)[1:]).tolist():
            chunk = self._chunks[place]
            found = None if chunk is None else chunk.eval(bound).plain_value()
            if isinstance(found, list):
                holds[place * CHUNK : place * CHUNK + len(found)] = found
                continue
            for number in np.unique(asked[asked // CHUNK == place]).tolist():
                value = _holds(self._texts[number], bound)
                holds[number] = value is True
                failed += value is None
        allowed &= holds[self._number]
        return failed


def rule_table(coupons: CouponSet) -> RuleTable | None:
    """Return the rules of a set of coupons; None if it has none. For `CouponSet.once`."""
    return RuleTable(coupons) if coupons.has_rules else None


def broken_clause(coupons: CouponSet, position: int, occasion: Occasion, *, needs_trigger: bool = True) -> str | None:
    """Return the first clause of a coupon's rules that is not true, or raises; None if all are true.

    Parameters
    ----------
    coupons : CouponSet
        The coupons.
    position : int
        Position of the coupon in `coupons`.
    occasion : Occasion
        The shopper and the trigger.
    needs_trigger : bool
        False to leave out the clauses that read the trigger.
    """
    try:
        found = clauses(coupons.rules[position], coupons.coupons[position])
    except BadRule as bad:
        return str(bad)
    for text, literal in found.items():
        names = _names(literal)
        if needs_trigger or not names & NEEDS_TRIGGER:
            value = _holds(literal, _environment().Activation(_read(names, occasion)))
            if value is not True:
                return text if value is False else f"{text} (it raises, or is no bool)"
    return None


def clauses_of_trigger(coupons: CouponSet, position: int) -> list[str]:
    """Return the clauses of a coupon's rules that read the trigger; parameters as of `broken_clause`."""
    try:
        found = clauses(coupons.rules[position], coupons.coupons[position])
    except BadRule:
        return []
    return [text for text, literal in found.items() if _names(literal) & NEEDS_TRIGGER]
