# Postgres with billing_rpc in it:
#   docker build -t billing_rpc .                                  on Postgres 15
#   docker build -t billing_rpc --build-arg PG_MAJOR=17 .          on another
# A build that must be the same tomorrow names both images by their digests:
#   --build-arg POSTGRES=postgres@sha256:... --build-arg RUST=rust@sha256:...
# The variables of the official image work as ever. At its first start the extension is installed in POSTGRES_DB; see
# docker/initdb/billing_rpc.sh for what else it does then.
ARG PG_MAJOR=15
ARG POSTGRES=postgres:${PG_MAJOR}-bookworm
ARG RUST=rust:1.95-bookworm

FROM ${RUST} AS rust

# Built in the image that it is for: its own apt repository has the headers of just this Postgres.
FROM ${POSTGRES} AS build
ARG PG_MAJOR
ENV CARGO_HOME=/usr/local/cargo RUSTUP_HOME=/usr/local/rustup PATH=/usr/local/cargo/bin:$PATH \
    PG_CONFIG=/usr/lib/postgresql/${PG_MAJOR}/bin/pg_config
COPY --from=rust /usr/local/cargo /usr/local/cargo
COPY --from=rust /usr/local/rustup /usr/local/rustup
WORKDIR /billing_rpc
# First what changes seldom: the compiler's packages and cargo-pgrx.
COPY scripts/lib.sh scripts/deps.sh scripts/
RUN scripts/deps.sh --build
COPY . .
RUN scripts/build.sh && scripts/install.sh

FROM ${POSTGRES}
ARG PG_MAJOR
COPY --from=build /usr/lib/postgresql/${PG_MAJOR}/lib/billing_rpc.so /usr/lib/postgresql/${PG_MAJOR}/lib/
COPY --from=build /usr/share/postgresql/${PG_MAJOR}/extension/billing_rpc* /usr/share/postgresql/${PG_MAJOR}/extension/
COPY docker/initdb/ /docker-entrypoint-initdb.d/
