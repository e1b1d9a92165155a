"""Docstrings of attributes: the text below a field of a message, or below a member of an enumeration."""

import ast
import inspect
from itertools import pairwise


def attribute_docs(of: type) -> dict[str, str]:
    """Return the docstring below each attribute of a class, by its name; those of base classes first.

    Python itself keeps none of them, so the source is read: this is for schemas and documents, not for workers.

    Examples
    --------
    >>> from stream_coupons.core.reasons import Shortage
    >>> attribute_docs(Shortage)["BUDGET"]
    'All money is spent or held.'
    """
    found: dict[str, str] = {}
    for base in reversed(of.__mro__):
        if base.__module__.startswith("stream_coupons"):
            found |= _of_class(base)
    return found


def _of_class(of: type) -> dict[str, str]:
    [body] = [node.body for node in ast.parse(inspect.getsource(of)).body if isinstance(node, ast.ClassDef)]
    found = {}
    for node, after in pairwise(body):
        target = (
            node.target
            if isinstance(node, ast.AnnAssign)
            else node.targets[0]
            if isinstance(node, ast.Assign)
            else None
        )
        if isinstance(target, ast.Name) and isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            found[target.id] = " ".join(str(after.value.value).split())
    return found
