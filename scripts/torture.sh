#!/usr/bin/env bash
# The torture test: what it does stands at the top of tests/wire/src/torture/mod.rs. Usage: torture.sh MINUTES [SEED]
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

minutes=${1:-1} seed=${2:-}
[[ $minutes =~ ^[0-9]+([.][0-9]+)?$ ]] || die "MINUTES is a number, not: $minutes" "For instance: make torture MINUTES=5"
[[ $seed =~ ^[0-9]*$ ]] || die "SEED is a number, not: $seed" "A former run prints it in its first line."

# Two small disks: tables are on one, those of a standby on the other. Whoever cannot mount goes without.
small_disks() {
  local folder=$1 disk size=$((512 + ${minutes%.*} * 128))
  [[ $EUID -eq 0 ]] || sudo -n true 2>/dev/null || return 0
  for disk in one two; do
    mkdir "$folder/$disk"
    as_root mount -t tmpfs -o "size=${size}m,mode=755" billing_rpc_torture "$folder/$disk" 2>/dev/null || return 0
    mounted+=("$folder/$disk")
    [[ $EUID -eq 0 ]] || as_root chown "$(id -u)" "$folder/$disk"
  done
}

at_exit() {
  local disk
  # The servers have their files open until they are swept.
  "$ROOT/scripts/cluster.sh" sweep
  for disk in ${mounted[@]+"${mounted[@]}"}; do as_root umount "$disk" || as_root umount -l "$disk"; done
  rm -rf "$folder"
}

if ! [[ -x /usr/sbin/pgbouncer ]]; then
  say "torture: installing pgbouncer by apt"
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends pgbouncer >/dev/null 2>&1 ||
    note "torture: pgbouncer cannot be installed, and is left out"
fi
folder=$(mktemp -d "/tmp/$EXTENSION.torture.XXXX")
chmod 755 "$folder"
mounted=()
trap at_exit EXIT
small_disks "$folder"
[[ ${#mounted[@]} -eq 2 ]] || note "torture: no small disk can be mounted: full disks are left out"
TORTURE_DISKS=$(IFS=: && printf '%s' "${mounted[*]}")
cd "$ROOT" || exit
export PG_CONFIG CARGO_TARGET_DIR=$TARGET/wire TORTURE_MINUTES=$minutes TORTURE_DISKS
[[ -z $seed ]] || export BILLING_SEED=$seed
cargo run --release --quiet --manifest-path tests/wire/Cargo.toml --bin torture
