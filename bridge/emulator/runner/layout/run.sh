#!/bin/bash
# Keeps the Listener running. Follows src/Misc/layoutroot/run.sh of actions/runner.

root=$(dirname "$(readlink -f "$0")")

finish() {
    echo "Exiting runner..."
    exit "$1"
}

helper() {
    cp -f "$root/run-helper.sh.template" "$root/run-helper.sh"
    "$root/run-helper.sh" "$@"
}

run() {
    while :; do
        helper "$@"
        code=$?
        [[ $code -eq 2 ]] || finish $code
        echo "Restarting runner..."
    done
}

# The helper gets its own process group, and always INT, for both signals.
run_trapped() {
    set -m
    signaled=
    trap 'signaled=1; kill -INT -$pid' INT TERM
    while :; do
        helper "$@" &
        pid=$!
        wait $pid
        code=$?
        if [[ $signaled ]]; then
            wait $pid
            code=$?
        fi
        [[ $code -eq 2 ]] || finish $code
        echo "Restarting runner..."
    done
}

if [[ -z "$RUNNER_MANUALLY_TRAP_SIG" ]]; then
    run "$@"
else
    run_trapped "$@"
fi
