#!/bin/bash
# Empties the job's workspace.
set +e  # the runner starts it with -e, and a failure would fail the job
if [[ -d ${GITHUB_WORKSPACE:-} ]]; then
    find "$GITHUB_WORKSPACE" -mindepth 1 -delete
fi
exit 0
