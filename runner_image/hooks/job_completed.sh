#!/bin/bash
# Prints into the job's log how the job used the GPU, and empties the job's workspace.
set +e  # the runner starts hooks with -e, and a hook that fails would fail the job
if [[ -f ${RUNNER_GPU_USAGE:-} ]]; then
    head --bytes=500 "$RUNNER_GPU_USAGE"
fi
if [[ -d ${GITHUB_WORKSPACE:-} ]]; then
    find "$GITHUB_WORKSPACE" -mindepth 1 -delete
fi
exit 0
