"""The diagram of states in docs/architecture.md shows every transition that the code makes, and no other."""

import re
from collections.abc import Iterator
from itertools import product

from bridge.core.model import JobStatus, Request, RequestStatus, Runner, WorkflowJob
from bridge.core.scope import Route
from bridge.core.settle import Observation, settle
from bridge.core.submissions import LEASED_STATES, OPEN_STATES, Pool, State, Submission
from bridge.core.timing import Timing
from bridge.core.worker import Credentials
from tests.support import ROOT

APPLIED = {
    (State.CLAIMED, State.MINTED),
    (State.CLAIMED, State.FAILED),  # GitHub has a runner of its name
    (State.CLAIMED, State.RELEASED),
    (State.CLAIMED, State.BUSY),  # GitHub refuses to delete its runner
    (State.MINTED, State.SUBMITTING),
    (State.MINTED, State.RELEASED),
    (State.MINTED, State.BUSY),
    (State.SUBMITTING, State.SUBMITTED),
    (State.SUBMITTING, State.UNKNOWN),
    (State.SUBMITTING, State.RELEASED),
    (State.SUBMITTED, State.WITHDRAWN),
    (State.SUBMITTED, State.CANCELLED),  # no job needs it
    (State.STARTED, State.WITHDRAWN),
    (State.BUSY, State.WITHDRAWN),
}
"""The transitions of bridge/controller/apply.py."""

ROUTE = Route(name="gpu", labels=frozenset({"gpu"}), endpoints=("e",), max_workers=1)

JOBS = [
    WorkflowJob(
        id=1, run_id=1, repository="acme/a", name="j", labels=(), status=status, runner_name="n", created_at=0.0
    )
    for status in (JobStatus.IN_PROGRESS, JobStatus.COMPLETED)
]

RUNNERS = [
    Runner(id=7, name="n", online=online, busy=busy, labels=())
    for online, busy in ((False, False), (True, False), (True, True))
]

REQUESTS = [
    *(Request(id="r", status=status) for status in RequestStatus),
    *(
        Request(id="r", status=RequestStatus.COMPLETED, output={"outcome": outcome})
        for outcome in ("completed", "no_job", "expired")
    ),
    Request(id="r", status=RequestStatus.FAILED, error="crashed: the runner ended unexpectedly"),
]


def test_the_diagram_has_exactly_the_transitions_that_the_code_makes() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    lines = re.findall(r"^    (\w+) --> (\w+|\[\*\])(?:: (.*))?$", page, re.MULTILINE)
    drawn = {(start, end) for start, to, ends in lines for end in (ends.split(", ") if ends else [to])}
    made = {(str(start), str(end)) for start, end in settled() | APPLIED if start is not end}
    assert drawn == made


def settled() -> set[tuple[State, State]]:
    """The transitions of bridge/core/settle.py: observations of all kinds are tried."""
    found = set()
    for submission in submissions():
        for observation, now in product(observations(submission), (0.0, 5e3, 1e6)):
            if step := settle(submission, observation, Timing(), now):
                found.add((submission.state, step.to))
    return found


def submissions() -> Iterator[Submission]:
    """A submission in each open state, with and without the ids that it may have there."""
    for state, mode in product(OPEN_STATES, (Credentials.JIT, Credentials.REGISTRATION)):
        unsent = [None] if state not in (State.SUBMITTED, State.WITHDRAWN) else []
        sent = ["r"] if state not in LEASED_STATES | {State.UNKNOWN} else []
        for request_id in (*unsent, *sent):
            yield Submission(
                id="s",
                name="n",
                job_id=1,
                generation=1,
                pool=Pool("gpu", "orgs/acme"),
                endpoint="e",
                credentials=mode,
                state=state,
                since=0.0,
                created_at=0.0,
                lease_until=60.0,
                not_after=3600.0,
                runner_id=7 if mode is Credentials.JIT or state is State.WITHDRAWN else None,
                request_id=request_id,
            )


def observations(submission: Submission) -> Iterator[Observation]:
    jobs = [] if submission.state in LEASED_STATES else JOBS
    requests = REQUESTS if submission.request_id else []
    seen = product([None, *jobs], [None, *RUNNERS], (True, False), [None, *requests], (None, 0), (None, 0.0))
    for job, runner, known, request, unexplained, missing_since in seen:
        yield Observation(
            job=job,
            runner=runner,
            runners_known=known,
            request=request,
            route=ROUTE,
            unexplained=unexplained,
            missing_since=missing_since,
        )
