#!/usr/bin/env bash
# Runs the programs of examples/ against a throwaway cluster and fakes of the providers. The Python packages that they
# pin come from PyPI, once. PYTHON chooses the Python.
# Usage: test_examples.sh [NAME...]   (parts of the tests' names)
# shellcheck source=scripts/cluster.sh
source "$(dirname "${BASH_SOURCE[0]}")/cluster.sh"
# shellcheck source=scripts/venv.sh
source "$(dirname "${BASH_SOURCE[0]}")/venv.sh"
cd "$ROOT" || exit

shopt -s nullglob
tests=(tests/examples/test_*.py)
need_tests test-examples tests/examples "${tests[@]}"
venv examples examples/refetch_worker/requirements.txt

cluster_start examples
log=$TARGET/test-examples.log
names=()
for name in "$@"; do names+=(-k "$name"); done
status=0
PYTHONDONTWRITEBYTECODE=1 "$VENV/bin/python" -m unittest discover -v -s tests/examples ${names[@]+"${names[@]}"} 2>&1 |
  tee "$log" || status=$?
total=$(sed -n 's/^Ran \([0-9]*\) tests\? in .*/\1/p' "$log")
failed=$(sed -n 's/^FAILED (\(.*\))$/\1/p' "$log" | tr -dc '0-9,' | tr ',' '+')
total=$((${total:-0})) failed=$((${failed:-0}))
# None run is a failure too: a misspelt name, or tests that could not be loaded.
[[ $status -eq 0 && $total -gt 0 ]] || failed=$((failed > 0 ? failed : 1)) status=1
passed=$((total > failed ? total - failed : 0))
record test-examples "$passed" "$failed"
say "test-examples: $passed passed, $failed failed"
exit "$status"
