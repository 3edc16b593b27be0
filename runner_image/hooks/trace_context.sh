#!/bin/bash
# Sets TRACEPARENT for all steps of the job, so that tools which know it add their spans to the trace of the run.
# Its format: https://www.w3.org/TR/trace-context/#traceparent-header. The ids are those of bridge/core/trace_ids.py.
# The hook is not told the id of the job, so the parent is the span of the run. It is not told the job's own `env`
# either, and what it sets wins over that: so it does nothing unless the endpoint asks for it.
# https://github.com/actions/runner/blob/main/src/Runner.Worker/JobHookProvider.cs
number='^[0-9]{1,20}$'
[[ -n ${RUNNER_TRACE_CONTEXT:-} && -f ${GITHUB_ENV:-} ]] || exit 0
if [[ ${GITHUB_RUN_ID:-} =~ $number && ${GITHUB_RUN_ATTEMPT:-} =~ $number ]]; then
    trace=$(printf '%s%st' "$GITHUB_RUN_ID" "$GITHUB_RUN_ATTEMPT" | sha256sum)
    run=$(printf '%s%ss' "$GITHUB_RUN_ID" "$GITHUB_RUN_ATTEMPT" | sha256sum)
    if [[ ${#trace} -ge 64 && ${#run} -ge 64 ]]; then
        printf 'TRACEPARENT=00-%s-%s-01\n' "${trace:0:32}" "${run:16:16}" >> "$GITHUB_ENV"
    fi
fi
exit 0
