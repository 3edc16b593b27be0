"""How a person names a job: by its id, by its URL, or by the URL of its run. Pure."""

import re
from dataclasses import dataclass

LONGEST_ID = 18
"""Digits of an id: more do not fit into the ledger."""

_URL = re.compile(
    rf"https?://[^/\s]+/[^/\s]+/[^/\s]+(?:/actions)?/runs/(?P<run>\d{{1,{LONGEST_ID}}})"
    rf"(?:/attempts/\d+)?(?:/jobs?/(?P<job>\d{{1,{LONGEST_ID}}}))?/?(?:[?#]\S*)?"
)
"""https://github.com/OWNER/REPO/actions/runs/RUN, with /job/JOB for one job."""


@dataclass(frozen=True, slots=True)
class Reference:
    """What a person named.

    Args:
        job_id: of the job; None if only a run was named.
        run_id: of the run; None if only an id was given, which may be that of a run, too.
    """

    job_id: int | None
    run_id: int | None


def parse(text: str) -> Reference | None:
    """The job or run that a text names; None if it is neither an id nor a URL of a job or a run."""
    stripped = text.strip()
    if re.fullmatch(rf"[0-9]{{1,{LONGEST_ID}}}", stripped):
        return Reference(int(stripped), None)
    url = _URL.fullmatch(stripped)
    if url is None:
        return None
    return Reference(int(url["job"]) if url["job"] else None, int(url["run"]))
