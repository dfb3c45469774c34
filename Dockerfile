# Pin it by digest where builds must be repeatable: --build-arg PYTHON=python@sha256:...
ARG PYTHON=python:3.13.9-slim-trixie

FROM ${PYTHON} AS build
# The extras to install: any of otel, avro and aws, separated by spaces.
ARG EXTRAS=
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/invalidator
ENV PATH=/opt/invalidator/bin:$PATH
WORKDIR /src
# Dependencies first, because they change less often than the code.
COPY requirements requirements
RUN for each in runtime ${EXTRAS}; do \
      pip install --require-hashes --only-binary :all: -r requirements/$each.txt || exit 1; \
    done
# setuptools builds the wheel, in an environment that is not part of the image
RUN python -m venv /opt/build \
 && /opt/build/bin/pip install --require-hashes --only-binary :all: -r requirements/build.txt
COPY pyproject.toml README.md LICENSE ./
COPY invalidator invalidator
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /wheels . \
 && pip install --no-deps --no-index /wheels/*.whl \
 && pip uninstall --yes pip \
 && python -m compileall -q /opt/invalidator

FROM ${PYTHON}
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title=invalidator \
      org.opencontainers.image.description="Event-driven cache invalidation" \
      org.opencontainers.image.source=https://git.example.com/platform/invalidator \
      org.opencontainers.image.documentation=https://git.example.com/platform/invalidator/blob/main/docs/operations.md \
      org.opencontainers.image.licenses=MIT \
      org.opencontainers.image.version=${VERSION} \
      org.opencontainers.image.revision=${REVISION}
# Nothing is written at run time, so the root file system can be read-only.
ENV PATH=/opt/invalidator/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 \
    INVALIDATOR_RULES=/etc/invalidator/rules.yaml
COPY --from=build /opt/invalidator /opt/invalidator
USER 10001:10001
EXPOSE 8080
STOPSIGNAL SIGTERM
# Not /readyz: an unavailable Redis is no reason to restart the daemon.
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import http.client as h, os, sys; c = h.HTTPConnection('127.0.0.1', int(os.environ.get('INVALIDATOR_ADMIN__PORT', '8080')), timeout=2); c.request('GET', '/livez'); sys.exit(c.getresponse().status != 200)"]
ENTRYPOINT ["invalidator"]
CMD ["run"]
