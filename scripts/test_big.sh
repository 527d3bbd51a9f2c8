#!/usr/bin/env bash
# How long billing_dashboard() takes when there is a lot: ROWS events (a million by default) in each of several shapes, then as
# many entries of the ledger. Ten million need 12 GB of disk for the time of the run, and some ten minutes.
# Fails where a page takes a second or more, be it the first of a session, and before or after ANALYZE.
# Usage: test_big.sh [ROWS]
# shellcheck source=scripts/cluster.sh
source "$(dirname "${BASH_SOURCE[0]}")/cluster.sh"
pg_paths
cd "$ROOT" || exit

ROWS=${1:-1000000}
LIMIT_MS=1000
[[ $ROWS =~ ^[1-9][0-9]*$ ]] || die "usage: test_big.sh [ROWS]"

# As a small server is set up; nothing is vacuumed in between by chance, and the disk is for rows rather than for WAL.
cluster_start big -c shared_buffers=256MB -c autovacuum=off -c wal_level=minimal -c max_wal_senders=0 -c max_wal_size=1GB
sql() { "$PG_BIN/psql" -X -q -v ON_ERROR_STOP=1 -v rows="$ROWS" -A -t -d big "$@" </dev/null; }
"$PG_BIN/psql" -X -q -d postgres -c "create database big"
sql -c "create extension $EXTENSION"

made() { # made WHAT COMMAND...
  local what=$1 start=$SECONDS
  "${@:2}"
  say "test-big: $what, made in $((SECONDS - start)) s"
}

passed=0 failed=0
page() { # page WHAT: the first and the second page of a session
  local times time number=0
  mapfile -t times < <(sql -c '\timing on' -c "select 1 from billing_dashboard() page where page like '%</html>'" \
    -c "select 1 from billing_dashboard() page where page like '%</html>'" | sed -n 's/^Time: \([0-9]*\)\..*/\1/p')
  [[ ${#times[@]} -eq 2 ]] || die "the page of '$1' could not be had"
  for time in "${times[@]}"; do
    number=$((number + 1))
    printf '%-46s page %d %6d ms\n' "$1" "$number" "$time"
    if [[ $time -lt $LIMIT_MS ]]; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
  done
}

pages() { # pages WHAT: before ANALYZE and after it
  page "$1, never analyzed"
  sql -c "vacuum analyze billing.webhook_events" -c "vacuum analyze billing.ledger" -c "vacuum analyze billing.subscriptions"
  page "$1, analyzed"
}

for shape in 'one hour' 'two months' 'no two alike'; do
  made "$ROWS events of $shape" sql -v shape="$shape" -f tests/big/events.sql
  pages "events of $shape"
done
made "$ROWS entries of the ledger, a tenth as many subscriptions" sql -f tests/big/ledger.sql
pages "all together"
record test-big "$passed" "$failed"
say "test-big: $passed passed, $failed failed ($ROWS rows of each, limit $LIMIT_MS ms, disk used at the end $(du -sh "$PGDATA" | cut -f1))"
[[ $failed -eq 0 ]]
