"""The environment of the runner and of every step: an allowlist, because the worker's own contains secrets."""

import re
from collections.abc import Mapping

# Names that jobs rely on, and what RunPod tells about the machine. No webhook URL matches.
_ALLOWED = re.compile(
    r"""
      PATH | HOME | USER | LOGNAME | SHELL | LANG | LANGUAGE | LC_\w+ | TZ | TERM | TMPDIR | HOSTNAME
    | SSL_CERT_FILE | SSL_CERT_DIR | REQUESTS_CA_BUNDLE | CURL_CA_BUNDLE | NODE_EXTRA_CA_CERTS | GIT_SSL_CAINFO
    | (?i:http_proxy | https_proxy | no_proxy | all_proxy)
    | NVIDIA_\w+ | CUDA_\w+ | NV_\w+ | NCCL_\w+ | LD_LIBRARY_PATH | LIBRARY_PATH
    | ImageOS | ImageVersion | AGENT_TOOLSDIRECTORY | RUNNER_TOOL_CACHE | DOTNET_\w+ | DEBIAN_FRONTEND
    | RUNNER_ALLOW_RUNASROOT | ACTIONS_RUNNER_HOOK_JOB_STARTED | ACTIONS_RUNNER_HOOK_JOB_COMPLETED
    | RUNNER_TRACE_CONTEXT
    | RUNPOD_(?: POD_ID | ENDPOINT_ID | DC_ID | GPU_COUNT | GPU_NAME | CPU_COUNT | MEM_GB )
    """,
    re.VERBOSE,
)
_SECRET = re.compile(r"KEY|TOKEN|SECRET|PASSW|CREDENTIAL", re.IGNORECASE)


def runner_environment(environment: Mapping[str, str], job_input: str) -> dict[str, str]:
    """The variables that the runner and its steps get.

    Args:
        environment: the worker's.
        job_input: of the request, as JSON; jobs read it from `JOB_INPUT`.
    """
    allowed = {name: value for name, value in environment.items() if _passes(name)}
    return {
        **allowed,
        "JOB_INPUT": job_input,
        # A deprecated runner then exits with 7 instead of 1, the code of one that cannot connect.
        "ACTIONS_RUNNER_RETURN_VERSION_DEPRECATED_EXIT_CODE": "1",
    }


def _passes(name: str) -> bool:
    return bool(_ALLOWED.fullmatch(name)) and not _SECRET.search(name)
