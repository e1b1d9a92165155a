"""The text of an eligibility rule: its clauses, the fields that it names, and limits on its form."""

import json
import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import pairwise
from typing import Any

ROOTS = frozenset({"shopper", "trigger", "coupon"})
LOOPS = frozenset({"all", "exists", "exists_one", "existsOne", "filter", "map"})
MAX_LOOPS = 1
"""The most loops in a rule, so that none is within another."""

_TOKEN = re.compile(
    r"""(?P<space>\s+|//[^\n]*)|(?P<text>"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')|(?P<word>[A-Za-z_]\w*)"""
    r"""|(?P<sign>&&|\|\||.)""",
    re.DOTALL,
)
_DEPTH = {"(": 1, "[": 1, "{": 1, ")": -1, "]": -1, "}": -1}


def _tokens(rule: str) -> list[re.Match[str]]:
    """Return the tokens of a rule without spaces and comments."""
    return [match for match in _TOKEN.finditer(rule) if match.lastgroup != "space"]


def references(rule: str) -> Iterator[tuple[str, int, int]]:
    """Yield each field that a rule names, with its start and its end.

    Examples
    --------
    >>> list(references('"shopper.x" in trigger.context'))
    [('trigger.context', 15, 30)]
    """
    tokens = _tokens(rule)
    for root, dot, member in zip(tokens, tokens[1:], tokens[2:], strict=False):
        if root[0] in ROOTS and dot[0] == "." and member.lastgroup == "word":
            yield f"{root[0]}.{member[0]}", root.start(), member.end()


def with_literals(rule: str, value_of: Callable[[str], Any]) -> str:
    """Return the rule with the values of the coupon's fields as literals in place of their names.

    Parameters
    ----------
    rule : str
        The rule, or a clause of it.
    value_of : callable
        Returns the value of a field of the coupon.

    Examples
    --------
    >>> with_literals("trigger.category in coupon.categories", lambda name: ["tea", "milk"])
    'trigger.category in ["tea", "milk"]'
    """
    parts, end = [], 0
    for name, start, behind in references(rule):
        if name.startswith("coupon."):
            parts += [rule[end:start], _literal(value_of(name))]
            end = behind
    return "".join([*parts, rule[end:]])


def _literal(value: Any) -> str:
    """Return a value in CEL; a map loses its type, so that its values may be of any, and its numbers are decimal."""
    if isinstance(value, dict):
        decimal = {name: float(one) if type(one) is int else one for name, one in value.items()}
        return f"dyn({json.dumps(decimal, ensure_ascii=False)})"
    return json.dumps(value, ensure_ascii=False)


@lru_cache(16384)
def operands(rule: str, sign: str = "&&") -> tuple[str, ...]:
    """Return the operands of a logical operator, outside of brackets and of operators that bind less.

    Parameters
    ----------
    rule : str
        A rule without syntax errors.
    sign : str
        `&&` or `||`.

    Examples
    --------
    >>> operands('shopper.is_new && (trigger.hour < 9 || trigger.hour > 17) && "a && b" != trigger.brand')
    ('shopper.is_new', 'trigger.hour < 9 || trigger.hour > 17', '"a && b" != trigger.brand')
    >>> operands("shopper.is_new || shopper.orders > 1 && trigger.hour < 9")
    ('shopper.is_new || shopper.orders > 1 && trigger.hour < 9',)
    """
    rule = _TOKEN.sub(lambda match: " " if match[0].startswith("//") else match[0], rule).strip()
    depth, cuts, is_bracketed = 0, [], rule.startswith("(")
    for token in _tokens(rule):
        depth += _DEPTH.get(token[0], 0)
        is_bracketed &= depth > 0 or token.end() == len(rule)
        if depth == 0 and token[0] in ("?", "||") and token[0] != sign:
            return (rule,)
        if depth == 0 and token[0] == sign:
            cuts.append(token.span())
    if is_bracketed:
        return operands(rule[1:-1], sign)
    if not cuts:
        return (rule,)
    ends = pairwise([0, *(end for cut in cuts for end in cut), len(rule)])
    return tuple(one for start, end in [*ends][::2] for one in operands(rule[start:end], sign))


def faults_of_form(rule: str) -> Iterator[tuple[int, str]]:
    """Yield the index and the text of what the engine does not allow although CEL does."""
    tokens, loops = _tokens(rule), 0
    for before, token in pairwise(tokens):
        if token.lastgroup == "text" and before.end() == token.start() and before.lastgroup in ("word", "text"):
            yield before.start(), f"{before[0]}{token[0]}: expected a plain text in double or single quotes"
        if before[0] == "." and token[0] in ROOTS:
            yield token.start(), f'{token[0]!r} after a dot, expected a key of a map as ["{token[0]}"]'
        if before[0] in ROOTS and token[0] != ".":
            yield before.start(), f"{before[0]!r} is no value, expected {before[0]}.FIELD"
        if before[0] == "matches" and token[0] == "(":
            yield before.start(), "matches: no patterns, expected startsWith, endsWith or contains"
        loops += before[0] in LOOPS and token[0] == "("
        if loops > MAX_LOOPS:
            yield before.start(), f"{before[0]}: a loop too many, expected {MAX_LOOPS} at most, or `in`"
            return
