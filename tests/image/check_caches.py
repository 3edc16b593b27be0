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
run() {
    mkdir "temp-$1"
    RUNNER_NAME=many-$1 RUNNER_TEMP=/tmp/many/temp-$1 GITHUB_ENV=/tmp/many/env-$1 RUNNER_CACHE_GB=0.0001 \\
        GITHUB_REPOSITORY=acme/many GITHUB_EVENT_NAME=push GITHUB_EVENT_PATH=/tmp/many/event.json \\
        GITHUB_WORKSPACE= bash work.sh > "log-$1" 2>&1 || echo "job $1 failed"
    cat "log-$1"
}
for number in $(seq 20); do
    run "$number" &
done
wait
run 21
"""
"""A step that runs twenty jobs at once, from the hook of each to its end, and then one more."""

LIMIT = 100_000
"""Bytes of RUNNER_CACHE_GB above. All models together have more than 400,000."""


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
        assert not [line for line in job.log.splitlines() if line.startswith("Warning")], job.log
        assert job.log.count("Cache: /runpod-volume/cache/acme/many") == 21
        cache = endpoint.root / "runpod-volume/cache/acme/many"
        assert list((cache / ".jobs").iterdir()) == []
        assert not (cache / ".evicting").exists()
        blobs = list(cache.glob("huggingface/hub/*/blob"))
        assert all(len(set(path.read_text().split())) == 1 for path in blobs)
        assert 0 < sum(path.stat().st_size for path in cache.rglob("*") if path.is_file()) <= LIMIT
