"""The result of one check."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import StrEnum


class Status(StrEnum):
    """How a check ended."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, kw_only=True)
class Repair:
    """What `--fix` may do about a check.

    Args:
        question: asked before it is done, such as "Set workers_max of l4 from 0 to 3?".
        work: does it; returns what was done, in one line.
    """

    question: str
    work: Callable[[], Awaitable[str]]


@dataclass(frozen=True, kw_only=True)
class Check:
    """One check.

    Args:
        id: such as `github.installation`; docs/doctor.md describes each.
        subject: which of several was checked, such as the name of a route; None if there is only one.
        status: how it ended.
        evidence: what was seen, in one line; for a skipped check, why it was skipped.
        fix: what a person must do, in one line; None if nothing must be done.
        repair: what `--fix` may do about it.
    """

    id: str
    subject: str | None = None
    status: Status
    evidence: str
    fix: str | None = None
    repair: Repair | None = field(default=None, compare=False, repr=False)


def ok(id_: str, evidence: str, *, subject: str | None = None) -> Check:
    """All is well."""
    return Check(id=id_, subject=subject, status=Status.OK, evidence=evidence)


def warning(id_: str, evidence: str, fix: str, *, subject: str | None = None, repair: Repair | None = None) -> Check:
    """Jobs run, but something should be changed."""
    return Check(id=id_, subject=subject, status=Status.WARNING, evidence=evidence, fix=fix, repair=repair)


def failed(id_: str, evidence: str, fix: str, *, subject: str | None = None, repair: Repair | None = None) -> Check:
    """Some jobs cannot run, or money is lost."""
    return Check(id=id_, subject=subject, status=Status.FAILED, evidence=evidence, fix=fix, repair=repair)


def skipped(id_: str, why: str, *, fix: str | None = None, subject: str | None = None) -> Check:
    """It was not checked."""
    return Check(id=id_, subject=subject, status=Status.SKIPPED, evidence=why, fix=fix)
