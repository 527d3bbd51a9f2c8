#!/usr/bin/env bash
# Delivers every JSON file of a folder, twice, to a throwaway database. Usage: corpus.sh FOLDER
# What it looks for stands at the top of tests/wire/src/corpus.rs.
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

[[ $# -eq 1 && -n $1 && -d $1 ]] || die "there is no such folder: ${1:-}" "Give one that holds an event in each JSON file: make corpus DIR=path"
folder=$(realpath -- "$1")
cd "$ROOT" || exit
export PG_CONFIG CARGO_TARGET_DIR=$TARGET/wire
exec cargo run --release --quiet --manifest-path tests/wire/Cargo.toml --bin corpus -- "$folder"
