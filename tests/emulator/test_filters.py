"""Filter patterns mean what GitHub's cheat sheet says, and strings get their contexts replaced."""

import pytest

from bridge.emulator.filters import triggers
from bridge.emulator.job_variants import WorkflowError
from bridge.emulator.substitution import substituted


# https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-syntax#filter-pattern-cheat-sheet
@pytest.mark.parametrize(
    ("pattern", "name", "found"),
    [
        ("feature/*", "feature/my-branch", True),
        ("feature/*", "feature/a/b", False),
        ("feature/**", "feature/beta-a/my-branch", True),
        ("*feature", "ver-10-feature", True),
        ("v2*", "v2.0", True),
        ("v[12].[0-9]+.[0-9]+", "v1.10.1", True),
        ("v[12].[0-9]+.[0-9]+", "v3.10.1", False),
        ("*.jsx?", "page.js", True),
        ("*.jsx?", "page.jsx", True),
        ("*", "js/index.js", False),
        ("**.js", "src/js/app.js", True),
        ("docs/**/*.md", "docs/README.md", True),
        ("docs/**/*.md", "docs/a/markdown/file.md", True),
        ("**/docs/**", "docs/hello.md", True),
        ("**/docs/**", "dir/docs/my-file.txt", True),
        ("**/README.md", "README.md", True),
        ("**/README.md", "js/README.md", True),
        ("**/README.md", "jsREADME.md", False),
        ("a(b", "a(b", True),
        (r"a\*", "a*", True),
        (r"a\*", "ab", False),
        ("a.b", "a-b", False),
        ("a$", "a$", True),
        ("*", "a\nb", True),
    ],
)
def test_a_pattern_matches_as_on_githubs_page(pattern: str, name: str, found: bool) -> None:
    assert triggers({"push": {"paths": [pattern]}}, "push", "main", lambda: [name]) is found
    assert triggers({"push": {"branches": [pattern]}}, "push", name, list) is found


@pytest.mark.parametrize("pattern", ["[", "[]", "a[é]", "+a", "a\\"])
def test_an_invalid_pattern_is_named(pattern: str) -> None:
    with pytest.raises(WorkflowError, match="is not a valid pattern"):
        triggers({"push": {"branches": [pattern]}}, "push", "main", list)


def test_paths_that_are_not_a_list_are_named() -> None:
    with pytest.raises(WorkflowError, match="push: paths must be a list of patterns"):
        triggers({"push": {"paths": {"a": "b"}}}, "push", "main", list)


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("${{ inputs.a }}", """${{ fromJSON('{"a": "it''s \\u0024{{ x }}"}').a }}"""),
        ("inputs.a", "inputs.a"),
        ("${{ 'inputs.a' }}", "${{ 'inputs.a' }}"),
        ("${{ github.event.inputs.a }}", "${{ github.event.inputs.a }}"),
        ("${{ my-inputs }}", "${{ my-inputs }}"),
        ("${{ '}}' }} inputs", "${{ '}}' }} inputs"),
    ],
)
def test_a_context_is_replaced_in_expressions_only(text: str, result: str) -> None:
    assert substituted([{"run": text}], "inputs", {"a": "it's ${{ x }}"}) == [{"run": result}]


def test_a_condition_is_an_expression() -> None:
    found = substituted({"if": "inputs['a'] && INPUTS.b", "n": 1}, "inputs", {"b": True})
    assert found == {"if": """fromJSON('{"b": true}')['a'] && fromJSON('{"b": true}').b""", "n": 1}
