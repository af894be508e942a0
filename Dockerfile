# syntax=docker/dockerfile:1
# One image for every service: `serve orders ...` runs one of them, `serve` all five.

FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
# The caches are not part of the image, so the binary is copied out of the target folder.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked --package orderlog-api --bin orderlog \
    && install -D target/release/orderlog /out/orderlog

FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates libssl3 zlib1g \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --home-dir /data --create-home --shell /usr/sbin/nologin orderlog
COPY --from=build /out/orderlog /usr/local/bin/orderlog
USER orderlog
VOLUME /data
# For the commands in the container too, which find the server by what it writes there.
ENV ORDERLOG_DATA=/data
EXPOSE 8080
# Without keys and TLS the default command is refused: docs/security.md says what to set.
# Read models are rebuilt after a long absence, which is not a failure.
HEALTHCHECK --interval=5s --timeout=5s --start-period=60s --retries=6 \
    CMD ["orderlog", "health"]
ENTRYPOINT ["orderlog"]
CMD ["serve", "--listen", "0.0.0.0:8080"]
