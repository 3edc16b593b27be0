"""An HTTP client of the runner's protocol, written from what the official runner was seen to send."""

import base64
import json
import time
import uuid
from dataclasses import dataclass, field
from typing import Any

import httpx
import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

from bridge.emulator.github import GitHubEmulator
from bridge.emulator.github.state import Runner, jit_config

ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
VERSION = "2.338.0"


def files_of(encoded: str) -> dict[str, Any]:
    """The files in a just-in-time configuration."""
    files = json.loads(base64.b64decode(encoded))
    return {name: json.loads(base64.b64decode(content)) for name, content in files.items()}


def private_key(parameters: dict[str, str]) -> rsa.RSAPrivateKey:
    """The key in `.credentials_rsaparams`."""
    number = {name: int.from_bytes(base64.b64decode(value)) for name, value in parameters.items()}
    public = rsa.RSAPublicNumbers(number["exponent"], number["modulus"])
    return rsa.RSAPrivateNumbers(
        p=number["p"], q=number["q"], d=number["d"], dmp1=number["dp"], dmq1=number["dq"], iqmp=number["inverseQ"],
        public_numbers=public,
    ).private_key()  # fmt: skip


@dataclass
class Client:
    """One runner, configured by a just-in-time configuration.

    Args:
        http: without a base URL, because every URL comes from the server.
        files: of its configuration.
    """

    http: httpx.Client
    files: dict[str, Any]
    token: str = ""
    session: str = ""
    message: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, http: httpx.Client, runner: Runner, github: GitHubEmulator) -> "Client":
        return cls(http, files_of(jit_config(runner, github.url)))

    @property
    def broker(self) -> str:
        return str(self.files[".runner"]["ServerUrlV2"])

    @property
    def job_url(self) -> str:
        return str(self.endpoint["url"])

    @property
    def endpoint(self) -> dict[str, Any]:
        (found,) = self.message["resources"]["endpoints"]
        return dict(found)

    @property
    def job_headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.endpoint['authorization']['parameters']['AccessToken']}"}

    @property
    def ids(self) -> dict[str, str]:
        return {"planId": self.message["plan"]["planId"], "jobId": self.message["jobId"]}

    def assertion(self, algorithm: str = "PS256", key: rsa.RSAPrivateKey | None = None, **changed: Any) -> str:
        data = self.files[".credentials"]["Data"]
        now = int(time.time())
        claims = {
            "iss": data["ClientId"], "sub": data["ClientId"], "aud": data["AuthorizationUrl"],
            "nbf": now + 1, "exp": now + 300, "jti": str(uuid.uuid4()), **changed,
        }  # fmt: skip
        return jwt.encode(claims, key or private_key(self.files[".credentials_rsaparams"]), algorithm)

    def sign_in(self, assertion: str | None = None, **changed: str) -> httpx.Response:
        form = {
            "grant_type": "client_credentials",
            "client_assertion_type": ASSERTION,
            "client_assertion": assertion or self.assertion(),
            **changed,
        }
        answer = self.http.post(self.files[".credentials"]["Data"]["AuthorizationUrl"], data=form)
        self.token = answer.json().get("access_token", "")
        return answer

    def call(self, method: str, url: str, body: object = None, **query: str) -> httpx.Response:
        """A call of the Listener."""
        headers = {"Authorization": f"Bearer {self.token}"}
        return self.http.request(method, url, json=body, params=query, headers=headers)

    def open(self, version: str = VERSION) -> httpx.Response:
        agent = {"id": 1, "name": "r", "version": version, "osDescription": "Linux"}
        body = {"sessionId": str(uuid.UUID(int=0)), "ownerName": "host (PID: 1)", "agent": agent}
        answer = self.call("POST", f"{self.broker}session", body)
        self.session = answer.json().get("sessionId", "")
        return answer

    def poll(self, status: str = "Online", version: str = VERSION) -> httpx.Response:
        query = {
            "sessionId": self.session, "status": status, "runnerVersion": version, "os": "Linux",
            "architecture": "X64", "disableUpdate": "true",
        }  # fmt: skip
        return self.call("GET", f"{self.broker}message", None, **query)

    def acquire(self, request: dict[str, Any]) -> httpx.Response:
        body = {"jobMessageId": request["runner_request_id"], "runnerOS": "Linux", "billingOwnerId": "x"}
        answer = self.call("POST", f"{request['run_service_url']}acquirejob", body)
        if answer.is_success:
            self.message = answer.json()
        return answer

    def take(self) -> dict[str, Any]:
        """Sign in, open a session, and take the job that is queued; returns its message."""
        self.sign_in()
        self.open()
        assert self.acquire(json.loads(self.poll().json()["body"])).status_code == 200
        return self.message

    def of_job(self, url: str, body: dict[str, Any]) -> httpx.Response:
        """A call of the Worker."""
        return self.http.post(url, json=body, headers=self.job_headers)

    def renew(self) -> httpx.Response:
        return self.of_job(f"{self.job_url}renewjob", self.ids)

    def complete(self, conclusion: str = "succeeded", **given: Any) -> httpx.Response:
        body = {"conclusion": conclusion, "outputs": {}, "stepResults": [], "annotations": [], "telemetry": []}
        return self.of_job(f"{self.job_url}completejob", {**self.ids, **body, **given})

    def twirp(self, call: str, body: dict[str, Any]) -> httpx.Response:
        results = self.message["variables"]["system.github.results_endpoint"]["value"]
        ids = {
            "workflow_run_backend_id": self.ids["planId"], "workflow_job_run_backend_id": self.ids["jobId"]
        }  # fmt: skip
        return self.of_job(f"{results}twirp/{call}", {**ids, **body})
