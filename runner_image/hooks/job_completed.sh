#!/bin/bash
# Empties the job's workspace.
set +e  # the runner starts hooks with -e, and a hook that fails would fail the job
if [[ -d ${GITHUB_WORKSPACE:-} ]]; then
    find "$GITHUB_WORKSPACE" -mindepth 1 -delete
fi
exit 0
