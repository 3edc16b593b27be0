"""Caches in containers of the image, on a folder in the place of the network volume."""

import re
from pathlib import Path

from tests.image.build import Image, Store
from tests.image.container import RUNNER_UID, running_endpoint

MANY = """
mkdir /tmp/many && cd /tmp/many && echo '{}' > event.json
cat > work.sh <<'END'
set -e
bash -e /opt/worker/runner_image/hooks/job_started.sh
. "$GITHUB_ENV"
for model in $(seq 10); do
    folder=$HF_HOME/hub/models--$model
    mkdir -p "$folder"
    if ! [ -e "$folder/blob" ]; then
        yes "$model" | head --lines 20000 > "$folder/new-$RUNNER_NAME"
        mv "$folder/new-$RUNNER_NAME" "$folder/blob"
    fi
done
sleep $((RANDOM % 4))
for model in $(seq 10); do
    yes "$model" | head --lines 20000 | cmp - "$HF_HOME/hub/models--$model/blob"
done
bash -e /opt/worker/runner_image/hooks/job_completed.sh
END
for number in $(seq 20); do
    RUNNER_NAME=many-$number RUNNER_TEMP=/tmp/many GITHUB_ENV=/tmp/many/env-$number RUNNER_CACHE_GB=0.0001 \\
        GITHUB_REPOSITORY=acme/many GITHUB_EVENT_NAME=push GITHUB_EVENT_PATH=/tmp/many/event.json \\
        GITHUB_WORKSPACE= bash work.sh > log-$number 2>&1 || echo "job $number failed" && cat log-$number &
done
wait
"""
"""A step that runs twenty jobs at once, from the hook of each to its end."""


def test_a_second_job_finds_what_the_first_one_cached(store: Store, cpu: Image, tmp_path: Path) -> None:
    with running_endpoint(store, cpu, tmp_path) as endpoint:
        (endpoint.root / "runpod-volume").mkdir()
        first = endpoint.queue('mkdir "$HF_HOME/hub" && echo weights > "$HF_HOME/hub/model"')
        assert endpoint.ended(endpoint.submit("r-1", cache_gb=1)).output["result"] == "Succeeded", first.log
        second = endpoint.queue('test "$(cat "$HF_HOME/hub/model")" = weights', name="second")
        assert endpoint.ended(endpoint.submit("r-2", cache_gb=1)).output["result"] == "Succeeded", second.log
        assert "Cache: /runpod-volume/cache/acme/web" in second.log.splitlines()
        volume = endpoint.root / "runpod-volume"
        assert ((volume / "cache").stat().st_uid, volume.stat().st_uid) == (RUNNER_UID, 0)
        assert list((volume / "cache/acme/web/.jobs").iterdir()) == []


def test_many_jobs_at_once_leave_the_volume_intact(store: Store, cpu: Image, tmp_path: Path) -> None:
    with running_endpoint(store, cpu, tmp_path) as endpoint:
        (endpoint.root / "runpod-volume").mkdir()
        job = endpoint.queue(MANY)
        request = endpoint.ended(endpoint.submit("r-1", cache_gb=1), seconds=300)
        assert request.output["result"] == "Succeeded", job.log
        assert re.findall(r"^job \d+ failed$", job.log, re.MULTILINE) == [], job.log
        assert job.log.count("Cache: /runpod-volume/cache/acme/many") == 20
        cache = endpoint.root / "runpod-volume/cache/acme/many"
        assert list((cache / ".jobs").iterdir()) == []
        assert all(len(set(path.read_text().split())) == 1 for path in cache.glob("huggingface/hub/*/blob"))
