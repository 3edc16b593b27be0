"""What the documentation says of reasons, settings and metrics is what the bridge says."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from bridge.config.endpoints import EndpointTable
from bridge.config.environment import Environment
from bridge.config.file import RouteTable
from bridge.service.metrics import Metrics
from tests.support import ROOT

DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]
REASONS = ("demand", "allocation", "budget", "evidence", "pauses", "placement", "refusals", "routing")
"""Modules that say why a job waits."""


def _texts(path: Path) -> Iterator[str]:
    """The texts in a module, values in them as `...`; without docstrings."""
    tree = ast.parse(path.read_text())
    skipped = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    skipped |= {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "..." for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in skipped:
            yield node.value


def _core(text: str) -> str:
    """The longest part of a text without values and punctuation; empty if it has fewer than three words."""
    longest = max((part.strip(' "') for part in re.split(r"\.\.\.|[;:()]", text)), key=len)
    return longest if len(longest.split()) > 2 else ""


@pytest.mark.parametrize("module", REASONS)
def test_every_reason_why_a_job_waits_is_explained(module: str) -> None:
    said = (DOCS / "troubleshooting.md").read_text()
    reasons = {core for text in _texts(ROOT / "bridge" / "core" / f"{module}.py") if (core := _core(text))}
    assert reasons
    assert {core for core in reasons if core not in said} == set()


def test_every_documented_setting_is_one() -> None:
    rows = re.findall(r"^\| `([A-Za-z_.]+)` \|", (DOCS / "settings.md").read_text(), re.MULTILINE)
    known = {name.upper() for name in Environment.model_fields} | {f"route.{name}" for name in RouteTable.model_fields}
    known |= {f"endpoint.{name}" for name in EndpointTable.model_fields}
    assert sorted(rows) == sorted(known)


def test_the_documented_limits_of_a_route_are_its_defaults() -> None:
    said = dict(re.findall(r"^\| `route\.(\w+)` \| (\d+) \|", (DOCS / "settings.md").read_text(), re.MULTILINE))
    assert said
    assert {name: float(value) for name, value in said.items()} == {
        name: RouteTable.model_fields[name].default for name in said
    }


def test_every_metric_is_documented() -> None:
    page = Metrics().page().decode()
    served = {name for name in re.findall(r"^# TYPE (\S+)", page, re.MULTILINE) if not name.endswith("_created")}
    assert set(re.findall(r"`(bridge_[a-z_]+)`", (DOCS / "monitoring.md").read_text())) == served


def test_every_path_that_the_documentation_names_exists() -> None:
    for page in PAGES:
        named = re.findall(r"(?<![\w./-])(?:bridge|tests|runner_image|docs)/[\w./-]*\w/?", page.read_text())
        assert {path for path in named if not (ROOT / path).exists()} == set(), page.name


def test_every_make_target_that_the_documentation_names_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for page in PAGES:
        named = set(re.findall(r"^make ([a-z-]+)|`make ([a-z-]+)`", page.read_text(), re.MULTILINE))
        assert {target for pair in named for target in pair if target} <= targets, page.name


def test_every_page_is_in_the_index_and_begins_with_whom_it_is_for() -> None:
    index = (DOCS / "README.md").read_text()
    for page in DOCS.glob("*.md"):
        assert page.name == "README.md" or f"]({page.name})" in index, page.name
        assert page.read_text().split("\n\n")[1].startswith("For "), page.name


def test_links_within_the_documentation_lead_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:]*)(?:#([^)]*))?\)", page.read_text()):
            path, anchor = target
            there = (page.parent / path).resolve() if path else page
            assert there.exists(), f"{page.name}: {path}"
            if anchor:
                assert anchor in _anchors(there), f"{page.name}: {path}#{anchor}"


def _anchors(page: Path) -> set[str]:
    """As GitHub makes them: lower case, no punctuation, hyphens for spaces."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
