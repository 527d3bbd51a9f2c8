#!/usr/bin/env bash
# pgTAP tests: who may do what, and what is there. Every file twice, each time in a database of its own: on plain
# Postgres, and on a cluster with Supabase's roles and default privileges. Usage: test_pgtap.sh [FILE...]
#        test_pgtap.sh --accept   writes the privilege matrices tests/privileges/*.txt anew, to be read and committed
# In each database: tests/pgtap/fixtures/plain.sql or supabase.sql, pgTAP in schema tap, the extension, then the file. All but
# the file is done once per fixture, in a database that the others are copies of. The fixtures run side by side.
# Roles are shared by a cluster's databases: supabase_cluster.sql makes them once. It also takes superuser away from
# postgres, so that from then on supabase_admin does everything.
# shellcheck source=scripts/cluster.sh
source "$(dirname "${BASH_SOURCE[0]}")/cluster.sh"
pg_paths

# As whom a fixture's databases are made and tested, and how.
as_fixture() { # as_fixture FIXTURE
  [[ $1 != supabase ]] || export PGUSER=supabase_admin
  export PGOPTIONS="-c client_min_messages=warning"
  psql=("$PG_BIN/psql" -X -q -v ON_ERROR_STOP=1)
}

# prove runs this script once a file: it makes the database, and what the file prints is its TAP.
if [[ ${1:-} == --one ]]; then
  fixture=$2 file=$3
  trap - EXIT
  as_fixture "$fixture"
  name=${file##*/}
  export PGDATABASE=${fixture}_${name%.sql}
  "${psql[@]}" -d postgres -c "create database \"$PGDATABASE\" template prepared" \
    -c "alter database \"$PGDATABASE\" set search_path = \"\$user\", public, tap" >&2
  exec "${psql[@]}" -A -t -v "fixture=$fixture" -f "$file"
fi

# A cluster, from now on the one that PGHOST and the like name, with the database that a fixture's tests begin with.
prepare() { # prepare FIXTURE
  local roles=$ROOT/tests/pgtap/fixtures/${1}_cluster.sql contents=$ROOT/tests/pgtap/fixtures/$1.sql
  cluster_start "pgtap_$1"
  [[ ! -f $roles ]] || "$PG_BIN/psql" -X -q -v ON_ERROR_STOP=1 -d postgres -f "$roles"
  (
    trap - EXIT
    as_fixture "$1"
    "${psql[@]}" -d postgres -c "create database prepared template template0"
    [[ ! -f $contents ]] || "${psql[@]}" -d prepared -f "$contents"
    "${psql[@]}" -d prepared -c "create schema tap; grant usage on schema tap to public; create extension pgtap schema tap" \
      -c "create extension $EXTENSION schema public"
  )
}

accept=no
[[ ${1:-} != --accept ]] || { accept=yes && shift; }
files=("$@")
cd "$ROOT" || exit # prove splits its --exec at spaces, so paths stay relative
[[ ${#files[@]} -gt 0 ]] || files=(tests/pgtap/*.sql)
need_tests test-pgtap tests/pgtap "${files[@]}"
command -v prove >/dev/null || die "prove is missing (it comes with perl)" "Run 'make deps'."
mkdir -p "$TARGET"

[[ -f tests/pgtap/fixtures/supabase.sql ]] || die "tests/pgtap/fixtures/supabase.sql is missing"
if [[ $accept == yes ]]; then
  for fixture in plain supabase; do
    matrix=tests/privileges/$fixture.txt
    prepare "$fixture"
    scripts/test_pgtap.sh --one "$fixture" tests/pgtap/fixtures/print_matrix.sql >"$TARGET/matrix.txt"
    diff -u "$matrix" "$TARGET/matrix.txt" || cp "$TARGET/matrix.txt" "$matrix"
  done
  exit 0
fi

declare -A runs
for fixture in plain supabase; do
  prepare "$fixture"
  prove --failures --comments --timer --exec "scripts/test_pgtap.sh --one $fixture" "${files[@]}" \
    >"$TARGET/pgtap_$fixture.log" 2>&1 &
  runs[$fixture]=$!
done
passed=0 failed=0 status=0
for fixture in plain supabase; do
  say "pgTAP on $fixture"
  log=$TARGET/pgtap_$fixture.log
  one=0
  wait "${runs[$fixture]}" || one=1
  cat "$log"
  # "Files=3, Tests=45, ..." and, of a failed file, "Failed: 2"
  total=$(sed -n 's/.*, Tests=\([0-9]*\),.*/\1/p' "$log" | tail -n 1)
  # A file that broke off counts as one.
  bad=$(sed -n 's/.*(Wstat: .* Tests: [0-9]* Failed: \([0-9]*\)).*/\1/p' "$log" | sed 's/^0$/1/' | paste -sd+ | sed 's/^$/0/')
  bad=$((bad))
  [[ $one -eq 0 || $bad -gt 0 ]] || bad=1
  [[ $one -eq 0 ]] || status=1
  failed=$((failed + bad))
  good=$((${total:-0} - bad))
  passed=$((passed + (good > 0 ? good : 0)))
done
record test-pgtap "$passed" "$failed"
say "test-pgtap: $passed passed, $failed failed"
exit "$status"
