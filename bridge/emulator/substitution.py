"""Replaces a context in the expressions of a workflow by its values. Pure.

act has no way to give a job the `inputs` of a reusable workflow, or the `jobs` that its outputs come from.
"""

import json
import re
from collections.abc import Mapping
from functools import partial
from typing import Any

_EXPRESSION = re.compile(r"\$\{\{(?:'(?:[^']|'')*'|[^'])*?\}\}")
"""An expression in a string. A string within it may contain braces; a quote in it is written twice:

https://docs.github.com/en/actions/reference/workflows-and-actions/expressions#literals
"""


def substituted(value: Any, name: str, content: Mapping[str, object]) -> Any:
    """The same JSON value of a workflow; each use of the context `name` in its expressions has this content."""
    if isinstance(value, Mapping):
        return {key: _of_key(key, each, name, content) for key, each in value.items()}
    if isinstance(value, list):
        return [substituted(each, name, content) for each in value]
    if isinstance(value, str):
        return _EXPRESSION.sub(lambda found: _replaced(found[0], name, content), value)
    return value


def _of_key(key: object, value: Any, name: str, content: Mapping[str, object]) -> Any:
    """The value of a key; `if` is an expression even without `${{ }}`."""
    if key == "if" and isinstance(value, str):
        return _replaced(value, name, content)
    return substituted(value, name, content)


def _replaced(expression: str, name: str, content: Mapping[str, object]) -> str:
    uses = rf"'(?:[^']|'')*'|(?<![\w.-]){name}(?![\w-])"
    return re.sub(uses, partial(_literal, content), expression, flags=re.IGNORECASE)


def _literal(content: Mapping[str, object], found: "re.Match[str]") -> str:
    if found[0].startswith("'"):
        return found[0]
    # `$` is escaped, so that a value never looks like the start of an expression
    text = json.dumps(content).replace("$", "\\u0024").replace("'", "''")
    return f"fromJSON('{text}')"
