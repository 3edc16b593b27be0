#!/bin/bash
# Registers this runner, or removes it. Follows src/Misc/layoutroot/config.sh of actions/runner.

if [[ $(id -u) -eq 0 && -z "$RUNNER_ALLOW_RUNASROOT" ]]; then
    echo "Must not run with sudo"
    exit 1
fi

cd "$(dirname "$(readlink -f "$0")")" || exit 1
if [[ "$1" == "remove" ]]; then
    exec ./bin/Runner.Listener "$@"
fi
exec ./bin/Runner.Listener configure "$@"
