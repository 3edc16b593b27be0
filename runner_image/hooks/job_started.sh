#!/bin/bash
# Prints into the job's log where the job runs, and gives the job its cache.
set +e  # the runner starts hooks with -e, and a hook that fails would fail the job
echo "RunPod endpoint ${RUNPOD_ENDPOINT_ID:-(none)}, worker ${RUNPOD_POD_ID:-(none)}, data centre ${RUNPOD_DC_ID:-unknown}"
gpus=$(timeout 10 nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv,noheader 2>/dev/null)
echo "GPU: ${gpus:-none}"
echo "CPUs: $(nproc), free disk: $(df --human-readable --output=avail . | tail -1 | tr -d ' ')"
bash "${BASH_SOURCE[0]%/*}/trace_context.sh"
if [[ -n ${RUNNER_CACHE_GB:-} ]]; then
    /usr/bin/python3 -I "${BASH_SOURCE[0]%/*}/../caches/program.py" started 2>/dev/null ||
        echo "Warning: this job has no cache: its program cannot be started"
fi
exit 0
