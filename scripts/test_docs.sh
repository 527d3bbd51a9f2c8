#!/usr/bin/env bash
# Runs what the documentation shows: every ```sql block of README.md and docs/, the blocks of one file in order, in one
# session of a fresh database, and compares what psql prints with the ```text block after each. Follows the links too.
# How a block may be fenced: see tests/docs/blocks.py. docs/reference is made of the catalogue's comments; the examples in
# these run too.
# Usage: test_docs.sh [--reference] [--accept] [FILE...]
#   --reference   only docs/reference
#   --accept      writes the results into the documents (or docs/reference anew), to be read and committed
# shellcheck source=scripts/cluster.sh
source "$(dirname "${BASH_SOURCE[0]}")/cluster.sh"
pg_paths
cd "$ROOT" || exit

PYTHON=${PYTHON:-/usr/bin/python3} # nothing but its standard library is needed
[[ -x $PYTHON ]] || die "no Python at $PYTHON" "Run 'make deps', or set PYTHON to another one."
PSQL=$PG_BIN/psql
OUT=$TARGET/docs
export EXTENSION PSQL OUT PYTHONDONTWRITEBYTECODE=1

reference=no accept=()
[[ ${1:-} != --reference ]] || { reference=only && shift; }
[[ ${1:-} != --accept ]] || { accept=(--accept) && shift; }
files=("$@")
if [[ ${#files[@]} -eq 0 ]]; then
  mapfile -t files < <(find README.md docs -name '*.md' -type f ! -path 'docs/reference/*' 2>/dev/null | sort)
fi
need_tests test-docs "README.md and docs/" "${files[@]}"

rm -rf "$OUT"
mkdir -p "$OUT"
cluster_start docs -c wal_level=logical
status=0 passed=0 failed=0 skipped=0 hidden=0

# The extension is created once; databases that have it are copies of this one.
"$PSQL" -X -q -d postgres -c "create database docs_template template template0"
"$PSQL" -X -q -d docs_template -c "create extension $EXTENSION"
database() { # database NAME: one with the extension
  "$PSQL" -X -q -d postgres -c "create database $1 template docs_template"
}

run_blocks() {
  "$PYTHON" tests/docs/blocks.py ${accept[@]+"${accept[@]}"} "${files[@]}" || status=1
  failed=1
  [[ ! -f $OUT/counts ]] || read -r passed failed skipped hidden <"$OUT/counts"
}

# What docs/reference holds is what the catalogue says.
reference() {
  database docs_reference
  if "$PYTHON" tests/docs/reference.py docs_reference "$OUT/reference" &&
    { diff -ruN docs/reference "$OUT/reference" || [[ ${#accept[@]} -gt 0 && $reference == only ]]; }; then
    passed=$((passed + 1))
  else
    failed=$((failed + 1)) status=1
    say "FAILED docs/reference is not what the catalogue's comments say: make accept KIND=reference"
  fi
  [[ ${#accept[@]} -eq 0 || $reference != only ]] || { rm -rf docs/reference && cp -R "$OUT/reference" docs/reference; }
}

# The examples in the comments of functions, as the catalogue has them.
examples() {
  local log=$OUT/examples.log judged wrong
  database docs_examples
  if ! "$PSQL" -X -q -v ON_ERROR_STOP=1 -d docs_examples -f tests/docs/examples.sql -f tests/docs/run_examples.sql >"$log" 2>&1; then
    grep -A 3 'ERROR: ' "$log" || cat "$log"
    failed=$((failed + 1)) status=1
    return
  fi
  read -r judged wrong < <(sed -n 's/^::judged //p' "$log")
  passed=$((passed + judged - wrong)) failed=$((failed + wrong))
  [[ $judged -gt 0 && $wrong -eq 0 ]] || status=1
  grep '^FAILED' "$log" || say "ok     the examples of $judged functions"
}

# The checks themselves: what they see.
checks() {
  if "$PYTHON" -m unittest discover -q -s tests/docs; then passed=$((passed + 1)); else failed=$((failed + 1)) status=1; fi
}

follow_links() {
  mapfile -t linking < <(find ./*.md docs examples tests sql fuzz -name '*.md' -type f | sed 's|^\./||' | sort)
  if "$PYTHON" tests/docs/links.py "${linking[@]}"; then passed=$((passed + 1)); else failed=$((failed + 1)) status=1; fi
}

if [[ $reference == only ]]; then
  reference
else
  run_blocks
fi
if [[ $# -eq 0 && $reference == no ]]; then
  reference
  examples
  follow_links
  checks
fi
record test-docs "$passed" "$failed"
say "test-docs: $passed passed, $failed failed ($skipped blocks not run, the results of $hidden not shown)"
[[ $failed -eq 0 ]] || say "If other results are right, accept them: make accept KIND=docs"
exit "$status"
