# syntax=docker/dockerfile:1
# One image for every service: `serve orders ...` runs one of them, `serve` runs all five.

FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
# Cache mounts are not part of the image, so the binary is copied out of the target folder.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked --package orderlog-cli --bin orderlog \
    && install -D target/release/orderlog /out/orderlog

FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates libssl3 zlib1g \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --home-dir /data --create-home --shell /usr/sbin/nologin orderlog
COPY --from=build /out/orderlog /usr/local/bin/orderlog
USER orderlog
VOLUME /data
# Also used by commands in the container, which find the server by its `server.json` there.
ENV ORDERLOG_DATA=/data
EXPOSE 8080
# The default command fails without keys and TLS; docs/security.md explains how to set them.
# After a long absence the read models have to catch up first, which is not a failure.
HEALTHCHECK --interval=5s --timeout=5s --start-period=60s --retries=6 \
    CMD ["orderlog", "health"]
ENTRYPOINT ["orderlog"]
CMD ["serve", "--listen", "0.0.0.0:8080"]
