#!/usr/bin/env bash
# Pairs of writing functions in two sessions, every way in which they can meet: see tests/isolation/pairs/README.md.
# Usage: test_pairs.sh sample|all [--accept] [NAME...]
#   sample     a seeded sample of the permutations (PAIRS_SEED chooses another)
#   all        every one; with NAMEs, those whose first operation is one of these
#   --accept   makes what was answered the expected answers, after showing the differences
# shellcheck source=scripts/cluster.sh
source "$(dirname "${BASH_SOURCE[0]}")/cluster.sh"
pg_paths

FOLDER=$ROOT/tests/isolation/pairs
PYTHON=${PYTHON:-/usr/bin/python3} # nothing but its standard library is needed
ISOLATIONTESTER=$PG_TOOLS/isolation/isolationtester
PSQL=$PG_BIN/psql
OUT=$TARGET/pairs
PAIRS_DATABASES='pairs_1 pairs_2' # so many specs run at once
# A step that never ends is canceled after so many seconds; isolationtester's own limit is six minutes a step.
PGISOLATIONTIMEOUT=${PGISOLATIONTIMEOUT:-20}
export ISOLATIONTESTER PSQL OUT PAIRS_DATABASES PGISOLATIONTIMEOUT PYTHONDONTWRITEBYTECODE=1

[[ ${1:-} == sample || ${1:-} == all ]] || die "usage: test_pairs.sh sample|all [--accept] [NAME...]"
[[ -x $PYTHON ]] || die "no Python at $PYTHON" "Run 'make deps', or set PYTHON to another one."
[[ -x $ISOLATIONTESTER ]] || die "$ISOLATIONTESTER is missing" "Run 'make deps': postgresql-server-dev-$PG_MAJOR and postgresql-client-$PG_MAJOR hold it."

rm -rf "$OUT"
mkdir -p "$OUT"
# A lock that autovacuum takes for a moment would count as busy; pairs.py vacuums between specs instead.
cluster_start pairs -c autovacuum=off
"$PSQL" -qX -d postgres -c "CREATE DATABASE pairs"
"$PSQL" -qX -v ON_ERROR_STOP=1 -d pairs -f "$FOLDER/world.sql" -f "$FOLDER/state.sql" -f "$FOLDER/planted.sql" \
  >"$OUT/world.log" 2>&1 || { cat "$OUT/world.log" >&2; die "world.sql, state.sql or planted.sql cannot be run"; }
for database in $PAIRS_DATABASES; do
  "$PSQL" -qX -d postgres -c "CREATE DATABASE $database TEMPLATE pairs"
done

status=0
"$PYTHON" "$FOLDER/pairs.py" "$@" || status=$?
passed=0 failed=1
[[ ! -f $OUT/counts ]] || read -r passed failed <"$OUT/counts"
record test-pairs "$passed" "$failed"
say "test-pairs: $passed passed, $failed failed"
if [[ $status -ne 0 ]]; then
  say "If different answers are right, accept them: make accept KIND=pairs; what no serial order explains needs a mend, or a reason in exceptions.txt"
fi
exit "$status"
