# syntax=docker/dockerfile:1
# One image for every service: `serve orders ...` runs one of them, `serve` runs all five.
#
#   docker build --tag orderlog .
#   docker run --rm --publish 127.0.0.1:8080:8080 --volume orderlog:/data orderlog
#   docker run --rm --volume orderlog:/data --entrypoint cat orderlog /data/operator.key
#
# The first start creates /data/operator.key, a key for everything. Publish the port to this machine only: without TLS,
# keys can be read on the way (docs/install.md).

# What the dependencies are compiled from: the manifests, and an empty source for each crate. This stage runs again after
# each change, but the next one copies the same files as before, unless a dependency changed, and is taken from the cache.
FROM rust:1.95-bookworm AS manifests
WORKDIR /src
COPY . .
RUN cargo metadata --no-deps --format-version 1 > /metadata.json \
    && grep --only-matching --perl-regexp '"src_path":"\K[^"]*' /metadata.json > /sources \
    && find . -type f ! -name Cargo.toml ! -name Cargo.lock ! -path './.cargo/*' -delete \
    && while read -r source; do echo 'fn main() {}' > "$source"; done < /sources \
    && find . -type d -empty -delete

FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY --from=manifests /src .
RUN cargo build --release --locked --package orderlog-cli --bin orderlog
COPY . .
# Cargo compares times: the sources are older than what was built from the empty ones.
RUN find . -name '*.rs' -exec touch {} + \
    && cargo build --release --locked --package orderlog-cli --bin orderlog

FROM debian:bookworm-slim
# Versions are not pinned: Debian's stable release changes them only for fixes.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates libssl3 zlib1g \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 10001 orderlog \
    && useradd --uid 10001 --gid orderlog --home-dir /data --no-create-home --shell /usr/sbin/nologin orderlog \
    && install --directory --owner orderlog --group orderlog --mode 0700 /data
COPY --from=build /src/target/release/orderlog /usr/local/bin/orderlog
# As numbers, so that Kubernetes can see that it is not root.
USER 10001:10001
VOLUME /data
# Also used by commands in the container, which find the server by its `server.json` there.
ENV ORDERLOG_DATA=/data
EXPOSE 8080
# After a long absence the read models have to catch up first, which is not a failure.
HEALTHCHECK --interval=5s --timeout=5s --start-period=60s --retries=6 \
    CMD ["orderlog", "health"]
ENTRYPOINT ["orderlog"]
# Docker kills a container 10 seconds after it told it to stop.
CMD ["serve", "--listen", "0.0.0.0:8080", "--insecure=no-tls", "--operator-key-file", "/data/operator.key", "--stop-timeout-ms", "8000"]
