#!/usr/bin/env bash
# Upgrades from every release: the database that is upgraded ends with the catalogue of a fresh install and with every
# row, while others use it. Usage: test_upgrade.sh [--installable] [RELEASE...]
#   --installable   leaves out releases that this Postgres cannot install, and says so: they are older than it
# shellcheck source=scripts/cluster.sh
source "$(dirname "${BASH_SOURCE[0]}")/cluster.sh"
cd "$ROOT" || exit

installable=no
[[ ${1:-} != --installable ]] || { installable=yes && shift; }
releases=("$@")
if [[ ${#releases[@]} -eq 0 ]]; then
  for script in sql/releases/"$EXTENSION"--*.sql; do
    name=${script##*/"$EXTENSION"--}
    [[ $name == *--* ]] || releases+=("${name%.sql}")
  done
fi
need_tests test-upgrade sql/releases "sql/releases/$EXTENSION--${releases[0]}.sql"
VERSION=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
OUT=$TARGET/upgrade
rm -rf "$OUT"
mkdir -p "$OUT"
cluster_start upgrade
run() { # run DATABASE ARGUMENT...
  local database=$1
  shift
  PGOPTIONS="-c client_min_messages=warning -c search_path=\"Billing\\ API\",public" \
    "$PG_BIN/psql" -X -q -v ON_ERROR_STOP=1 -d "$database" "$@"
}
passed=0 failed=0
fact() { # fact STATUS WHAT: counts, and shows what is wrong
  if [[ $1 -eq 0 ]]; then passed=$((passed + 1)); else failed=$((failed + 1)) && say "not ok $2"; fi
}

if [[ $installable == yes ]]; then
  can=()
  for release in "${releases[@]}"; do
    run postgres -c "create database can template template0"
    if run can -c "create extension $EXTENSION version '$release'" >"$OUT/can" 2>&1; then
      can+=("$release")
    else
      say "upgrade: left out: $release does not install on Postgres $PG_MAJOR: $(sed -n 's/.*ERROR: *//p' "$OUT/can" | head -n 1)"
    fi
    run postgres -c "drop database can"
  done
  [[ ${#can[@]} -gt 0 ]] || { say "test-upgrade: no release installs on Postgres $PG_MAJOR" && exit; }
  releases=("${can[@]}")
fi

# The two kinds of databases: plain, and with roles and default privileges as Supabase has them.
database() { # database NAME KIND: prints the schema for the extension
  run postgres -c "create database \"$1\" template template0"
  local schema=public
  if [[ $2 == supabase ]]; then
    run "$1" -f tests/pgtap/fixtures/supabase.sql >/dev/null
    schema='"Billing API"'
    run "$1" -c "create schema $schema"
  fi
  printf '%s\n' "$schema"
}

snapshot() { run "$1" -f tests/upgrade/snapshot.sql; }

# Others use the database meanwhile: one has not committed yet, one comes and goes, one keeps its session.
upgrade_in_use() { # upgrade_in_use DATABASE FOLDER
  local database=$1 folder=$2 status=0 open busy kept
  run "$database" >"$folder/open" 2>&1 <<<"begin; select reason from grant_credits('501', 5, 'k-open-transaction'); select pg_sleep(1.5); commit;" &
  open=$!
  # From before the upgrade until after it in one session: what its backend prepared must follow.
  { printf "select reason from grant_credits('502', 1, 'kept-%s');\n" 1 2 3; sleep 2.5
    printf "select reason from grant_credits('502', 1, 'kept-%s');\n" 4 5 6; } | run "$database" -At >"$folder/kept" 2>&1 &
  kept=$!
  (for i in $(seq 20); do run "$database" -Atc "select reason from grant_credits('503', 1, 'busy-$i')"; done) >"$folder/busy" 2>&1 &
  busy=$!
  sleep 0.4
  run "$database" -c "alter extension $EXTENSION update" >"$folder/update" 2>&1 || status=$?
  [[ $status -eq 0 ]] || cat "$folder/update"
  fact $status "$database: alter extension update, while others use it"
  for pid in "$open" "$kept" "$busy"; do
    status=0
    wait "$pid" || status=$?
    fact $status "$database: a session beside the upgrade ended with an error, see $folder"
  done
  status=0
  [[ $(grep -c applied "$folder/kept") -eq 6 && $(grep -c applied "$folder/busy") -eq 20 ]] || status=1
  fact $status "$database: sessions beside the upgrade were not all answered, see $folder"
  [[ $(run "$database" -Atc "select sum((credit_balance(id)).balance) from unnest('{501,502,503}'::text[]) id") == 31 ]] || status=1
  fact $status "$database: what was credited beside the upgrade is not all there"
}

for kind in plain supabase; do
  if [[ $kind == supabase ]]; then
    # From here on supabase_admin is the superuser, and postgres is none.
    run postgres -f tests/pgtap/fixtures/supabase_cluster.sql
    export PGUSER=supabase_admin
  fi
  schema=$(database "fresh_$kind" $kind)
  run "fresh_$kind" -c "create extension $EXTENSION schema $schema"
  snapshot "fresh_$kind" >"$OUT/fresh_$kind"
  [[ $(wc -l <"$OUT/fresh_$kind") -gt 500 ]] || die "the snapshot of the catalogue is too short to mean anything: $OUT/fresh_$kind"
  for release in "${releases[@]}"; do
    name=from_${release}_$kind
    say "upgrade: from $release, $kind"
    mkdir "$OUT/$name.d"
    schema=$(database "$name" $kind)
    run "$name" -c "create extension $EXTENSION schema $schema version '$release'"
    run "$name" -f tests/upgrade/data.sql >"$OUT/$name.d/data" 2>&1 || { cat "$OUT/$name.d/data"; fact 1 "$name: the new library on the schema of $release"; continue; }
    fact 0 "$name: the new library on the schema of $release"
    # A right that an operator gave stays; everything new is nobody's.
    [[ $kind == plain ]] || run "$name" -c "grant execute on function stripe_webhook(json) to anon"
    run "$name" -c "create database \"${name}_in_use\" template \"$name\"" 2>/dev/null || run postgres -c "create database \"${name}_in_use\" template \"$name\""
    run "$name" -c "alter extension $EXTENSION update"
    run "$name" -v "version=$VERSION" -f tests/upgrade/after.sql >"$OUT/$name.d/after" 2>&1 || { cat "$OUT/$name.d/after"; fact 1 "$name: after.sql broke off"; }
    grep '^not ok' "$OUT/$name.d/after" || true
    passed=$((passed + $(grep -c '^ok' "$OUT/$name.d/after" || true))) failed=$((failed + $(grep -c '^not ok' "$OUT/$name.d/after" || true)))
    if [[ $kind == supabase ]]; then
      kept=0
      [[ $(run "$name" -Atc "select has_function_privilege('anon', 'stripe_webhook(json)', 'execute')") == t ]] || kept=1
      fact $kept "$name: a right that an operator had granted is gone"
      run "$name" -c "revoke execute on function stripe_webhook(json) from anon"
    fi
    same=0
    snapshot "$name" >"$OUT/$name"
    diff -u "$OUT/fresh_$kind" "$OUT/$name" || same=1
    fact $same "$name: the catalogue differs from that of a fresh install (- fresh, + upgraded)"
    upgrade_in_use "${name}_in_use" "$OUT/$name.d"
  done
done
record test-upgrade "$passed" "$failed"
say "test-upgrade: $passed passed, $failed failed"
[[ $failed -eq 0 ]]
