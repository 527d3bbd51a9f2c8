#!/usr/bin/env bash
# Benchmarks, on a durable throwaway cluster (what production pays for a commit is paid here too).
# The program finds the server by PGHOST, PGPORT, PGUSER, PGDATABASE. Usage: bench.sh [its arguments]
# shellcheck source=scripts/cluster.sh
source "$(dirname "${BASH_SOURCE[0]}")/cluster.sh"
pg_paths
need_tests bench tests/bench "$ROOT/tests/bench/Cargo.toml"

export CARGO_TARGET_DIR=$TARGET/bench
cargo build --release --locked --manifest-path "$ROOT/tests/bench/Cargo.toml"
bench=$CARGO_TARGET_DIR/release/billing_bench
if [[ " $* " == *" --render "* ]]; then
  "$bench" "$@"
  exit
fi
# Four contenders with 32 sessions each; those of the section before end a moment after they were dropped.
cluster_start bench --durable --tcp -c shared_buffers=512MB -c max_wal_size=4GB -c max_connections=400
export PGDATABASE=bench
"$PG_BIN/psql" -X -q -v ON_ERROR_STOP=1 -d postgres -c "create database bench template template0"
"$PG_BIN/psql" -X -q -v ON_ERROR_STOP=1 -c "create extension $EXTENSION"
"$bench" "$@"
