#!/usr/bin/env bash
# Runs the programs of examples/ against a throwaway cluster and fakes of the providers. The Python packages that they
# pin come from PyPI into target/venv, made once and again when the pins change. PYTHON chooses the Python.
# Usage: test_examples.sh [NAME...]   (parts of the tests' names)
# shellcheck source=scripts/cluster.sh
source "$(dirname "${BASH_SOURCE[0]}")/cluster.sh"
cd "$ROOT" || exit

PYTHON=${PYTHON:-/usr/bin/python3} # the one that python3-venv belongs to
REQUIREMENTS=examples/refetch_worker/requirements.txt
VENV=$TARGET/venv
STAMP=$VENV/requirements.sha256

inputs() { { "$PYTHON" --version && cat "$REQUIREMENTS"; } | sha256sum; }

make_venv() {
  local log=$TARGET/venv.log start=$SECONDS
  say "test-examples: Python packages into $VENV"
  rm -rf "$VENV"
  "$PYTHON" -m venv "$VENV" >"$log" 2>&1 ||
    { cat "$log" >&2; die "$PYTHON could not make a virtual environment" "Run 'make deps', which installs python3-venv."; }
  "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check -r "$REQUIREMENTS" >"$log" 2>&1 ||
    { cat "$log" >&2; die "the packages of $REQUIREMENTS could not be installed; what pip said is above" \
      "They come from PyPI. Where it cannot be reached, name a mirror by PIP_INDEX_URL, or a folder that holds the" \
      "wheels by PIP_FIND_LINKS together with PIP_NO_INDEX=1. Then run 'make test-examples' again."; }
  inputs >"$STAMP"
  say "test-examples: done in $((SECONDS - start)) s"
}

shopt -s nullglob
tests=(tests/examples/test_*.py)
need_tests test-examples tests/examples "${tests[@]}"
[[ -x $PYTHON ]] || die "no Python at $PYTHON" "Run 'make deps', or set PYTHON to another one."

mkdir -p "$TARGET"
exec 8>"$TARGET/venv.lock"
flock 8
[[ -f $STAMP && $(<"$STAMP") == "$(inputs)" ]] || make_venv
exec 8>&-

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
