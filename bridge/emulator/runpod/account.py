"""The endpoints of the emulated RunPod account, as its management API sees them.

Each record is what GET answers. Endpoints that were created here take requests at once, and the other way round:
both APIs share one RunPodState. Rules without a link are from the OpenAPI description of the API,
https://api.runpod.io/v2/openapi.json.
"""

import re
import secrets
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from bridge.emulator.runpod.bodies import Change, Creation, Problem, validated
from bridge.emulator.runpod.catalog import Catalog
from bridge.emulator.runpod.state import TERMINAL, EndpointConfig, RunPodState, Worker

RELEASED = frozenset({"image", "args", "env", "disk", "ports", "registry", "gpu", "cpu"})
"""Settings of the container and its machine: a change makes a release, which reaches workers as they are replaced."""

Record = dict[str, Any]


def _ignore(_endpoint: str, _record: Record) -> None:
    """No workers are run for a new endpoint."""


def _forget(_endpoint: str) -> None:
    """No workers were run for a deleted endpoint."""


class Account:
    """An account's endpoints.

    Args:
        state: the endpoints that take requests.
        quota: the highest sum of workers.max over all endpoints; by default 5, more by balance:
            https://docs.runpod.io/serverless/workers/overview
        cold_start: s, of the endpoints that are created.

    Attributes:
        records: by id, what GET answers.
        on_create: called for each new or changed endpoint.
        on_delete: called for each deleted endpoint.
        volumes, registries: ids that exist.
        secrets: values by name, which `{{ RUNPOD_SECRET_name }}` in a variable stands for.
        spend_limit: USD per hour.
    """

    def __init__(self, state: RunPodState, *, quota: int = 5, cold_start: float = 0.0) -> None:
        self.state = state
        self.quota = quota
        self.cold_start = cold_start
        self.catalog = Catalog()
        self.records: dict[str, Record] = {}
        self.releases: dict[str, list[dict[str, Any]]] = {}
        self._released_at: dict[str, list[float]] = {}
        self.volumes: set[str] = set()
        self.registries: set[str] = set()
        self.secrets: dict[str, str] = {}
        self.spend_limit = 80.0
        self.url = "https://api.runpod.ai/v2"
        self.on_create: Callable[[str, Record], None] = _ignore
        self.on_delete: Callable[[str], None] = _forget
        for id_, config in state.endpoints.items():
            self._keep(id_, self._new(id_, _made_by_hand(id_, config)))

    def known(self, id_: str) -> Record:
        """The record of an endpoint.

        Raises:
            Problem: 404.
        """
        if id_ not in self.records:
            raise Problem(404, "serverless endpoint not found")
        # The state may have been changed meanwhile, as RunPod reduces workers.max on its own.
        self.records[id_]["workers"]["max"] = self.state.endpoints[id_].workers_max
        return self.records[id_]

    def all(self) -> list[Record]:
        """All records, oldest first."""
        return [self.known(id_) for id_ in self.records]

    def create(self, body: Any) -> Record:
        """POST /v2/serverless. A name may be used twice."""
        given = validated(Creation, body)
        if ("gpu" in given) == ("cpu" in given):
            raise Problem(400, "specify exactly one of gpu or cpu")
        id_ = secrets.token_hex(7)
        record = self._new(id_, given)
        self._check(record, given)
        self._check_quota(record["workers"]["max"], instead_of=0)
        config = EndpointConfig(workers_max=record["workers"]["max"], cold_start=self.cold_start)
        self.state.endpoints[id_] = config
        self._keep(id_, record)
        self.on_create(id_, record)
        return record

    def update(self, id_: str, body: Any) -> Record:
        """PATCH /v2/serverless/{id}: what is left out stays as it is."""
        before = self.known(id_)
        given = validated(Change, body)
        if ("gpu" in given and "cpu" in before) or ("cpu" in given and before.get("gpu")):
            raise Problem(400, "compute family cannot be changed")
        record = self._merged(before, given)
        self._check(record, given)
        self._check_quota(record["workers"]["max"], instead_of=before["workers"]["max"])
        self.records[id_] = record
        self.state.endpoints[id_].workers_max = record["workers"]["max"]
        self._release(id_, before, record)
        self.on_create(id_, record)
        return record

    def delete(self, id_: str) -> None:
        """DELETE /v2/serverless/{id}: cancels its requests and ends its workers."""
        self.known(id_)
        self.on_delete(id_)
        for request in [r for r in self.state.requests.values() if r.endpoint == id_ and r.status not in TERMINAL]:
            self.state.cancel(id_, request.id)
        for worker in self.state.workers.values():
            worker.leaving = worker.leaving or worker.endpoint == id_
        del self.records[id_], self.releases[id_], self._released_at[id_]
        self.state.endpoints.pop(id_)

    def environment(self, id_: str) -> dict[str, str]:
        """The variables of an endpoint's workers: https://docs.runpod.io/pods/templates/secrets"""

        def value(match: re.Match[str]) -> str:
            return self.secrets.get(match[1], match[0])

        pattern = r"\{\{\s*RUNPOD_SECRET_([\w.\-/]+)\s*\}\}"
        return {name: re.sub(pattern, value, text) for name, text in self.known(id_)["env"].items()}

    def workers(self, id_: str) -> dict[str, Any]:
        """GET /v2/serverless/{id}/workers."""
        record, version = self.known(id_), self._version(id_)
        mine = [worker for worker in self.state.workers.values() if worker.endpoint == id_]
        shown = [
            _worker(worker, record, self._version_of(worker), version) | self._placed(worker, record) for worker in mine
        ]
        shown += [_without_requests("THROTTLED", record, version)] * self.state.throttled(id_)
        shown += [_without_requests("UNHEALTHY", record, version)] * self.state.endpoints[id_].unhealthy
        statuses = ("running", "idle", "initializing", "throttled", "unhealthy")
        counts = {status: sum(w["status"] == status.upper() for w in shown) for status in statuses}
        return {"workers": shown, "summary": {**counts, "total": len(shown)}, "endpointVersion": version}

    def _placed(self, worker: Worker, record: Record) -> dict[str, Any]:
        """Where a worker runs and since when; nothing while it is starting."""
        if not worker.ready:
            return {}
        started = worker.created_at + self.state.endpoints[worker.endpoint].cold_start
        gpu = record.get("gpu")
        types = self.catalog.types_of(gpu["pools"]) - {*gpu.get("excludedTypes", [])} if gpu else ()
        return {
            "uptimeSeconds": max(0, int(self.state.clock() - started)),
            "startedAt": stamp(started),
            "gpuTypeId": min(types, default=None),
            "dataCenterId": next(iter(record["dataCenterIds"]), min(self.catalog.regions)),
        }

    def history(self, id_: str) -> dict[str, Any]:
        """GET /v2/serverless/{id}/releases, newest first."""
        self.known(id_)
        versions = [self._version_of(worker) for worker in self.state.workers.values() if worker.endpoint == id_]
        latest, total = versions.count(self._version(id_)), len(versions)
        rollout = {
            "inProgress": latest < total,
            "workersOnLatest": latest,
            "workersTotal": total,
            "percentOnLatest": round(100 * latest / total) if total else 0,
        }
        releases = list(reversed(self.releases[id_]))
        return {"endpointVersion": self._version(id_), "rollout": rollout, "releases": releases}

    def limits(self) -> dict[str, Any]:
        """https://docs.runpod.io/api-reference-v2/account/get-account-limits names the two objects, not their keys."""
        return {
            "spendRate": {"limit": self.spend_limit, "current": 0.0},
            "serverlessWorkers": {"limit": self.quota, "current": self._workers_max()},
        }

    def _new(self, id_: str, given: Record) -> Record:
        record = {
            "args": "",
            "disk": 20,
            "env": {},
            "ports": [],
            "registry": None,
            "dataCenterIds": [],
            "networkVolumes": [],
            "timeout": 300_000,
            "flashboot": "OFF",
            **{key: value for key, value in given.items() if key not in ("gpu", "cpu", "workers")},
            "id": id_,
            "requestUrls": self._urls(id_, given["type"]),
            "workers": {"min": 0, "max": 3, "idleTimeout": 10, **given.get("workers", {})},
            "createdAt": self._now(),
        }
        if _scales_by_count(record):
            record["workers"].pop("idleTimeout", None)  # not in answers either
        return {**record, **self._compute(given)}

    def _compute(self, given: Record) -> Record:
        if "cpu" in given:
            memory = self.catalog.flavors
            return {"cpu": [{**c, "memory": int(memory.get(c["id"], 0) * c["vcpuCount"])} for c in given["cpu"]]}
        gpu = {"count": 1, "allowedCudaVersions": [], "minCudaVersion": None, **given["gpu"]}
        return {"gpu": gpu}

    def _merged(self, before: Record, given: Record) -> Record:
        record = {**before, **{key: value for key, value in given.items() if key not in ("gpu", "cpu", "workers")}}
        record["workers"] = {**before["workers"], **given.get("workers", {})}
        if _scales_by_count(record):
            record["workers"].pop("idleTimeout", None)
        if "cpu" in given:
            record |= self._compute(given)
        if "gpu" in given:
            gpu = {**before["gpu"], **given["gpu"]}
            if "pools" in given["gpu"] and "excludedTypes" not in given["gpu"]:
                gpu.pop("excludedTypes", None)  # a new selection clears the exclusions
            record["gpu"] = {**gpu, "minCudaVersion": gpu["minCudaVersion"] or None}
        return record

    def _check(self, record: Record, given: Record) -> None:
        """The rules across fields: 400 each."""
        if _scales_by_count(record) and "idleTimeout" in given.get("workers", {}):
            raise Problem(400, "workers.idleTimeout is not applicable to QUEUE endpoints scaling on REQUEST_COUNT")
        if record["workers"]["min"] > record["workers"]["max"]:
            raise Problem(400, "workers.min must not exceed workers.max")
        if unknown := set(record["dataCenterIds"]) - self.catalog.regions:
            raise Problem(400, f"unknown data center: {min(unknown)}")
        if unknown := set(record["networkVolumes"]) - self.volumes:
            raise Problem(404, f"network volume not found: {min(unknown)}")
        if record["registry"] is not None and record["registry"] not in self.registries:
            raise Problem(404, "registry not found")
        if record.get("gpu"):
            self._check_gpu(record["gpu"])
        for cpu in record.get("cpu", []):
            self._check_cpu(cpu, record["disk"])

    def _check_gpu(self, gpu: Record) -> None:
        if unknown := set(gpu["pools"]) - self.catalog.pools:
            raise Problem(400, f"unknown GPU pool: {min(unknown)}")
        types, excluded = self.catalog.types_of(gpu["pools"]), {type_.strip() for type_ in gpu.get("excludedTypes", [])}
        if excluded - types:
            raise Problem(400, f"excludedTypes: {min(excluded - types)} is not a GPU type in the selected pools")
        if not types - excluded:
            raise Problem(400, "excludedTypes leaves no GPU type")
        if gpu["allowedCudaVersions"] and gpu["minCudaVersion"]:
            raise Problem(400, "allowedCudaVersions and minCudaVersion are mutually exclusive")

    def _check_cpu(self, cpu: Record, disk: int) -> None:
        if cpu["id"] not in self.catalog.flavors:
            raise Problem(400, f"unknown CPU flavor: {cpu['id']}")
        if cpu["vcpuCount"] & (cpu["vcpuCount"] - 1):
            raise Problem(400, "vcpuCount must be a power of two")
        limit = self.catalog.disk_limit(cpu["id"], cpu["vcpuCount"])
        if disk > limit:
            raise Problem(400, f"disk must not exceed {limit} GB for {cpu['vcpuCount']} vCPUs of {cpu['id']}")

    def _check_quota(self, workers_max: int, *, instead_of: int) -> None:
        # The text of https://docs.runpod.io/tutorials/flash/build-rest-api-with-load-balancer
        if workers_max > instead_of and self._workers_max() + workers_max - instead_of > self.quota:
            raise Problem(400, f"Max workers across all endpoints must not exceed your workers quota ({self.quota})")

    def _workers_max(self) -> int:
        return sum(record["workers"]["max"] for record in self.all())

    def _urls(self, id_: str, kind: str) -> dict[str, str]:
        if kind == "LOAD_BALANCER":
            return {"base": f"https://{id_}.api.runpod.ai", "health": f"https://{id_}.api.runpod.ai/ping"}
        paths = {"run": "run", "runSync": "runsync", "purgeQueue": "purge-queue", "health": "health"}
        of_job = {verb: f"{verb}/{{job_id}}" for verb in ("status", "stream", "cancel", "retry")}
        return {name: f"{self.url}/{id_}/{path}" for name, path in (paths | of_job).items()}

    def _keep(self, id_: str, record: Record) -> None:
        self.records[id_] = record
        self.releases[id_], self._released_at[id_] = [], []
        self._release(id_, {}, record)

    def _release(self, id_: str, before: Record, after: Record) -> None:
        changed = [field for field in sorted(RELEASED) if before.get(field) != after.get(field)]
        if not changed:
            return
        self._released_at[id_].append(self.state.clock())
        diff = [{"field": field, "old": before.get(field), "new": after.get(field)} for field in changed]
        self.releases[id_].append(
            {
                "id": secrets.token_hex(4),
                "version": self._version(id_) + 1,
                "source": "MANUAL",
                "buildId": None,
                "createdByUserId": None,
                "workerCount": 0,
                "createdAt": self._now(),
                "diff": diff if before else [],
            }
        )

    def _version(self, id_: str) -> int:
        return len(self.releases[id_])

    def _version_of(self, worker: Worker) -> int:
        """The release that a worker runs: a release reaches an endpoint's workers as they are replaced."""
        return sum(at <= worker.created_at for at in self._released_at[worker.endpoint])

    def _now(self) -> str:
        return stamp(self.state.clock())


def _scales_by_count(record: Record) -> bool:
    return bool(record["type"] == "QUEUE" and record["scaling"]["type"] == "REQUEST_COUNT")


def stamp(at: float) -> str:
    """Unix seconds as RFC 3339."""
    return (datetime.fromtimestamp(0, UTC) + timedelta(seconds=at)).isoformat(timespec="milliseconds")[:-6] + "Z"


def _made_by_hand(id_: str, config: EndpointConfig) -> Record:
    """An endpoint that was there before, as its owner may have made it in the console."""
    return {
        "name": id_,
        "type": "QUEUE",
        "image": "runner:emulated",
        "scaling": {"type": "REQUEST_COUNT", "requestCount": 1},
        "workers": {"max": config.workers_max},
        "gpu": {"pools": ["ADA_24"]},
    }


def _worker(worker: Worker, record: Record, version: int, latest: int) -> dict[str, Any]:
    status = "RUNNING" if worker.request else "IDLE" if worker.ready else "INITIALIZING"
    return {**_without_requests(status, record, version), "id": worker.id, "isStale": version < latest}


def _without_requests(status: str, record: Record, version: int) -> dict[str, Any]:
    """A worker that has no program here: one without a machine, or one that fails its health checks."""
    gpu = record.get("gpu")
    return {
        "id": secrets.token_hex(7),
        "status": status,
        "isStale": False,
        "version": version,
        "gpuCount": gpu["count"] if gpu else 0,
        "image": record["image"],
        "uptimeSeconds": None,
        "gpuTypeId": None,
        "dataCenterId": None,
        "startedAt": None,
    }
