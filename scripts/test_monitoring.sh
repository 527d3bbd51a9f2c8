#!/usr/bin/env bash
# What is told in numbers, read by others' parsers, and examples/monitoring and examples/psql against a throwaway cluster. The Python
# packages that the tests pin come from PyPI, once. PYTHON chooses the Python.
# Usage: test_monitoring.sh [NAME...]   (parts of the tests' names)
# shellcheck source=scripts/cluster.sh
source "$(dirname "${BASH_SOURCE[0]}")/cluster.sh"
# shellcheck source=scripts/venv.sh
source "$(dirname "${BASH_SOURCE[0]}")/venv.sh"
pg_paths
cd "$ROOT" || exit

shopt -s nullglob
tests=(tests/monitoring/test_*.py)
need_tests test-monitoring tests/monitoring "${tests[@]}"
venv monitoring tests/monitoring/requirements.txt

cluster_start monitoring
log=$TARGET/test-monitoring.log
names=()
for name in "$@"; do names+=(-k "$name"); done
status=0
PATH=$PG_BIN:$PATH PYTHONDONTWRITEBYTECODE=1 "$VENV/bin/python" -m unittest discover -v -s tests/monitoring ${names[@]+"${names[@]}"} 2>&1 |
  tee "$log" || status=$?
total=$(sed -n 's/^Ran \([0-9]*\) tests\? in .*/\1/p' "$log")
failed=$(sed -n 's/^FAILED (\(.*\))$/\1/p' "$log" | tr -dc '0-9,' | tr ',' '+')
total=$((${total:-0})) failed=$((${failed:-0}))
# None run is a failure too: a misspelt name, or tests that could not be loaded.
[[ $status -eq 0 && $total -gt 0 ]] || failed=$((failed > 0 ? failed : 1)) status=1
passed=$((total > failed ? total - failed : 0))
record test-monitoring "$passed" "$failed"
say "test-monitoring: $passed passed, $failed failed"
exit "$status"
