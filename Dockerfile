# The worker image, for GPU and CPU. Build it from the root of the repository (docs/image.md):
#   docker build --platform linux/amd64 --build-arg BUILD_TYPE=cpu .

# No other place in this repository names these versions.
ARG BUILD_TYPE=gpu
ARG CUDA_VERSION=12.6.3
ARG RUNNER_VERSION=2.338.0
ARG RUNNER_SHA256=af4b794c1bc41d73d40535e3fe092a39f9679cd8d965954c2aca25a05ca41d32
ARG RUNNER_URL=https://github.com/actions/runner/releases/download/v${RUNNER_VERSION}/actions-runner-linux-x64-${RUNNER_VERSION}.tar.gz
ARG BASE_IMAGE=${BUILD_TYPE}

FROM nvidia/cuda:${CUDA_VERSION}-cudnn-runtime-ubuntu24.04 AS gpu

# Without CUDA's libraries and cuDNN, which frameworks from pip bring with them.
FROM nvidia/cuda:${CUDA_VERSION}-base-ubuntu24.04 AS gpu-slim

FROM ubuntu:24.04 AS cpu

# One of the stages above, unless the build names another image.
# hadolint ignore=DL3006
FROM ${BASE_IMAGE} AS system
ENV DEBIAN_FRONTEND=noninteractive
# The worker: python3, tini. Checkout: git, git-lfs, openssh-client. Caches and downloads: curl, wget, xz-utils, zip,
# unzip, zstd, gnupg. Scripts: jq, rsync, procps, file. pip: python3-pip, python3-venv. Installing more: sudo.
# Compiling, unless TOOLCHAIN is off: build-essential, pkg-config, python3-dev.
ARG TOOLCHAIN=on
# Not pinned: the archive removes superseded versions, so a pin would break the build.
# hadolint ignore=DL3008
RUN case "${TOOLCHAIN}" in \
        on) set -- build-essential pkg-config python3-dev ;; \
        off) set -- ;; \
        *) echo "TOOLCHAIN must be on or off, not ${TOOLCHAIN}" >&2; exit 1 ;; \
    esac \
    && apt-get update \
    && apt-get install --yes --no-install-recommends \
        ca-certificates curl file git git-lfs gnupg jq openssh-client procps python3 python3-pip python3-venv \
        rsync sudo tini tzdata unzip wget xz-utils zip zstd "$@" \
    && rm -rf /var/lib/apt/lists/*

FROM system AS runner
ARG RUNNER_URL
ARG RUNNER_SHA256
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
WORKDIR /actions-runner
RUN curl --fail --silent --show-error --location --retry 3 --output /tmp/runner.tar.gz "${RUNNER_URL}" \
    && echo "${RUNNER_SHA256}  /tmp/runner.tar.gz" | sha256sum --check --strict \
    && tar --extract --gzip --no-same-owner --file /tmp/runner.tar.gz \
    && rm /tmp/runner.tar.gz

FROM system AS python
COPY runner_image/requirements.lock /tmp/requirements.lock
RUN python3 -m venv /opt/worker/venv \
    && /opt/worker/venv/bin/python -m pip install --no-cache-dir --require-hashes --no-deps --only-binary :all: \
        --requirement /tmp/requirements.lock \
    && /opt/worker/venv/bin/python -m pip uninstall --yes pip

FROM system
ARG RUNNER_VERSION
COPY --from=runner /actions-runner /actions-runner
RUN /actions-runner/bin/installdependencies.sh && rm -rf /var/lib/apt/lists/*
# The runner and its jobs can create files in the runner's folder, but the sticky bit protects its programs.
RUN useradd --uid 1001 --user-group --create-home --shell /bin/bash runner \
    && chown root:runner /actions-runner \
    && chmod 1775 /actions-runner \
    && install --directory --owner=runner --group=runner /opt/hostedtoolcache
COPY --from=python /opt/worker/venv /opt/worker/venv

# `on`: jobs can become root with sudo, as on GitHub's own runners, and can then read the worker's environment.
ARG SUDO=on
ARG BUILD_TYPE
RUN case "${SUDO}" in \
        on) echo 'runner ALL=(ALL) NOPASSWD:ALL' > /etc/sudoers.d/runner && chmod 0440 /etc/sudoers.d/runner ;; \
        off) ;; \
        *) echo "SUDO must be on or off, not ${SUDO}" >&2; exit 1 ;; \
    esac

ENV LANG=C.UTF-8 \
    ImageOS=ubuntu24 \
    AGENT_TOOLSDIRECTORY=/opt/hostedtoolcache \
    ACTIONS_RUNNER_HOOK_JOB_STARTED=/opt/worker/runner_image/hooks/job_started.sh \
    ACTIONS_RUNNER_HOOK_JOB_COMPLETED=/opt/worker/runner_image/hooks/job_completed.sh \
    RUNNER_DIR=/actions-runner \
    RUNNER_USER=runner \
    RUNNER_VERSION=${RUNNER_VERSION} \
    RUNNER_BUILD_TYPE=${BUILD_TYPE}
LABEL org.opencontainers.image.title="runpod-actions-bridge worker" \
      org.opencontainers.image.description="Runs one GitHub Actions job per RunPod serverless request" \
      org.opencontainers.image.licenses="MIT"

# Last, so that a change of the handler rebuilds only these layers.
COPY bridge/__init__.py bridge/concurrency.py bridge/errors.py /opt/worker/bridge/
COPY bridge/core/__init__.py bridge/core/model.py bridge/core/worker.py /opt/worker/bridge/core/
COPY bridge/core/lost.py bridge/core/submissions.py /opt/worker/bridge/core/
COPY bridge/github /opt/worker/bridge/github/
COPY runner_image /opt/worker/runner_image/
WORKDIR /
ENTRYPOINT ["/usr/bin/tini", "--"]
CMD ["/opt/worker/venv/bin/python", "-u", "/opt/worker/runner_image/handler.py"]
