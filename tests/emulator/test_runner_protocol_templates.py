"""Values of a workflow in the job message: expressions, templates, context data, conditions."""

from typing import Any

import pytest

from bridge.emulator.github.runner_protocol.templates import condition, data, expression, token


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", None),
        ("$HOME {x} }}", None),
        ("${{ github.sha }}", "github.sha"),
        ("a ${{ x }} b ${{y}}", "format('a {0} b {1}', x, y)"),
        ("it's {1} ${{ x }}", "format('it''s {{1}} {0}', x)"),
        ("${{ '}}' }}", "'}}'"),
        ("${{ '${{' }} x }}", "format('{0} x }}}}', '${{')"),
        ("${{ 'it''s }}' }}!", "format('{0}!', 'it''s }}')"),
        ("${{ never closed", None),
        ("${{ x }} ${{ never closed", "format('{0} ${{{{ never closed', x)"),
    ],
)
def test_text_with_expressions_becomes_one_expression(text: str, expected: str | None) -> None:
    assert expression(text) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "success()"),
        (False, "success() && (false)"),
        ("a == 'b'", "success() && (a == 'b')"),
        ("${{ a }}", "success() && (a)"),
        ("always()", "always()"),
        ("${{ !Cancelled ( ) }}", "!Cancelled ( )"),
        ("a == 'always()'", "success() && (a == 'always()')"),
        ("unfailure()", "success() && (unfailure())"),
    ],
)
def test_a_condition_without_a_status_function_needs_success(value: object, expected: str) -> None:
    assert condition(value) == expected


@pytest.mark.parametrize("value", ["text", 1, 1.5, True, None])
def test_scalars_are_bare(value: Any) -> None:
    assert (token(value), data(value)) == (value, value)


def test_lists_and_mappings_have_types() -> None:
    assert token(["a", "${{ b }}"]) == {"type": 1, "seq": ["a", {"type": 3, "expr": "b"}]}
    assert token({"${{ k }}": []}) == {
        "type": 2,
        "map": [{"Key": {"type": 3, "expr": "k"}, "Value": {"type": 1, "seq": []}}],
    }
    assert data({"a": ["${{ b }}"]}) == {"t": 2, "d": [{"k": "a", "v": {"t": 1, "a": ["${{ b }}"]}}]}
