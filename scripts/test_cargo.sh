#!/usr/bin/env bash
# A test layer that is plain `cargo test`. Usage: test_cargo.sh LAYER [cargo test arguments]
# For a crate with a workspace of its own the arguments hold --manifest-path.
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$ROOT" || exit

layer=$1
shift
case $layer in
  test-core) need_tests "$layer" core core/src/lib.rs ;;
  test-wire | test-wire-long)
    need_tests "$layer" tests/wire tests/wire/Cargo.toml
    export CARGO_TARGET_DIR=$TARGET/wire
    ;;
esac
export PG_CONFIG
log=$TARGET/$layer.log
mkdir -p "$TARGET"
status=0
cargo test "$@" 2>&1 | tee "$log" || status=$?
record_cargo "$layer" "$log" "$status"
exit "$status"
