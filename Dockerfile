# The gateway as an image: numeric user, nothing to build with, runs on a read-only root file system without any volume.
#
#   docker build --tag authcode-gateway:0.1.0 .
#   docker run --read-only --cap-drop ALL --volume ./gateway.yaml:/etc/gateway/gateway.yaml:ro authcode-gateway:0.1.0

FROM python:3.12.12-slim-bookworm AS build
WORKDIR /src
COPY constraints.txt pyproject.toml README.md LICENSE ./
COPY gateway ./gateway
# A virtual environment without pip: what is not there cannot be used by anybody. Bytecode is written here, since it cannot be later.
RUN python -m venv --without-pip /opt/gateway \
    && pip --python /opt/gateway/bin/python install --no-cache-dir --compile --constraint constraints.txt .

FROM python:3.12.12-slim-bookworm
RUN pip uninstall --yes --no-cache-dir pip
COPY --from=build /opt/gateway /opt/gateway
ENV PATH=/opt/gateway/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER 10001:10001
EXPOSE 8080 9090
# The admin listener as it is by default. Alive, not ready: a provider that is down is no reason to restart the gateway.
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 \
    CMD ["python", "-c", "import urllib.request as r; r.build_opener(r.ProxyHandler({})).open('http://127.0.0.1:9090/livez', timeout=2)"]
ENTRYPOINT ["gateway"]
CMD ["serve", "--config", "/etc/gateway/gateway.yaml"]
