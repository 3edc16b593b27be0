"""`bridge doctor` names each way in which RunPod can be set up wrongly: one line, with what was seen and the fix."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bridge.emulator.faults import Fault, FaultKind
from tests.support.doctor import TOML, Clinic, clinic

LIMIT = 22_320
"""s that a request of the clinic's route may run."""

REDUCED = "RunPod reduces it to 2 after 3 days without requests, to 0 after 7 days or when workers stay unhealthy"
APPLY = "run `bridge endpoints apply`"


@pytest.fixture
def well(tmp_path: Path) -> Iterator[Clinic]:
    with clinic(tmp_path) as made:
        yield made


def endpoint(clinic: Clinic) -> str:
    """The id of the endpoint that `apply` created."""
    account = clinic.cloud.runpod.account
    return next(id_ for id_, record in account.records.items() if record["name"] == "l4")


def record(clinic: Clinic) -> dict[str, Any]:
    """What RunPod has of it."""
    return clinic.cloud.runpod.account.records[endpoint(clinic)]


def change(**settings: Any) -> Callable[[Clinic], None]:
    return lambda clinic: record(clinic).update(settings)


def set_workers_max(value: int) -> Callable[[Clinic], None]:
    def break_it(clinic: Clinic) -> None:
        clinic.cloud.runpod.state.endpoints[endpoint(clinic)].workers_max = value

    return break_it


def delete(clinic: Clinic) -> None:
    clinic.cloud.runpod.account.delete(endpoint(clinic))


def quota_of(value: int) -> Callable[[Clinic], None]:
    return lambda clinic: setattr(clinic.cloud.runpod.account, "quota", value)


def no_quota_for_the_file(clinic: Clinic) -> None:
    clinic.cloud.runpod.account.quota = 5
    clinic.config.write_text(TOML.replace("workers_max = 3", "workers_max = 4") + "max_workers = 3\n")


def no_stock(clinic: Clinic) -> None:
    clinic.cloud.runpod.account.catalog.stock["AMPERE_24"] = {}


def spend_limit(clinic: Clinic) -> None:
    clinic.cloud.runpod.account.spend_limit = 2.0


def unhealthy(clinic: Clinic) -> None:
    clinic.cloud.runpod.state.endpoints[endpoint(clinic)].unhealthy = 2


def throttled(clinic: Clinic) -> None:
    clinic.cloud.runpod.state.endpoints[endpoint(clinic)].capacity = 0
    clinic.cloud.runpod.state.submit(endpoint(clinic), {"input": {"self_test": True}})


def outdated(clinic: Clinic) -> None:
    worker = clinic.cloud.runpod.state.add_worker(endpoint(clinic))
    worker.created_at = 0.0


def greedy(clinic: Clinic) -> None:
    clinic.config.write_text(TOML + "max_workers = 5\n")


def other_image(clinic: Clinic) -> None:
    record(clinic)["gpu"]["pools"] = ["ADA_24", "AMPERE_24"]
    record(clinic)["registry"] = "reg1"


def latest(clinic: Clinic) -> None:
    clinic.config.write_text(TOML.replace(":1.0", ":latest"))
    record(clinic)["image"] = "ghcr.io/acme/runner:latest"


def no_tag(clinic: Clinic) -> None:
    clinic.config.write_text(TOML.replace(":1.0", ""))
    record(clinic)["image"] = "ghcr.io/acme/runner"


def wrong_key(clinic: Clinic) -> None:
    clinic.variables["RUNPOD_API_KEY"] = "rpa_wrong"


def refused_management_key(clinic: Clinic) -> None:
    clinic.variables["RUNPOD_MANAGEMENT_API_KEY"] = "rpa_wrong"


def weak_management_key(clinic: Clinic) -> None:
    clinic.variables["RUNPOD_MANAGEMENT_API_KEY"] = clinic.cloud.api_key


def both(first: Callable[[Clinic], None], second: Callable[[Clinic], None]) -> Callable[[Clinic], None]:
    def break_it(clinic: Clinic) -> None:
        first(clinic)
        second(clinic)

    return break_it


def without_management_key(clinic: Clinic) -> None:
    clinic.variables["RUNPOD_MANAGEMENT_API_KEY"] = ""


NOT_CHECKED = "the settings, releases and stock of endpoints, the quota and the spend limit were not checked"
KEY_FIX = "set RUNPOD_MANAGEMENT_API_KEY for this command to a RunPod key that may manage endpoints"

BROKEN: dict[str, tuple[Callable[[Clinic], None], str, str]] = {
    "deleted": (
        delete,
        "endpoint.exists l4",
        "RunPod has no endpoint {id}; run `bridge endpoints apply`, which creates it again",
    ),
    "deleted, seen without a management key": (
        both(delete, without_management_key),
        "endpoint.exists l4",
        "RunPod has no endpoint {id}; run `bridge endpoints apply`, which creates it again",
    ),
    "max 0": (
        set_workers_max(0),
        "endpoint.workers_max l4",
        f"0: no worker starts ({REDUCED}); run `bridge doctor --fix`, which sets it to 3",
    ),
    "max reduced to 2": (
        set_workers_max(2),
        "endpoint.workers_max l4",
        f"2 instead of 3 ({REDUCED}); run `bridge doctor --fix`, which sets it to 3",
    ),
    "max 1": (
        set_workers_max(1),
        "endpoint.workers_max l4",
        "1 instead of 3; run `bridge doctor --fix`, which sets it to 3",
    ),
    "max too high": (set_workers_max(4), "endpoint.workers_max l4", f"4 instead of 3; {APPLY}"),
    "a route that asks for more workers": (
        greedy,
        "endpoint.workers_max l4",
        "3, but route gpu asks for up to 5 workers: the others wait; raise workers_max, or lower max_workers of the "
        "route",
    ),
    "load balancer": (
        change(type="LOAD_BALANCER"),
        "endpoint.type l4",
        "LOAD_BALANCER: RunPod queues no requests for it; run `bridge endpoints delete l4`, then "
        "`bridge endpoints apply`",
    ),
    "timeout": (
        change(timeout=600_000),
        "endpoint.timeout l4",
        f"600 s, a route's requests may run {LIMIT} s: only their own limit lets jobs finish; {APPLY}",
    ),
    "scaling": (
        change(scaling={"type": "QUEUE_DELAY", "queueDelay": 4}),
        "endpoint.scaling l4",
        f"QUEUE_DELAY 4: not one worker per request; {APPLY}",
    ),
    "flashboot": (
        change(flashboot="FLASHBOOT"),
        "endpoint.flashboot l4",
        f"FLASHBOOT: a worker may keep what an earlier job left; {APPLY}",
    ),
    "latest": (
        latest,
        "endpoint.image l4",
        "ghcr.io/acme/runner:latest: the tag `latest`: workers may run different versions; set `image` to a version "
        f"in bridge.toml, then {APPLY}",
    ),
    "no tag": (
        no_tag,
        "endpoint.image l4",
        "ghcr.io/acme/runner: no tag, which means `latest`: workers may run different versions; set `image` to a "
        f"version in bridge.toml, then {APPLY}",
    ),
    "drift": (
        other_image,
        "endpoint.drift l4",
        "differs from bridge.toml: registry (reg1 -> none), gpu (ADA_24, AMPERE_24 -> AMPERE_24); read "
        f"`bridge endpoints plan`, then {APPLY}",
    ),
    "unhealthy": (
        unhealthy,
        "endpoint.workers l4",
        "2 unhealthy now: they start and fail; read the workers' logs in RunPod's console; "
        "`bridge doctor --self-test` tries one",
    ),
    "unhealthy, seen without a management key": (
        both(unhealthy, without_management_key),
        "endpoint.workers l4",
        "2 unhealthy now: they start and fail; read the workers' logs in RunPod's console; "
        "`bridge doctor --self-test` tries one",
    ),
    "throttled": (
        throttled,
        "endpoint.workers l4",
        "1 throttled now: RunPod has no free machine for them; wait, or add GPU pools or regions to the endpoint",
    ),
    "an older release": (
        outdated,
        "endpoint.release l4",
        "1 of 1 workers run an older release; wait until they have ended",
    ),
    "no stock": (
        no_stock,
        "endpoint.stock l4",
        "none of AMPERE_24 in any region now: new workers wait; add one that has stock: AMPERE_16, ADA_24, AMPERE_48",
    ),
    "quota exceeded": (
        quota_of(4),
        "runpod.quota",
        "workers_max of all endpoints of the account is 5, over its quota of 4 workers; lower workers_max of an "
        "endpoint, or add balance to the account, which raises the quota",
    ),
    "quota too low for bridge.toml": (
        no_quota_for_the_file,
        "runpod.quota",
        "bridge.toml asks for 6 workers in the account, over its quota of 5: `bridge endpoints apply` would change "
        "nothing; lower workers_max of an endpoint, or add balance to the account, which raises the quota",
    ),
    "spend limit": (
        spend_limit,
        "runpod.spend_limit",
        "all workers together cost at most $2.05 per hour, the account's spend limit is $2.00: RunPod starts no "
        "worker above it; raise the limit in RunPod's console, or lower workers_max",
    ),
    "management key refused": (
        refused_management_key,
        "runpod.management_key",
        f"RunPod: GET /v2/serverless: 401, RUNPOD_MANAGEMENT_API_KEY was refused: {NOT_CHECKED}; {KEY_FIX}",
    ),
    "management key without permission": (
        weak_management_key,
        "runpod.management_key",
        f"RunPod: GET /v2/serverless: 403, RUNPOD_MANAGEMENT_API_KEY may not do this: {NOT_CHECKED}; {KEY_FIX}",
    ),
    "run-time key wrong": (
        wrong_key,
        "runpod.key",
        "RunPod: GET /{id}/health (endpoint l4): 401 Unauthorized: RunPod rejected RUNPOD_API_KEY; set a valid key",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_each_fault_is_one_line_with_its_fix(well: Clinic, name: str) -> None:
    break_it, check, text = BROKEN[name]
    id_ = endpoint(well)
    break_it(well)
    found = well.troubles()
    if name == "quota too low for bridge.toml":
        found.pop("endpoint.workers_max l4")
    assert found == {check: text.replace("{id}", id_)}


def test_without_a_management_key_the_rest_is_checked_and_the_key_is_asked_for(well: Clinic) -> None:
    without_management_key(well)
    found = {check["id"]: check for check in well.checks(status=0)}
    assert found["runpod.management_key"] == {
        "id": "runpod.management_key",
        "subject": None,
        "status": "skipped",
        "evidence": f"not set: {NOT_CHECKED}",
        "fix": KEY_FIX,
    }
    assert found["runpod.key"]["status"] == "ok"
    assert found["endpoint.workers"]["status"] == "ok"
    assert "endpoint.stock" not in found


BARE = """
[[route]]
name = "gpu"
labels = ["runpod", "gpu"]
endpoint = "{id}"
"""

BY_HAND: dict[str, tuple[Callable[[Clinic], None], str, str]] = {
    "deleted": (
        delete,
        "endpoint.exists {id}",
        "RunPod has no endpoint {id}; set the route's endpoint to one that exists",
    ),
    "max 0": (
        set_workers_max(0),
        "endpoint.workers_max {id}",
        f"0: no worker starts ({REDUCED}); raise its maximum of workers in RunPod's console",
    ),
    "load balancer": (
        change(type="LOAD_BALANCER"),
        "endpoint.type {id}",
        "LOAD_BALANCER: RunPod queues no requests for it; create an endpoint of type queue, and set the route's "
        "endpoint to its id",
    ),
    "latest": (
        change(image="runner"),
        "endpoint.image {id}",
        "runner: no tag, which means `latest`: workers may run different versions; choose the image's version in "
        "RunPod's console",
    ),
    "flashboot": (
        change(flashboot="FLASHBOOT"),
        "endpoint.flashboot {id}",
        "FLASHBOOT: a worker may keep what an earlier job left; turn it off in RunPod's console",
    ),
}


@pytest.mark.parametrize("name", BY_HAND)
def test_an_endpoint_that_was_made_by_hand_is_checked_and_mended_by_hand(well: Clinic, name: str) -> None:
    break_it, check, text = BY_HAND[name]
    id_ = endpoint(well)
    (well.folder / "bridge.endpoints.toml").unlink()
    well.config.write_text(BARE.replace("{id}", id_))
    assert well.troubles() == {}
    break_it(well)
    assert well.troubles() == {check.replace("{id}", id_): text.replace("{id}", id_)}


HTML: dict[str, Any] = {"status": 200, "body": "<html>busy</html>", "headers": {"content-type": "text/html"}}
LATER = "run `bridge doctor` again later"

HEALTH_FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "failed": ({"kind": FaultKind.ERROR, "status": 503}, f"503 Service Unavailable; {LATER}"),
    "html": ({"kind": FaultKind.ERROR, **HTML}, f"no readable answer (JSONDecodeError); {LATER}"),
    "limited": ({"kind": FaultKind.ERROR, "status": 429}, f"429 Too Many Requests: rate limit reached; {LATER}"),
    "slow": ({"kind": FaultKind.HANG, "seconds": 5.0}, f"no readable answer (ReadTimeout); {LATER}"),
    "forbidden": (
        {"kind": FaultKind.ERROR, "status": 403},
        "403 Forbidden: RUNPOD_API_KEY may not use this endpoint; give the key access to it",
    ),
    "unknown to this key": (
        {"kind": FaultKind.ERROR, "status": 404},
        "RUNPOD_API_KEY does not see an endpoint that RUNPOD_MANAGEMENT_API_KEY sees; set RUNPOD_API_KEY to a key of "
        "the same account that may use the endpoint",
    ),
}


@pytest.mark.parametrize("name", HEALTH_FAULTS)
def test_an_endpoint_whose_health_cannot_be_read_is_one_line_and_is_asked_once(well: Clinic, name: str) -> None:
    details, text = HEALTH_FAULTS[name]
    runpod = well.cloud.runpod
    runpod.faults.add(Fault(method="GET", path="/health$", **details))
    before = runpod.calls.total()
    (found,) = well.troubles().items()
    assert found[0] == "runpod.key"
    assert found[1].removeprefix(f"RunPod: GET /{endpoint(well)}/health (endpoint l4): ") == text
    assert runpod.calls.total() - before == (details["kind"] not in (FaultKind.ERROR, FaultKind.HANG))


MANAGEMENT_FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "failed": ({"kind": FaultKind.ERROR, "status": 503}, f"HTTP 503: {NOT_CHECKED}; {LATER}"),
    "html": (
        {"kind": FaultKind.ERROR, **HTML},
        f"the answer is not JSON (text/html): {NOT_CHECKED}; is the URL right?",
    ),
    "limited": (
        {"kind": FaultKind.ERROR, "status": 429, "headers": {"retry-after": "900"}},
        f"rate limit of RunPod: {NOT_CHECKED}; try again in 900 s",
    ),
    "refused": ({"kind": FaultKind.ERROR, "status": 400, "body": "{}"}, f"400: {NOT_CHECKED}; {LATER}"),
}


@pytest.mark.parametrize("name", MANAGEMENT_FAULTS)
@pytest.mark.parametrize("path", ["/serverless$", "/workers$"])
def test_a_management_api_that_cannot_be_read_is_one_line(well: Clinic, name: str, path: str) -> None:
    details, text = MANAGEMENT_FAULTS[name]
    well.cloud.runpod.faults.add(Fault(method="GET", path=path, times=3, **details))
    (found,) = well.troubles().items()
    call = {"/serverless$": "/v2/serverless", "/workers$": f"/v2/serverless/{endpoint(well)}/workers"}[path]
    assert found == ("runpod.management_key", f"RunPod: GET {call}: {text}")


def test_limits_that_runpod_does_not_tell_are_skipped(well: Clinic) -> None:
    well.cloud.runpod.faults.add(Fault(method="GET", path="/limits$", kind=FaultKind.ERROR, status=404))
    found = {check["id"]: (check["status"], check["evidence"]) for check in well.checks(status=0)}
    assert found["runpod.quota"] == ("skipped", "RunPod did not tell the account's quota of workers")
    assert found["runpod.spend_limit"] == ("skipped", "RunPod did not tell the account's spend limit")
