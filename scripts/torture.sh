#!/usr/bin/env bash
# The torture test: what it does stands at the top of tests/wire/src/torture/mod.rs. Usage: torture.sh MINUTES [SEED]
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

minutes=${1:-1} seed=${2:-}
[[ $minutes =~ ^[0-9]+([.][0-9]+)?$ ]] || die "MINUTES is a number, not: $minutes" "For instance: make torture MINUTES=5"
[[ $seed =~ ^[0-9]*$ ]] || die "SEED is a number, not: $seed" "A former run prints it in its first line."
cd "$ROOT" || exit
export PG_CONFIG CARGO_TARGET_DIR=$TARGET/wire TORTURE_MINUTES=$minutes
[[ -z $seed ]] || export BILLING_SEED=$seed
exec cargo run --release --quiet --manifest-path tests/wire/Cargo.toml --bin torture
