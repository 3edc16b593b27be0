"""GitHub's deliveries: their signatures, their contents, and the state of a job in whatever order they arrive."""

import asyncio
import hashlib
import hmac
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import pytest

from bridge.core.model import Event, JobStatus, WorkflowJob
from bridge.errors import Malformed
from bridge.github.webhook import Webhook
from bridge.ledger import Ledger, Transaction
from tests.support.values import NOW

BODY = b'{"zen": "Keep it logically awesome."}'


WEBHOOK = Webhook([])
"""For tests that do not depend on a secret."""


def signed(secret: str, body: bytes = BODY) -> str:
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def payload(action: str = "queued", **job: Any) -> dict[str, Any]:
    """A payload as GitHub sends it, with the fields that can matter."""
    return {
        "action": action,
        "workflow_job": {
            "id": 7,
            "run_id": 70,
            "name": "train",
            "workflow_name": "ci",
            "labels": ["self-hosted", "runpod", "gpu"],
            "status": "queued",
            "conclusion": None,
            "runner_id": None,
            "runner_name": None,
            "runner_group_name": None,
            "created_at": "2027-01-15T08:00:00Z",
            "started_at": "2027-01-15T08:00:00Z",
            "completed_at": None,
            "head_branch": "main",
            **job,
        },
        "repository": {"full_name": "acme/web", "private": True},
    }


def jobs_of(*payloads: dict[str, Any]) -> list[WorkflowJob]:
    """The jobs that `workflow_job` payloads are about."""
    found = [WEBHOOK.read("workflow_job", json.dumps(each).encode()).job for each in payloads]
    return [job for job in found if job]


# --- signatures ---


@pytest.mark.parametrize("secret", ["old", "new"])
def test_while_secrets_are_rotated_both_are_accepted(secret: str) -> None:
    assert Webhook(["old", "new"]).is_signed(BODY, signed(secret))


@pytest.mark.parametrize(
    "header",
    [
        "",
        "sha256=",
        signed("other"),
        signed("secret", BODY + b" "),
        signed("secret").removeprefix("sha256="),
        signed("secret").replace("sha256=", "sha1="),
        signed("secret")[:-1],
        signed("secret") + "\N{LATIN SMALL LETTER E WITH ACUTE}",
        "\udcff",
    ],
)
def test_a_delivery_that_was_not_signed_with_the_secret_is_refused(header: str) -> None:
    assert Webhook(["secret"]).is_signed(BODY, signed("secret"))
    assert not Webhook(["secret"]).is_signed(BODY, header)


def test_without_a_secret_nothing_is_signed() -> None:
    assert not Webhook([]).is_signed(BODY, signed(""))


# --- contents ---


def test_a_queued_job_has_all_fields_that_a_plan_needs() -> None:
    (job,) = jobs_of(payload())
    assert (job.id, job.run_id, job.repository, job.name) == (7, 70, "acme/web", "train")
    assert job.labels == ("self-hosted", "runpod", "gpu")
    assert job.status is JobStatus.QUEUED
    assert job.created_at == NOW
    assert (job.public, job.fork) == (False, None), "an event does not say whether it comes from a fork"


def test_a_public_repository_is_recognised() -> None:
    (job,) = jobs_of({**payload(), "repository": {"full_name": "acme/web", "private": False}})
    assert job.public


@pytest.mark.parametrize("missing", ["id", "run_id", "name", "status"])
def test_a_job_without_a_required_field_is_refused_and_the_field_is_named(missing: str) -> None:
    broken = payload()
    del broken["workflow_job"][missing]
    with pytest.raises(Malformed, match=f"the field {missing} is missing"):
        jobs_of(broken)


@pytest.mark.parametrize("body", [b"", b"not json", b"\xff\xfe", b"[]", b"null", b"3"])
def test_a_body_that_is_not_a_json_object_is_refused(body: bytes) -> None:
    with pytest.raises(Malformed, match="not "):
        WEBHOOK.read("workflow_job", body)


@pytest.mark.parametrize(
    "wrong",
    [
        {"workflow_job": None},
        {"workflow_job": []},
        {"repository": "acme/web"},
        payload(id="seven"),
        payload(id=None),
        payload(status="dancing"),
        payload(labels=7),
        payload(created_at="yesterday"),
        payload(created_at=7),
    ],
)
def test_a_field_with_another_type_than_documented_is_refused_without_a_crash(wrong: dict[str, Any]) -> None:
    with pytest.raises(Malformed):
        jobs_of({**payload(), **wrong})


@pytest.mark.parametrize(
    ("event", "raw"),
    [
        ("installation", {"installation": "x"}),
        ("installation", {"installation": {}}),
        ("installation_repositories", {}),
        ("ping", {"organization": "acme"}),
    ],
)
def test_an_event_without_a_job_is_refused_if_it_names_no_account(event: str, raw: dict[str, Any]) -> None:
    with pytest.raises(Malformed):
        WEBHOOK.read(event, json.dumps(raw).encode())


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 200_000,
        b'{"repository": {"full_name": "a/b", "private": true}, '
        b'"workflow_job": {"id": 1e999, "run_id": 1, "name": "x", "status": "queued"}}',
    ],
)
def test_hostile_json_is_refused_without_a_crash(body: bytes) -> None:
    with pytest.raises(Malformed):
        WEBHOOK.read("workflow_job", body)


@pytest.mark.parametrize("name", ["half \ud83d a pair", "a NUL \0"])
def test_a_name_that_a_database_cannot_store_is_cleaned(name: str) -> None:
    (job,) = jobs_of(payload(name=name, labels=[name], head_branch=name))
    for text in (job.name, *job.labels, job.head_branch or ""):
        assert "\0" not in text.encode().decode()


@pytest.mark.parametrize("field", ["id", "run_id", "runner_id"])
@pytest.mark.parametrize("number", [2**63, 10**400, -1, "9" * 30, "9" * 5000])
def test_a_number_that_a_database_cannot_store_is_refused(field: str, number: int | str) -> None:
    with pytest.raises(Malformed):
        jobs_of(payload("queued", **{field: number}))
    assert jobs_of(payload("queued", **{field: 2**63 - 1}))


@pytest.mark.parametrize(
    "name", ["acme/a\0b", "acme/\ud83d", "acme", "acme/..", "../acme", "acme/web/x", "acme/a b", ""]
)
def test_a_repository_with_an_impossible_name_is_refused(name: str) -> None:
    with pytest.raises(Malformed, match="full_name is not owner/name"):
        jobs_of({**payload(), "repository": {"full_name": name, "private": True}})


@pytest.mark.parametrize("login", ["half \ud83d", "a\0b", "x" * 101, ""])
def test_an_account_with_an_impossible_name_is_refused(login: str) -> None:
    for event, raw in (
        ("installation", {"installation": {"account": {"login": login}}}),
        ("ping", {"organization": {"login": login}}),
    ):
        with pytest.raises(Malformed, match="login is not the name of an account"):
            WEBHOOK.read(event, json.dumps(raw).encode())


def test_a_runner_name_that_is_too_long_for_an_index_is_refused() -> None:
    with pytest.raises(Malformed, match="runner_name is too long"):
        jobs_of(payload(runner_name="x" * 10_000))


@pytest.mark.parametrize(
    "content_type", ["application/x-www-form-urlencoded", "Application/X-WWW-form-urlencoded; charset=utf-8"]
)
def test_a_form_has_the_payload_in_a_field(content_type: str) -> None:
    body = urlencode({"payload": json.dumps(payload(name="a & b=\N{GREEK SMALL LETTER ALPHA}"))}).encode()
    job = WEBHOOK.read("workflow_job", body, content_type).job
    assert job
    assert job.name == "a & b=\N{GREEK SMALL LETTER ALPHA}"


@pytest.mark.parametrize("body", [b"", b"{}", b"other={}", b"payload={}&payload={}", b"&".join([b"payload={}"] * 50)])
def test_a_form_without_one_payload_is_refused(body: bytes) -> None:
    with pytest.raises(Malformed, match="not a form with one field named payload"):
        WEBHOOK.read("workflow_job", body, "application/x-www-form-urlencoded")


@pytest.mark.parametrize("event", ["push", "check_run", ""])
def test_the_payload_of_another_event_is_not_read(event: str) -> None:
    assert WEBHOOK.read(event, b'{"workflow_job": "surprise"}').job is None


@pytest.mark.parametrize(
    ("event", "raw", "owner"),
    [
        ("installation", {"installation": {"account": {"login": "Acme"}}}, "Acme"),
        ("installation_repositories", {"installation": {"account": {"login": "acme"}}}, "acme"),
        ("ping", {"organization": {"login": "acme"}}, "acme"),
        ("ping", {"zen": "..."}, None),
        ("ping", {"installation": None, "organization": None}, None),
    ],
)
def test_the_account_of_an_event_without_a_job(event: str, raw: dict[str, Any], owner: str | None) -> None:
    assert WEBHOOK.read(event, json.dumps(raw).encode()).owner == owner


# --- cases seen in real payloads ---

QUEUED = payload()
GATED = payload("queued", status="waiting")
RUNS = payload("in_progress", status="in_progress", runner_id=5, runner_name="runpod-7-1")
DONE = payload("completed", status="completed", conclusion="success", runner_id=5, runner_name="runpod-7-1")
CANCELLED = payload("completed", status="completed", conclusion="cancelled", runner_id=0, runner_name="")


@pytest.fixture
def ledger(database_url: str) -> Iterator[Ledger]:
    opened = Ledger.open(database_url)
    yield opened
    opened.close()


def state_after(ledger: Ledger, payloads: list[dict[str, Any]]) -> WorkflowJob | None:
    """The job in the ledger after these deliveries; None if it has ended."""

    def hear(transaction: Transaction) -> WorkflowJob | None:
        for number, job in enumerate(jobs_of(*payloads)):
            transaction.hear([Event(guid=f"guid-{number}", at=NOW + number, job=job)])
        kept = transaction.jobs().get(7)
        return kept[0] if kept else None

    return asyncio.run(ledger.transact(hear))


@pytest.mark.parametrize(
    ("payloads", "status"),
    [
        pytest.param([GATED], JobStatus.WAITING, id="queued, but waiting for a review: not served"),
        pytest.param([GATED, QUEUED], JobStatus.QUEUED, id="queued again after the review"),
        pytest.param([QUEUED, GATED], JobStatus.QUEUED, id="the event of the review comes late"),
        pytest.param([QUEUED, QUEUED], JobStatus.QUEUED, id="queued twice"),
        pytest.param([QUEUED, DONE], None, id="completed without in_progress"),
        pytest.param([QUEUED, CANCELLED], None, id="cancelled while queued"),
        pytest.param([DONE], None, id="completed without queued"),
        pytest.param([DONE, QUEUED], None, id="queued comes last"),
        pytest.param([RUNS, QUEUED], JobStatus.IN_PROGRESS, id="queued overtaken by in_progress"),
        pytest.param([DONE, RUNS, QUEUED], None, id="all in reverse"),
    ],
)
def test_a_jobs_state_is_right_after_missing_repeated_and_late_events(
    ledger: Ledger, payloads: list[dict[str, Any]], status: JobStatus | None
) -> None:
    kept = state_after(ledger, payloads)
    assert (kept.status if kept else None) == status


@pytest.mark.parametrize("none", [0, None])
def test_a_job_cancelled_while_queued_had_no_runner(none: int | None) -> None:
    (job,) = jobs_of(payload("completed", status="completed", conclusion="cancelled", runner_id=none, runner_name=""))
    assert (job.runner_id, job.runner_name) == (None, None)


def test_a_queued_job_that_names_a_runner_stays_queued(ledger: Ledger) -> None:
    kept = state_after(ledger, [payload(runner_id=5, runner_name="runpod-3-1")])
    assert kept
    assert kept.status is JobStatus.QUEUED


def test_a_job_without_labels_keeps_its_runner_group_for_routes_that_serve_such_jobs(ledger: Ledger) -> None:
    kept = state_after(ledger, [payload(labels=[], runner_group_name="gpus")])
    assert kept
    assert (kept.labels, kept.runner_group) == ((), "gpus")


@pytest.mark.parametrize("field", ["name", "workflow_name", "head_branch", "runner_name", "runner_group_name"])
def test_a_nul_in_a_text_is_replaced_before_it_reaches_the_ledger(ledger: Ledger, field: str) -> None:
    assert state_after(ledger, [payload(**{field: "a\0b"})])


def test_a_nul_in_a_label_is_replaced_too(ledger: Ledger) -> None:
    kept = state_after(ledger, [payload(labels=["runpod", "g\0pu"])])
    assert kept
    assert kept.labels == ("runpod", "g\N{REPLACEMENT CHARACTER}pu")
