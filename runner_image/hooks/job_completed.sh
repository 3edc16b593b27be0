#!/bin/bash
# Prints into the job's log how the job used the GPU, cleans its cache, and empties its workspace.
set +e  # the runner starts hooks with -e, and a hook that fails would fail the job
if [[ -f ${RUNNER_GPU_USAGE:-} ]]; then
    head --bytes=500 "$RUNNER_GPU_USAGE"
fi
if [[ -n ${RUNNER_CACHE_GB:-} ]]; then
    /usr/bin/python3 -I "${BASH_SOURCE[0]%/*}/../caches/program.py" completed 2>/dev/null ||
        echo "Warning: the limit of the cache was not enforced: its program cannot be started"
fi
if [[ -d ${GITHUB_WORKSPACE:-} ]]; then
    find "$GITHUB_WORKSPACE" -mindepth 1 -delete
fi
exit 0
