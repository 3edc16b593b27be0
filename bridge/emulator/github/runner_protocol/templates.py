"""Values of a workflow in the encoding of the job message. Pure.

Src/Sdk/DTObjectTemplating/ObjectTemplating/Tokens and Src/Sdk/DTPipelines/Pipelines/ContextData of actions/runner.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

_TEXT = re.compile(r"'(?:''|[^'])*'")
_STATUS = re.compile(r"\b(?:always|cancelled|failure|success)\s*\(", re.IGNORECASE)


def token(value: object) -> Any:
    """A value as a template token, in which the texts may contain expressions.

    Text without expressions, numbers, booleans and null stay bare; `{type: 1, seq}` is a list, `{type: 2, map}` a
    mapping, `{type: 3, expr}` an expression.
    """
    if isinstance(value, str):
        found = expression(value)
        return value if found is None else {"type": 3, "expr": found}
    if isinstance(value, Mapping):
        return {"type": 2, "map": [{"Key": token(str(key)), "Value": token(each)} for key, each in value.items()]}
    if isinstance(value, Sequence):
        return {"type": 1, "seq": [token(each) for each in value]}
    return value


def data(value: object) -> Any:
    """A JSON value as context data: `{t: 1, a}` is a list, `{t: 2, d}` a dictionary, all others are bare."""
    if isinstance(value, Mapping):
        return {"t": 2, "d": [{"k": str(key), "v": data(each)} for key, each in value.items()]}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return {"t": 1, "a": [data(each) for each in value]}
    return value


def expression(text: str) -> str | None:
    """The expression that gives a text with `${{ }}` in it; None for a text without.

    Text around expressions goes into `format()`, as GitHub does it.
    """
    parts = _split(text)
    if len(parts) == 1:
        return None
    if len(parts) == 3 and not parts[0] and not parts[2]:
        return parts[1]
    pattern = "".join(
        f"{{{index // 2}}}" if index % 2 else part.replace("'", "''").replace("{", "{{").replace("}", "}}")
        for index, part in enumerate(parts)
    )
    return f"format('{pattern}', {', '.join(parts[1::2])})"


def condition(value: object) -> str:
    """The condition of a step. Without a status function it also needs `success()`.

    https://docs.github.com/actions/reference/workflows-and-actions/expressions#status-check-functions
    """
    if value is None:
        return "success()"
    text = str(value).lower() if isinstance(value, bool) else str(value)
    found = (expression(text) or text).strip()
    return found if _STATUS.search(_TEXT.sub("''", found)) else f"success() && ({found})"


def _split(text: str) -> list[str]:
    """Text and expressions by turns; the first and the last are text."""
    parts, at = [], 0
    while (start := text.find("${{", at)) >= 0 and (end := _end(text, start + 3)) is not None:
        parts += [text[at:start], text[start + 3 : end].strip()]
        at = end + 2
    return [*parts, text[at:]]


def _end(text: str, at: int) -> int | None:
    """Where an expression ends: at a `}}` that is in no text."""
    while at < len(text):
        if text.startswith("}}", at):
            return at
        quoted = _TEXT.match(text, at)
        at = quoted.end() if quoted else at + 1
    return None
