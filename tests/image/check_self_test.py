"""A self-test in a container of the image: what the Hub's test and an operator see."""

import json
from collections.abc import Callable
from pathlib import Path

from bridge.core.self_test import parse
from tests.image.build import Image, Store
from tests.image.container import running_endpoint
from tests.support.background import until


def test_the_image_describes_itself_without_a_credential(
    store: Store, cpu: Image, tmp_path: Path, say: Callable[[str], None]
) -> None:
    with running_endpoint(store, cpu, tmp_path, RUNPOD_DC_ID="EU-1") as endpoint:
        policy = {"executionTimeout": 120_000, "ttl": 600_000}
        request = endpoint.emulators.runpod.state.submit("ep-1", {"input": {"self_test": True}, "policy": policy})
        endpoint.ended(request)
        assert request.status == "COMPLETED", endpoint.log
        say(json.dumps(request.output))
        report = parse(request.output)
        assert report is not None
        assert (report.flavour, report.runner_version, report.runner_account) == ("cpu", "2.338.0", "runner")
        assert (report.data_center, report.gpus) == ("EU-1", ())
        working = {name for name, check in report.checks.items() if check.ok}
        assert working >= {"account", "runner", "sudo", "sdk", "disk", "memory", "github", "chroot"}
        until(lambda: endpoint.processes() == [])
        assert endpoint.left_by_runner() == []
