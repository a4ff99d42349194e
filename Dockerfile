# The image: one binary, no shell needed, not root. Pipelines are mounted or copied to /pipelines; what they keep in files
# goes to /state, the only place that has to be writable.
FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    cargo build --locked --release --package aqueduct \
    && cp target/release/aqueduct /usr/local/bin/aqueduct

FROM debian:bookworm-slim
# Certificates of the public authorities, for TLS to brokers and buckets.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /usr/local/bin/aqueduct /usr/local/bin/aqueduct
RUN useradd --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin aqueduct \
    && mkdir /pipelines \
    && install --directory --owner=aqueduct --group=aqueduct /state
# Also where members of consumer groups say that they live, for the next start after a kill.
ENV XDG_RUNTIME_DIR=/state
USER 10001:10001
WORKDIR /pipelines
# Asks /livez where runtime.listen of /pipelines/aqueduct.yaml says.
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s CMD ["aqueduct", "health"]
ENTRYPOINT ["aqueduct"]
CMD ["run", "/pipelines"]
