#!/bin/bash
# Registers this runner. Follows src/Misc/layoutroot/config.sh of actions/runner.

if [[ $(id -u) -eq 0 && -z "$RUNNER_ALLOW_RUNASROOT" ]]; then
    echo "Must not run with sudo"
    exit 1
fi

cd "$(dirname "$(readlink -f "$0")")" || exit 1
exec ./bin/Runner.Listener configure "$@"
