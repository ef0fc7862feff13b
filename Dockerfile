# The build backend is among the development dependencies; none of them reach the image.
FROM python:3.11.14-slim-bookworm AS build

WORKDIR /source
COPY requirements-dev.lock ./
RUN pip install --no-cache-dir --disable-pip-version-check --require-hashes \
    --requirement requirements-dev.lock
COPY pyproject.toml README.md LICENSE ./
COPY branchwork branchwork
COPY workflows workflows
COPY activities activities
COPY worker worker
RUN pip wheel --no-cache-dir --disable-pip-version-check --no-deps --no-build-isolation \
    --wheel-dir /wheels .


FROM python:3.11.14-slim-bookworm

# What agents of your own need is added in an image that is made from this one.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends git openssh-client \
    && rm -rf /var/lib/apt/lists/*

COPY requirements.lock /tmp/
RUN pip install --no-cache-dir --disable-pip-version-check --require-hashes \
    --requirement /tmp/requirements.lock
COPY --from=build /wheels /tmp/wheels
RUN pip install --no-cache-dir --disable-pip-version-check --no-deps /tmp/wheels/*.whl

# Git works only in repositories of its own user: these are whoever owns them on the host.
ARG UID=1000
ARG GID=1000
RUN groupadd --gid "$GID" branchwork \
    && useradd --create-home --uid "$UID" --gid "$GID" branchwork \
    && install --directory --owner=branchwork --group=branchwork /state /repositories
USER branchwork
WORKDIR /home/branchwork

# Records, logs and worktrees of attempts.
ENV XDG_STATE_HOME=/state
VOLUME /state

ENTRYPOINT ["python", "-P", "-m", "worker"]
