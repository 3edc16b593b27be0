"""What GitHub delivers: who signed it, what it tells, and what becomes of its job whatever order it comes in."""

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
"""For what does not depend on a secret."""


def signed(secret: str, body: bytes = BODY) -> str:
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def payload(action: str = "queued", **job: Any) -> dict[str, Any]:
    """As GitHub sends it, shortened to what can matter."""
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


def told(*payloads: dict[str, Any]) -> list[WorkflowJob]:
    found = [WEBHOOK.read("workflow_job", json.dumps(each).encode()).job for each in payloads]
    return [job for job in found if job]


# --- signatures ---


@pytest.mark.parametrize("secret", ["old", "new"])
def test_while_secrets_are_rotated_either_signs(secret: str) -> None:
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
def test_a_delivery_that_our_secret_did_not_sign_is_refused(header: str) -> None:
    assert Webhook(["secret"]).is_signed(BODY, signed("secret"))
    assert not Webhook(["secret"]).is_signed(BODY, header)


def test_without_a_secret_nothing_is_signed() -> None:
    assert not Webhook([]).is_signed(BODY, signed(""))


# --- what it tells ---


def test_a_queued_job_is_read_with_all_that_a_plan_needs() -> None:
    (job,) = told(payload())
    assert (job.id, job.run_id, job.repository, job.name) == (7, 70, "acme/web", "train")
    assert job.labels == ("self-hosted", "runpod", "gpu")
    assert job.status is JobStatus.QUEUED
    assert job.created_at == NOW
    assert (job.public, job.fork) == (False, None), "of forks an event says nothing"


def test_a_public_repository_is_told_apart() -> None:
    (job,) = told({**payload(), "repository": {"full_name": "acme/web", "private": False}})
    assert job.public


@pytest.mark.parametrize("missing", ["id", "run_id", "name", "status"])
def test_a_job_without_a_field_that_it_must_have_is_refused_by_its_name(missing: str) -> None:
    broken = payload()
    del broken["workflow_job"][missing]
    with pytest.raises(Malformed, match=f"the field {missing} is missing"):
        told(broken)


@pytest.mark.parametrize("body", [b"", b"not json", b"\xff\xfe", b"[]", b"null", b"3"])
def test_what_is_no_json_object_is_refused(body: bytes) -> None:
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
def test_a_field_of_another_type_than_documented_is_refused_not_a_breakdown(wrong: dict[str, Any]) -> None:
    with pytest.raises(Malformed):
        told({**payload(), **wrong})


@pytest.mark.parametrize(
    ("event", "raw"),
    [
        ("installation", {"installation": "x"}),
        ("installation", {"installation": {}}),
        ("installation_repositories", {}),
        ("ping", {"organization": "acme"}),
    ],
)
def test_an_event_without_a_job_is_refused_too_if_it_does_not_say_whom_it_is_about(
    event: str, raw: dict[str, Any]
) -> None:
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
def test_hostile_json_is_refused_not_a_breakdown(body: bytes) -> None:
    with pytest.raises(Malformed):
        WEBHOOK.read("workflow_job", body)


@pytest.mark.parametrize("name", ["half \ud83d a pair", "a NUL \0"])
def test_a_name_that_no_database_can_hold_is_mended(name: str) -> None:
    (job,) = told(payload(name=name, labels=[name], head_branch=name))
    for text in (job.name, *job.labels, job.head_branch or ""):
        assert "\0" not in text.encode().decode()


@pytest.mark.parametrize("field", ["id", "run_id", "runner_id"])
@pytest.mark.parametrize("number", [2**63, 10**400, -1, "9" * 30, "9" * 5000])
def test_a_number_that_no_database_can_hold_is_refused(field: str, number: int | str) -> None:
    with pytest.raises(Malformed):
        told(payload("queued", **{field: number}))
    assert told(payload("queued", **{field: 2**63 - 1}))


@pytest.mark.parametrize(
    "name", ["acme/a\0b", "acme/\ud83d", "acme", "acme/..", "../acme", "acme/web/x", "acme/a b", ""]
)
def test_a_repository_of_an_impossible_name_is_refused(name: str) -> None:
    with pytest.raises(Malformed, match="full_name is not owner/name"):
        told({**payload(), "repository": {"full_name": name, "private": True}})


@pytest.mark.parametrize("login", ["half \ud83d", "a\0b", "x" * 101, ""])
def test_an_account_of_an_impossible_name_is_refused(login: str) -> None:
    for event, raw in (
        ("installation", {"installation": {"account": {"login": login}}}),
        ("ping", {"organization": {"login": login}}),
    ):
        with pytest.raises(Malformed, match="login is not the name of an account"):
            WEBHOOK.read(event, json.dumps(raw).encode())


def test_a_runner_name_that_no_index_can_hold_is_refused() -> None:
    with pytest.raises(Malformed, match="runner_name is too long"):
        told(payload(runner_name="x" * 10_000))


@pytest.mark.parametrize(
    "content_type", ["application/x-www-form-urlencoded", "Application/X-WWW-form-urlencoded; charset=utf-8"]
)
def test_a_form_holds_the_payload_in_a_field(content_type: str) -> None:
    body = urlencode({"payload": json.dumps(payload(name="a & b=\N{GREEK SMALL LETTER ALPHA}"))}).encode()
    job = WEBHOOK.read("workflow_job", body, content_type).job
    assert job
    assert job.name == "a & b=\N{GREEK SMALL LETTER ALPHA}"


@pytest.mark.parametrize("body", [b"", b"{}", b"other={}", b"payload={}&payload={}", b"&".join([b"payload={}"] * 50)])
def test_a_form_without_one_payload_is_refused(body: bytes) -> None:
    with pytest.raises(Malformed, match="not a form with one field named payload"):
        WEBHOOK.read("workflow_job", body, "application/x-www-form-urlencoded")


@pytest.mark.parametrize("event", ["push", "check_run", ""])
def test_another_event_is_not_even_read(event: str) -> None:
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
def test_whom_an_event_without_a_job_is_about(event: str, raw: dict[str, Any], owner: str | None) -> None:
    assert WEBHOOK.read(event, json.dumps(raw).encode()).owner == owner


# --- traps seen in real payloads ---

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


def comes_to(ledger: Ledger, payloads: list[dict[str, Any]]) -> WorkflowJob | None:
    """The job as the ledger keeps it after these deliveries, None once it is done with it."""

    def hear(transaction: Transaction) -> WorkflowJob | None:
        for number, job in enumerate(told(*payloads)):
            transaction.hear([Event(guid=f"guid-{number}", at=NOW + number, job=job)])
        kept = transaction.jobs().get(7)
        return kept[0] if kept else None

    return asyncio.run(ledger.transact(hear))


@pytest.mark.parametrize(
    ("payloads", "status"),
    [
        pytest.param([GATED], JobStatus.WAITING, id="queued, but waiting at a gate: not to be served"),
        pytest.param([GATED, QUEUED], JobStatus.QUEUED, id="a second queued, behind the gate"),
        pytest.param([QUEUED, GATED], JobStatus.QUEUED, id="the gate's event comes late"),
        pytest.param([QUEUED, QUEUED], JobStatus.QUEUED, id="queued told twice"),
        pytest.param([QUEUED, DONE], None, id="completed without in_progress"),
        pytest.param([QUEUED, CANCELLED], None, id="cancelled while queued"),
        pytest.param([DONE], None, id="completed without queued"),
        pytest.param([DONE, QUEUED], None, id="queued comes last"),
        pytest.param([RUNS, QUEUED], JobStatus.IN_PROGRESS, id="queued overtaken by in_progress"),
        pytest.param([DONE, RUNS, QUEUED], None, id="all in reverse"),
    ],
)
def test_a_jobs_state_survives_the_traps_of_its_events(
    ledger: Ledger, payloads: list[dict[str, Any]], status: JobStatus | None
) -> None:
    kept = comes_to(ledger, payloads)
    assert (kept.status if kept else None) == status


@pytest.mark.parametrize("none", [0, None])
def test_a_job_cancelled_while_queued_had_no_runner(none: int | None) -> None:
    (job,) = told(payload("completed", status="completed", conclusion="cancelled", runner_id=none, runner_name=""))
    assert (job.runner_id, job.runner_name) == (None, None)


def test_a_queued_job_that_names_a_runner_is_still_queued(ledger: Ledger) -> None:
    kept = comes_to(ledger, [payload(runner_id=5, runner_name="runpod-3-1")])
    assert kept
    assert kept.status is JobStatus.QUEUED


def test_a_job_without_labels_keeps_its_group_for_a_route_that_takes_such(ledger: Ledger) -> None:
    kept = comes_to(ledger, [payload(labels=[], runner_group_name="gpus")])
    assert kept
    assert (kept.labels, kept.runner_group) == ((), "gpus")


@pytest.mark.parametrize("field", ["name", "workflow_name", "head_branch", "runner_name", "runner_group_name"])
def test_a_nul_in_a_text_does_not_break_a_ledger_that_cannot_hold_it(ledger: Ledger, field: str) -> None:
    assert comes_to(ledger, [payload(**{field: "a\0b"})])


def test_a_nul_in_a_label_does_not_break_it_either(ledger: Ledger) -> None:
    kept = comes_to(ledger, [payload(labels=["runpod", "g\0pu"])])
    assert kept
    assert kept.labels == ("runpod", "g\N{REPLACEMENT CHARACTER}pu")
