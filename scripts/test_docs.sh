#!/usr/bin/env bash
# Runs what the documentation shows: every ```sql block of README.md and docs/, the blocks of one file in order, in one
# session of a fresh database, and compares what psql prints with the ```text block after each. Follows the links too.
# How a block may be fenced: see tests/docs/blocks.py.
# Usage: test_docs.sh [--accept] [FILE...]
#   --accept   writes the results into the documents, to be read and committed
# shellcheck source=scripts/cluster.sh
source "$(dirname "${BASH_SOURCE[0]}")/cluster.sh"
pg_paths
cd "$ROOT" || exit

PYTHON=${PYTHON:-/usr/bin/python3} # nothing but its standard library is needed
[[ -x $PYTHON ]] || die "no Python at $PYTHON" "Run 'make deps', or set PYTHON to another one."
PSQL=$PG_BIN/psql
OUT=$TARGET/docs
export EXTENSION PSQL OUT PYTHONDONTWRITEBYTECODE=1

accept=()
[[ ${1:-} != --accept ]] || { accept=(--accept) && shift; }
files=("$@")
if [[ ${#files[@]} -eq 0 ]]; then
  mapfile -t files < <(find README.md docs -name '*.md' -type f 2>/dev/null | sort)
fi
need_tests test-docs "README.md and docs/" "${files[@]}"

rm -rf "$OUT"
mkdir -p "$OUT"
cluster_start docs -c wal_level=logical
status=0
"$PYTHON" tests/docs/blocks.py ${accept[@]+"${accept[@]}"} "${files[@]}" || status=1
passed=0 failed=1 skipped=0 hidden=0
[[ ! -f $OUT/counts ]] || read -r passed failed skipped hidden <"$OUT/counts"

# The examples in the comments of functions, as the catalogue has them.
examples() {
  local log=$OUT/examples.log judged wrong
  "$PSQL" -X -q -d postgres -c "create database docs_examples template template0"
  if ! "$PSQL" -X -q -v ON_ERROR_STOP=1 -d docs_examples -c "create extension $EXTENSION" \
    -f tests/docs/examples.sql -f tests/docs/run_examples.sql >"$log" 2>&1; then
    grep -A 3 'ERROR: ' "$log" || cat "$log"
    failed=$((failed + 1)) status=1
    return
  fi
  read -r judged wrong < <(sed -n 's/^::judged //p' "$log")
  passed=$((passed + judged - wrong)) failed=$((failed + wrong))
  [[ $judged -gt 0 && $wrong -eq 0 ]] || status=1
  grep '^FAILED' "$log" || say "ok     the examples of $judged functions"
}

if [[ $# -eq 0 ]]; then
  examples
  mapfile -t linking < <(find ./*.md docs examples tests sql fuzz -name '*.md' -type f | sed 's|^\./||' | sort)
  if "$PYTHON" tests/docs/links.py "${linking[@]}"; then passed=$((passed + 1)); else failed=$((failed + 1)) status=1; fi
fi
record test-docs "$passed" "$failed"
say "test-docs: $passed passed, $failed failed ($skipped blocks not run, the results of $hidden not shown)"
[[ $failed -eq 0 ]] || say "If other results are right, accept them: make accept KIND=docs"
exit "$status"
