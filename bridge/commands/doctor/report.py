"""What `bridge doctor` prints."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from bridge.commands.doctor.check import Check, Status
from bridge.telemetry import plain

STYLES = {Status.OK: "green", Status.WARNING: "yellow", Status.FAILED: "red", Status.SKIPPED: "dim"}


def document(checks: Sequence[Check]) -> dict[str, Any]:
    """The checks as a JSON object."""
    return {
        "healthy": is_healthy(checks),
        "checks": [
            {"id": c.id, "subject": c.subject, "status": c.status, "evidence": c.evidence, "fix": c.fix} for c in checks
        ],
    }


def is_healthy(checks: Sequence[Check]) -> bool:
    """Whether no check failed."""
    return all(check.status is not Status.FAILED for check in checks)


def show(checks: Sequence[Check]) -> None:
    """Print the checks for a person: one line each, and a second line with the fix."""
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False, soft_wrap=True)
    for check in checks:
        style = STYLES[check.status]
        head, *rest = _lines(check)
        console.print(Text.assemble((f"{check.status:<8}", style), plain(head)))
        for line in rest:
            console.print(Text(f"{'':8}{plain(line)}"))
    console.print(Text(_summary(checks)))


def _lines(check: Check) -> Iterator[str]:
    subject = f" {check.subject}" if check.subject else ""
    yield f"{check.id}{subject}: {check.evidence}"
    if check.fix:
        yield f"fix: {check.fix}"


def _summary(checks: Sequence[Check]) -> str:
    counts = Counter(check.status for check in checks)
    return ", ".join(f"{counts[status]} {status}" for status in Status if counts[status])
