"""The features of workflows that the demo does not support, and the reason that it prints for each. Pure."""

import json
import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from bridge.emulator.job_settings import needs_of, settings_of

_FOREIGN_CHECKOUT = frozenset({"repository", "ref", "ssh-key"})
_NEEDS = re.compile(r"\$\{\{[^}]*\bneeds\b")
_UNKNOWN_CONTEXTS = re.compile(
    r"\bstrategy\.(?:job-index|job-total|max-parallel|fail-fast)\b|toJSON\(\s*strategy\b|\bgithub\.event\.inputs\b"
)


class Reason(StrEnum):
    """Why a job cannot run here. The words in braces are replaced; docs/demo.md lists each reason."""

    REMOTE = "it calls the reusable workflow {uses}, which is not in this repository"
    CALLED = "it calls {uses}: {why}"
    CONTAINER = "it runs in a container"
    SERVICES = "it needs service containers"
    CONCURRENCY = "it has a concurrency group"
    OUTPUTS = "its settings depend on the outputs of another job"
    CONTEXT = "it uses {name}"
    ACTION = "a step uses {uses}; the demo supports only run: and actions/checkout"
    CHECKOUT = "a step checks out something other than the run's commit"
    NEED = "it needs '{need}', which cannot run here"
    EXPRESSION = "an expression cannot be evaluated: {why}"
    MATRIX = "its matrix cannot be computed: {why}"

    def of(self, **words: object) -> str:
        """The reason with its words, in one line."""
        return " ".join(self.value.format(**words).split())


def reason_against(job: Mapping[str, Any]) -> str | None:
    """Why the stand-in cannot run a job as it is in the workflow; None if it can."""
    if "container" in job:
        return Reason.CONTAINER.of()
    if "services" in job:
        return Reason.SERVICES.of()
    if "concurrency" in job:
        return Reason.CONCURRENCY.of()
    if depends_on_outputs(job):
        return Reason.OUTPUTS.of()
    if unknown := _UNKNOWN_CONTEXTS.search(json.dumps(job)):
        return Reason.CONTEXT.of(name=unknown[0])
    return next((reason for step in job.get("steps", ()) if (reason := _against_step(step))), None)


def depends_on_outputs(job: Mapping[str, Any]) -> bool:
    """Whether the job can be expanded only when the jobs that it needs have ended."""
    return bool(needs_of(job) and _NEEDS.search(f"{job.get('strategy')}{settings_of(job)}{job.get('name')}"))


def _against_step(step: Mapping[str, Any]) -> str | None:
    uses = step.get("uses")
    if not uses:
        return None
    if not re.fullmatch(r"actions/checkout@.+", str(uses)):
        return Reason.ACTION.of(uses=uses)
    if _FOREIGN_CHECKOUT & (step.get("with") or {}).keys():
        return Reason.CHECKOUT.of()
    return None
