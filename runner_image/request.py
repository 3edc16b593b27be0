"""Parses the input of a request. Invalid input is rejected with one line before anything starts."""

import base64
import contextlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite
from typing import Any
from urllib.parse import SplitResult, urlsplit

from bridge.core.worker import Credentials, Reason, WorkerInput
from runner_image.failure import Failure

JOB_TIMEOUT = 21_600.0
"""s that a job may run if the request does not say; GitHub's own default."""

IDLE_TIMEOUT = 300.0
"""s that a runner may wait for a job if the request does not say."""

MAX_CACHE_GB = 100_000

MAX_NAME, MAX_LABEL, MAX_LABELS = 64, 256, 100

MAX_VARIABLE = 131_071
"""Bytes of an environment variable with its name: Linux's MAX_ARG_STRLEN without the NUL, linux/binfmts.h."""

JIT_FILES = frozenset({".runner", ".credentials", ".credentials_rsaparams"})
"""The files of a JIT configuration. The runner would write any file that it names, even `../../x`."""

_WORD = re.compile(r"[!-~]+")
API = "https://api.github.com"

_OWNER = re.compile(r"[A-Za-z0-9-]+")
_PATH = re.compile(rf"/{_OWNER.pattern}(?:/(?!\.\.?/?$)[A-Za-z0-9._-]+)?/?")
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True, kw_only=True)
class RunnerRequest:
    """What to run.

    Args:
        mode: what the runner registers with.
        secret: the JIT config, registration token or PAT; None in app mode.
        url: where it registers, such as `https://github.com/ORG`; None in jit mode.
        name: of the runner.
        labels: of the runner, in addition to GitHub's defaults.
        group: name of the runner group; None for the default.
        job_timeout: s that the job may run.
        idle_timeout: s that the bridge lets the runner wait for a job.
        cache_gb: 10^9 bytes that the cache of a repository may have; None for no cache.
        not_after: Unix seconds after which nothing is started; None for no limit.
        submission: the bridge's id of the request.
        job_input: all other keys of the input, for the job, as JSON.
    """

    mode: Credentials
    secret: str | None = field(repr=False)
    url: str | None
    name: str
    labels: tuple[str, ...]
    group: str | None
    job_timeout: float
    idle_timeout: float
    cache_gb: float | None
    not_after: float | None
    submission: str | None
    job_input: str

    @property
    def target(self) -> str:
        """Where the runner registers, as an API path: orgs/ORG or repos/OWNER/NAME."""
        path = urlsplit(self.url or "").path.strip("/")
        return f"repos/{path}" if "/" in path else f"orgs/{path}"


def parse(raw: object, environment: Mapping[str, str]) -> RunnerRequest:
    """Parse a request's input. The environment provides defaults.

    Raises:
        Failure: bad_input, or configuration_failed for the endpoint's variables; names the field and the fix.
    """
    if not isinstance(raw, Mapping):
        raise _bad("input", f"must be a JSON object, not {type(raw).__name__}")
    given = {key: value for key, value in raw.items() if value is not None}
    mode = _mode(given, environment)
    name = _argument(given, "runner_name", MAX_NAME) or environment.get("RUNPOD_POD_ID") or "serverless-runpod-runner"
    if "," in name and "runner_labels" not in given:
        raise _bad("runner_name", "must not contain commas, because it is also a label; or send runner_labels")
    return RunnerRequest(
        mode=mode,
        secret=_secret(mode, given, environment),
        url=None if mode is Credentials.JIT else _url(given, environment),
        name=name,
        labels=_labels(given.get("runner_labels", ["runpod", name])),
        group=_argument(given, "runner_group", MAX_LABEL),
        job_timeout=_seconds(given, "job_timeout", JOB_TIMEOUT),
        idle_timeout=_seconds(given, "idle_timeout", IDLE_TIMEOUT),
        cache_gb=_gigabytes(given),
        not_after=_seconds(given, "not_after", 0.0) if "not_after" in given else None,
        submission=_text(given, "submission", MAX_LABEL),
        job_input=_job_input(raw),
    )


def names(raw: object) -> dict[str, str]:
    """The names that identify an input in the log, whether it is valid or not."""
    given = raw if isinstance(raw, Mapping) else {}
    known = {"submission": given.get("submission"), "runner": given.get("runner_name")}
    return {name: value for name, value in known.items() if isinstance(value, str) and len(value) <= MAX_LABEL}


def _bad(key: str, fix: str) -> Failure:
    return Failure(Reason.BAD_INPUT, f"{key}: {fix}")


def _text(given: Mapping[str, Any], key: str, longest: int) -> str | None:
    value = given.get(key)
    if value is None:
        return None
    if not isinstance(value, str) or not value or not value.isprintable():
        raise _bad(key, "must be a string of one line")
    if len(value) > longest:
        raise _bad(key, f"has {len(value)} characters; the limit is {longest}")
    return value


def _argument(given: Mapping[str, Any], key: str, longest: int) -> str | None:
    value = _text(given, key, longest)
    if value and value.startswith("-"):
        raise _bad(key, "must not start with -, because config.sh would read it as an option")
    return value


def _seconds(given: Mapping[str, Any], key: str, default: float) -> float:
    value = given.get(key, default)
    with contextlib.suppress(OverflowError):  # an integer with hundreds of digits
        if not isinstance(value, bool) and isinstance(value, int | float) and isfinite(value) and value >= 0:
            return float(value)
    raise _bad(key, "must be a number of seconds")


def _gigabytes(given: Mapping[str, Any]) -> float | None:
    value = given.get("cache_gb")
    if value is None:
        return None
    if not isinstance(value, bool) and isinstance(value, int | float) and 0 < value <= MAX_CACHE_GB:
        return float(value)
    raise _bad("cache_gb", f"must be a number of GB, above 0 and at most {MAX_CACHE_GB}")


def _labels(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not value or len(value) > MAX_LABELS:
        raise _bad("runner_labels", f"must be a list of 1 to {MAX_LABELS} labels")
    for label in value:
        if not isinstance(label, str) or not label or not label.isprintable() or "," in label:
            raise _bad("runner_labels", "each label must be a string of one line without commas")
        if label.startswith("-"):
            raise _bad("runner_labels", "no label may start with -, because config.sh would read it as an option")
        if len(label) > MAX_LABEL:
            raise _bad("runner_labels", f"a label has {len(label)} characters; the limit is {MAX_LABEL}")
    return tuple(value)


def _mode(given: Mapping[str, Any], environment: Mapping[str, str]) -> Credentials:
    if "mode" in given:
        if given["mode"] not in list(Credentials):
            raise _bad("mode", f"must be one of {', '.join(Credentials)}")
        return Credentials(given["mode"])
    if "jit_config" in given:
        return Credentials.JIT
    if "registration_token" in given:
        return Credentials.REGISTRATION
    if "github_pat" in given or environment.get("GITHUB_PAT"):
        return Credentials.PAT
    if environment.get("GITHUB_APP_PRIVATE_KEY"):
        return Credentials.APP
    raise _bad("jit_config", "missing; send it, registration_token or github_pat, or set GITHUB_PAT on the endpoint")


def _secret(mode: Credentials, given: Mapping[str, Any], environment: Mapping[str, str]) -> str | None:
    match mode:
        case Credentials.JIT:
            return _jit_config(_token(given.get("jit_config"), "jit_config"))
        case Credentials.REGISTRATION:
            return _token(given.get("registration_token"), "registration_token")
        case Credentials.PAT if given.get("github_pat") or not environment.get("GITHUB_PAT"):
            return _token(given.get("github_pat"), "github_pat")
        case Credentials.PAT:
            return _token(environment["GITHUB_PAT"], "GITHUB_PAT", Reason.CONFIGURATION_FAILED)
        case Credentials.APP:
            if not environment.get("GITHUB_APP_PRIVATE_KEY"):
                raise _bad("GITHUB_APP_PRIVATE_KEY", "missing")
            return None


def _token(value: object, key: str, reason: Reason = Reason.BAD_INPUT) -> str:
    """A secret without surrounding whitespace, which is easily copied with it."""
    token = value.strip() if isinstance(value, str) else ""
    if not token:
        raise Failure(reason, f"{key}: missing, or not a string")
    if not _WORD.fullmatch(token):
        raise Failure(reason, f"{key}: contains characters that are in no GitHub credential; copy it again")
    _refuse_long(key, "ACTIONS_RUNNER_INPUT_JITCONFIG", token)
    return token


def _job_input(raw: Mapping[str, Any]) -> str:
    try:
        text = json.dumps({key: value for key, value in raw.items() if key not in WorkerInput.__annotations__})
    except RecursionError:
        raise _bad("input", "is nested too deeply") from None
    _refuse_long("input", "JOB_INPUT", text)
    return text


def _refuse_long(key: str, variable: str, value: str) -> None:
    room = MAX_VARIABLE - len(f"{variable}=")
    if len(value) > room:
        raise _bad(key, f"has {len(value)} bytes; {variable} has room for {room}")


def _jit_config(value: str) -> str:
    try:
        files = json.loads(base64.b64decode(value, validate=True))
    except (ValueError, RecursionError):
        files = None
    if not isinstance(files, dict):
        raise _bad("jit_config", "is not a JSON object in base64; send encoded_jit_config as GitHub returned it")
    if not files.keys() <= JIT_FILES or not all(map(_is_base64, files.values())):
        known = ", ".join(sorted(JIT_FILES))
        raise _bad("jit_config", f"may contain only the files {known}, each in base64; send it as GitHub returned it")
    return value


def _is_base64(value: object) -> bool:
    try:
        base64.b64decode(value if isinstance(value, str) else "?", validate=True)
    except ValueError:
        return False
    return True


def _url(given: Mapping[str, Any], environment: Mapping[str, str]) -> str:
    parts = _split(_text(given, "runner_url", 2048) or _url_of_organisation(given, environment))
    if parts is None or not _PATH.fullmatch(parts.path) or parts.query or parts.fragment:
        raise _bad("runner_url", "must be https://HOST/ORGANISATION or https://HOST/OWNER/REPOSITORY")
    if parts.scheme != "https" and parts.hostname not in _LOOPBACK:
        raise _bad("runner_url", "must start with https://")
    _refuse_other_host(parts.netloc, environment)
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"


def _split(url: str) -> SplitResult | None:
    """The parts of a URL, its host in lower case; None without a host, or with a user name or password."""
    try:
        parts = urlsplit(url)
        usable = parts.hostname and parts.port != 0 and "@" not in parts.netloc
    except ValueError:
        return None
    return parts._replace(netloc=parts.netloc.lower()) if usable else None


def _refuse_other_host(host: str, environment: Mapping[str, str]) -> None:
    """Send credentials only to the host that the endpoint names, not to one that a request names."""
    api = _api(environment).netloc
    if host not in (api, api.removeprefix("api.")):
        fix = "to use it, set GITHUB_API_URL on the endpoint"
        raise _bad("runner_url", f"{host} is not this endpoint's GitHub host; {fix}")


def _api(environment: Mapping[str, str]) -> SplitResult:
    api = _split(environment.get("GITHUB_API_URL") or API)
    if api is None:
        raise Failure(Reason.CONFIGURATION_FAILED, "GITHUB_API_URL: must be a URL such as https://HOST/api/v3")
    return api


def _url_of_organisation(given: Mapping[str, Any], environment: Mapping[str, str]) -> str:
    organisation = _text(given, "github_org", MAX_NAME)
    if organisation and not _OWNER.fullmatch(organisation):
        raise _bad("github_org", "must be only the name of an organisation; for a repository, send runner_url")
    organisation = organisation or environment.get("GITHUB_ORG")
    if not organisation:
        raise _bad("runner_url", "missing; send it, or github_org")
    if not _OWNER.fullmatch(organisation):
        raise Failure(Reason.CONFIGURATION_FAILED, "GITHUB_ORG: must be only the name of an organisation")
    api = _api(environment)
    return f"{api.scheme}://{api.netloc.removeprefix('api.')}/{organisation}"
