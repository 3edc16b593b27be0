"""The table of what the demo does not support has exactly the reasons that the demo prints."""

import re
from pathlib import Path

from bridge.commands import demo_result
from bridge.emulator.github import dispatching
from bridge.emulator.unsupported import Reason
from tests.support import ROOT

ELSEWHERE = (dispatching, demo_result)
"""Modules that have reasons which are not in the enum: they depend on other runs."""


def _printed(source: str) -> set[str]:
    """The reasons in a module: formatted texts that begin like one."""
    texts = re.findall(r'f"((?:it needs|there is no|another run)[^"]*)"', source)
    return {re.sub(r"\{[^}]*\}", "...", text) for text in texts}


def test_the_table_of_unsupported_features_has_every_reason_and_no_other() -> None:
    said = re.findall(r"^\| .* \| `([^`|]+)` \|$", (ROOT / "docs" / "demo.md").read_text(), re.MULTILINE)
    reasons = {re.sub(r"\{[^}]*\}", "...", reason) for reason in Reason}
    elsewhere = [_printed(Path(str(module.__file__)).read_text()) for module in ELSEWHERE]
    assert all(elsewhere)
    assert sorted(said) == sorted(reasons.union(*elsewhere))
