#!/usr/bin/env bash
# health(), metrics() and the views on ten million events, a million balances: each within a second.
# Usage: test_big_monitoring.sh [EVENTS]
# shellcheck source=scripts/cluster.sh
source "$(dirname "${BASH_SOURCE[0]}")/cluster.sh"
pg_paths
cd "$ROOT" || exit

cluster_start big_monitoring -c max_wal_size=8GB -c autovacuum=off
"$PG_BIN/psql" -X -q -d postgres -c "create database big"
"$PG_BIN/psql" -X -q -d big -v events="${1:-10000000}" -f tests/big/monitoring.sql
say "test-big-monitoring: each within a second"
