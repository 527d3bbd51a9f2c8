# shellcheck shell=bash
# shellcheck disable=SC2034 # used by the scripts that source this
# What every script here shares: where things are, how to speak, how to become root.
# Sourced, never run. Needs nothing but bash and coreutils.
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
# Scripts that build for another Postgres have them elsewhere.
TARGET=${BILLING_TARGET:-$ROOT/target}
EXTENSION=billing_rpc

# One target folder whatever the caller's environment says, so that the steps find each other's results.
export CARGO_TARGET_DIR=${BILLING_CARGO_TARGET:-$TARGET}
# cargo-pgrx passes link flags of its own, which RUSTFLAGS in the environment would silently replace.
unset RUSTFLAGS CARGO_ENCODED_RUSTFLAGS
# A backtrace in the server would put file paths into error details.
export RUST_BACKTRACE=0
# A fresh shell after rustup may not have it yet.
[[ ":$PATH:" == *":${CARGO_HOME:-$HOME/.cargo}/bin:"* ]] || export PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"

PG_CONFIG=${PG_CONFIG:-/usr/lib/postgresql/15/bin/pg_config}
# What it says; before it is installed, what its path says: Debian's folders are named by the major version.
PG_MAJOR=$(
  if [[ -x $PG_CONFIG ]]; then "$PG_CONFIG" --version; else printf '%s\n' "$PG_CONFIG"; fi |
    sed -nE 's#^(PostgreSQL |/usr/lib/postgresql/)([0-9]+).*#\2#p'
)
PG_MAJOR=${PG_MAJOR:-15}
PGRX_VERSION=0.18.1

say() { printf '%s\n' "$*"; }
note() { printf '%s\n' "$*" >&2; }
die() {
  printf 'error: %s\n' "$1" >&2
  shift
  local line
  for line in "$@"; do printf '       %s\n' "$line" >&2; done
  exit 1
}

# Runs a command as root: directly when we are, by sudo when not.
as_root() {
  if [[ $EUID -eq 0 ]]; then
    "$@"
  elif command -v sudo >/dev/null; then
    sudo -- "$@"
  else
    die "this step needs root: $*" "Run it as root, or install sudo and allow $(id -un) to use it."
  fi
}

timed() { # timed WHAT COMMAND...
  local what=$1 start=$SECONDS
  shift
  "$@"
  say "deps: $what: done in $((SECONDS - start)) s"
}

# Tools are built outside the project's target folder, and leave nothing there.
cargo_install() {
  env -u CARGO_TARGET_DIR cargo install --locked --quiet "$@"
}

# Builds in a folder apart, FOLDER/target, so that what is built for the Postgres here stays; all such builds share what they have in
# common. What is built there tells nothing of this machine's folders.
build_apart() { # build_apart FOLDER PG_CONFIG
  mkdir -p "$TARGET"
  (
    # One at a time: a library that is built lies where that for another Postgres would.
    exec 7>"$TARGET/apart.lock"
    flock 7
    PGRX_HOME=$1/pgrx BILLING_TARGET=$1/target BILLING_CARGO_TARGET=$TARGET/apart PG_CONFIG=$2 \
      RUSTC_WRAPPER=$ROOT/scripts/rustc.sh BILLING_PATHS=$(shipped_paths "$TARGET/apart") nice "$ROOT/scripts/build.sh"
  )
}
shipped_paths() { # shipped_paths CARGO_TARGET_DIR
  printf '%s\n' "${CARGO_HOME:-$HOME/.cargo}=/cargo" "$ROOT=/$EXTENSION" "$1=/target"
}
# cargo-pgrx asks a file in its home where each Postgres is.
pgrx_home() { # pgrx_home FOLDER PG_CONFIG
  mkdir -p "$1"
  printf '[configs]\npg%s = "%s"\n' "$("$2" --version | sed -E 's/^PostgreSQL ([0-9]+).*/\1/')" "$2" >"$1/config.toml"
  # cargo makes the bindings again when this file is newer than they are.
  touch -d @0 "$1/config.toml"
}

# The folders of the Postgres in use; PG_BIN holds its programs.
pg_paths() {
  [[ -x $PG_CONFIG ]] || die "no Postgres $PG_MAJOR at $PG_CONFIG" \
    "Run 'make deps', or set PG_CONFIG to the pg_config of another Postgres $PG_MAJOR."
  PG_BIN=$("$PG_CONFIG" --bindir)
  PG_LIB=$("$PG_CONFIG" --pkglibdir)
  PG_SHARE=$("$PG_CONFIG" --sharedir)
  # A Postgres without programs for tests may use those of another.
  PG_TOOLS=${PG_TOOLS:-$(dirname "$(dirname "$("$PG_CONFIG" --pgxs)")")/test}
}

# No Rust is found, but what was built for this Postgres is there. As root by sudo, mostly: Rust lives in a user's home.
built_without_us() {
  ! command -v cargo >/dev/null && [[ -x $PG_CONFIG && -f $TARGET/package.inputs && -d $TARGET/package$("$PG_CONFIG" --sharedir) ]]
}

# One build or installation at a time in this checkout; others wait. Held until the script ends.
package_lock() {
  mkdir -p "$TARGET"
  exec 9>"$TARGET/package.lock"
  flock 9
}

# Layers write "passed failed" here; scripts/test.sh adds them up.
record() { # record LAYER PASSED FAILED
  mkdir -p "$TARGET/results"
  printf '%s %s\n' "$2" "$3" >"$TARGET/results/$1"
}

# Adds up what `cargo test` printed into a log.
record_cargo() { # record_cargo LAYER LOG STATUS
  local passed failed
  passed=$(sed -n 's/.*test result: .* \([0-9][0-9]*\) passed; .*/\1/p' "$2" | paste -sd+ | sed 's/^$/0/')
  failed=$(sed -n 's/.*test result: .* passed; \([0-9][0-9]*\) failed.*/\1/p' "$2" | paste -sd+ | sed 's/^$/0/')
  passed=$((passed)) failed=$((failed))
  [[ $3 -eq 0 || $failed -gt 0 ]] || failed=1
  record "$1" "$passed" "$failed"
}

# A layer without tests is a mistake, not a success. ALLOW_MISSING=1 lets it through while it is being written.
need_tests() { # need_tests LAYER WHERE FILE...
  [[ $# -gt 2 && -e $3 ]] && return
  if [[ ${ALLOW_MISSING:-0} == 1 ]]; then
    say "$1: nothing in $2 yet; let through, because ALLOW_MISSING=1"
    record "$1" 0 0
    exit 0
  fi
  die "$1: there are no tests in $2"
}

# Runs a command that has to succeed; counts in `passed` and `failed`, and shows what a failed one said.
fact() { # fact WHAT COMMAND...
  local what=$1 log=$TARGET/fact.$$.log
  shift
  if "$@" >"$log" 2>&1 </dev/null; then
    passed=$((passed + 1))
    say "ok     $what"
  else
    failed=$((failed + 1))
    say "FAILED $what"
    tail -n 40 "$log"
  fi
  rm -f "$log"
}
