#!/bin/bash
# Empties the job's workspace. It must not fail: that would fail the job.
if [[ -d ${GITHUB_WORKSPACE:-} ]]; then
    find "$GITHUB_WORKSPACE" -mindepth 1 -delete
fi
exit 0
