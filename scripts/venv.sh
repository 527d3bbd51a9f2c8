# shellcheck shell=bash
# Python packages from PyPI in a virtual environment of their own under target/, made once and again when the pins
# change. PYTHON chooses the Python. Sourced, never run.
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

PYTHON=${PYTHON:-/usr/bin/python3} # the one that python3-venv belongs to

venv_inputs() { { "$PYTHON" --version && cat "$1"; } | sha256sum; }

# Sets VENV to the folder of environment NAME, which then holds what REQUIREMENTS pins.
venv() { # venv NAME REQUIREMENTS
  VENV=$TARGET/venv/$1
  [[ -x $PYTHON ]] || die "no Python at $PYTHON" "Run 'make deps', or set PYTHON to another one."
  mkdir -p "$TARGET/venv"
  exec 8>"$VENV.lock"
  flock 8
  if [[ ! -f $VENV/requirements.sha256 || $(<"$VENV/requirements.sha256") != "$(venv_inputs "$2")" ]]; then
    venv_make "$2"
  fi
  exec 8>&-
}

venv_make() { # venv_make REQUIREMENTS
  local log=$VENV.log start=$SECONDS
  say "python: the packages of $1 into $VENV"
  rm -rf "$VENV"
  "$PYTHON" -m venv "$VENV" >"$log" 2>&1 ||
    { cat "$log" >&2; die "$PYTHON could not make a virtual environment" "Run 'make deps', which installs python3-venv."; }
  "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check -r "$1" >"$log" 2>&1 ||
    { cat "$log" >&2; die "the packages of $1 could not be installed; what pip said is above" \
      "They come from PyPI. Where it cannot be reached, name a mirror by PIP_INDEX_URL, or a folder that holds the" \
      "wheels by PIP_FIND_LINKS together with PIP_NO_INDEX=1. Then run this again."; }
  venv_inputs "$1" >"$VENV/requirements.sha256"
  say "python: done in $((SECONDS - start)) s"
}
