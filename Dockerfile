# An image of all roles: docker run IMAGE relay|transceiver|serve ...; every setting is a variable VOICEGATE_<KEY>.
# What is installed is pinned and hashed, built in the first stage, and all that is copied from it is one folder.
ARG PYTHON=3.11.13-slim-bookworm

FROM python:${PYTHON} AS build
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY requirements/build.txt requirements/image.txt requirements/wheel.txt requirements/
RUN python -m venv /build \
    && /build/bin/pip install --no-cache-dir --require-hashes --requirement requirements/build.txt \
    && /build/bin/pip wheel --no-cache-dir --require-hashes --no-build-isolation --no-deps \
        --wheel-dir /wheels --requirement requirements/image.txt \
    && /build/bin/pip install --no-cache-dir --require-hashes --no-build-isolation --requirement requirements/wheel.txt
COPY pyproject.toml README.md LICENSE ./
COPY voicegate voicegate
# As `make wheel`: what each packet passes through is compiled. The folder it goes to has no pip.
RUN HATCH_BUILD_HOOKS_ENABLE=1 /build/bin/pip wheel --no-cache-dir --no-build-isolation --no-deps --wheel-dir /wheels . \
    && python -m venv --without-pip /opt/voicegate \
    && /build/bin/pip --python /opt/voicegate/bin/python install --no-cache-dir --no-index --no-deps /wheels/*.whl

FROM python:${PYTHON}
# tini takes in what the children of a killed worker leave behind.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libopus0 tini \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin voicegate
COPY --from=build /opt/voicegate /opt/voicegate
ENV PATH=/opt/voicegate/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER 10001:10001
EXPOSE 3478/udp 3478/tcp 8080/tcp
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8080/healthz', timeout=3)"]
ENTRYPOINT ["tini", "--", "voicegate"]
CMD ["serve"]
