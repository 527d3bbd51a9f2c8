#!/usr/bin/env bash
# Runs the programs of examples/ against a throwaway cluster and fakes of the providers, two test files at a time. The
# packages that they pin come from PyPI and npm, once. PYTHON chooses the Python.
# Usage: test_examples.sh [--accept] [NAME...]   (parts of the tests' names)
#   --accept   makes what is generated and printed now the expected: the types of TypeScript, and psql's tour
# shellcheck source=scripts/cluster.sh
source "$(dirname "${BASH_SOURCE[0]}")/cluster.sh"
# shellcheck source=scripts/venv.sh
source "$(dirname "${BASH_SOURCE[0]}")/venv.sh"
# shellcheck source=scripts/npm.sh
source "$(dirname "${BASH_SOURCE[0]}")/npm.sh"
pg_paths
cd "$ROOT" || exit

shopt -s nullglob
tests=(tests/examples/test_*.py)
need_tests test-examples tests/examples "${tests[@]}"
venv examples examples/requirements.txt

cluster_start examples
"$PG_BIN/psql" -X -q -v ON_ERROR_STOP=1 -d postgres -f tests/examples/setup.sql >/dev/null
if [[ ${1:-} == --accept ]]; then
  PGDATABASE=examples "$VENV/bin/python" examples/typescript/generate.py >"$TARGET/billing_rpc.ts"
  "$PG_BIN/psql" -X -q -d examples -f examples/psql/tour.sql >"$TARGET/tour.txt"
  for pair in billing_rpc.ts:examples/typescript tour.txt:tests/examples/expected; do
    diff -u "${pair#*:}/${pair%%:*}" "$TARGET/${pair%%:*}" || cp "$TARGET/${pair%%:*}" "${pair#*:}"
  done
  exit 0
fi
npm_packages examples examples
typescript examples tests/examples/*.ts
export EXAMPLES_JS=$NPM/js
logs=$TARGET/test-examples
rm -rf "$logs"
mkdir -p "$logs"
export PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=$ROOT/tests/examples PATH=$PG_BIN:$PATH

# One file of tests; what it says is shown when it ends, so that two at a time do not mix.
# shellcheck disable=SC2329 # xargs calls it
run_file() { # run_file PYTHON LOGS FILE NAME...
  local log status=0
  log=$2/$(basename "$3" .py).log
  "$1" -m unittest -v "$3" "${@:4}" >"$log" 2>&1 || status=$?
  # Of a file without such a name there is nothing to show.
  if [[ $status -ne 0 ]] || ! grep -q '^Ran 0 tests' "$log"; then cat "$log"; fi
  return "$status"
}
export -f run_file
names=()
for name in "$@"; do names+=(-k "$name"); done
status=0
printf '%s\0' "${tests[@]}" |
  xargs -0 -P 2 -I {} bash -c 'run_file "$@"' run_file "$VENV/bin/python" "$logs" {} ${names[@]+"${names[@]}"} || status=1

sum() { cat "$logs"/*.log | sed -n "$1" | tr -cs '0-9\n' '\n' | awk '{ n += $1 } END { print n + 0 }'; }
total=$(sum 's/^Ran \([0-9]*\) tests\? in .*/\1/p')
failed=$(sum 's/^FAILED (\(.*\))$/\1/p')
# None run is a failure too: a misspelt name, or tests that could not be loaded.
[[ $status -eq 0 && $total -gt 0 ]] || failed=$((failed > 0 ? failed : 1)) status=1
passed=$((total > failed ? total - failed : 0))
record test-examples "$passed" "$failed"
say "test-examples: $passed passed, $failed failed"
exit "$status"
