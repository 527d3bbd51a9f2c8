#!/usr/bin/env bash
# Installs what building and testing need, and only what is missing. A second run does nothing.
# Usage: deps.sh [--build]   only what building needs
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

only_build=no
[[ ${1:-} != --build ]] || only_build=yes
PACKAGES=(build-essential clang libclang-dev pkg-config util-linux)
# A Postgres that is not Debian's brings its headers along.
[[ $PG_CONFIG != */usr/lib/postgresql/$PG_MAJOR/bin/pg_config ]] ||
  PACKAGES+=("postgresql-$PG_MAJOR" "postgresql-client-$PG_MAJOR" "postgresql-server-dev-$PG_MAJOR")
[[ $only_build == yes ]] || PACKAGES+=(sudo perl python3-venv curl openssl "postgresql-$PG_MAJOR-pgtap" "postgresql-$PG_MAJOR-cron")

can_build() {
  command -v clang >/dev/null && command -v cc >/dev/null && [[ -x $PG_CONFIG && -f $("$PG_CONFIG" --includedir-server)/postgres.h ]]
}

# Node from elsewhere will do, so that no second one is installed.
command -v node >/dev/null && command -v npm >/dev/null || PACKAGES+=(nodejs npm)

# Node from elsewhere will do, so that no second one is installed.
command -v node >/dev/null && command -v npm >/dev/null || PACKAGES+=(nodejs npm)
# So will a browser of Chromium's family; its pages need some font.
command -v chromium >/dev/null || command -v google-chrome >/dev/null || PACKAGES+=(chromium fonts-dejavu-core)

apt_packages() {
  if [[ $only_build == yes ]] && ! command -v dpkg-query >/dev/null && can_build; then return; fi
  command -v dpkg-query >/dev/null || die "this is not a Debian system" \
    "Install by hand: Postgres $PG_MAJOR with its server headers, pgTAP and pg_cron, clang with libclang, a C compiler, sudo," \
    "perl, Python 3 with venv, Node 18 or later with npm, Chromium." \
    "Then set PG_CONFIG to its pg_config."
  local installed missing=() package
  installed=$(dpkg-query -W -f='${Package} ${db:Status-Status}\n' "${PACKAGES[@]}" 2>/dev/null || true)
  for package in "${PACKAGES[@]}"; do
    grep -qx "$package installed" <<<"$installed" || missing+=("$package")
  done
  if [[ ${#missing[@]} -gt 0 ]]; then
    say "deps: installing by apt: ${missing[*]} (a minute or two)"
    # Without sudo there is nothing to install sudo with: as_root says so.
    timed "apt" apt_install "${missing[@]}"
  fi
}

apt_install() {
  as_root apt-get update -q
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "$@" ||
    die "apt could not install: $*" \
      "Debian 12 has all of them. On another release add the PostgreSQL project's apt repository first."
}

rust() {
  command -v cargo >/dev/null || die "cargo is not installed" \
    "Install Rust 1.95 or later from https://rustup.rs, open a new shell, and run this again."
  [[ $only_build == no ]] || return 0
  if ! cargo fmt --version >/dev/null 2>&1 || ! cargo clippy --version >/dev/null 2>&1; then
    command -v rustup >/dev/null || die "rustfmt or clippy is missing" "Install both for your Rust toolchain."
    say "deps: adding rustfmt and clippy to the Rust toolchain"
    rustup component add rustfmt clippy
  fi
}

cargo_tools() {
  if [[ $(cargo pgrx --version 2>/dev/null || true) != "cargo-pgrx $PGRX_VERSION" ]]; then
    say "deps: installing cargo-pgrx $PGRX_VERSION (two to four minutes)"
    timed "cargo-pgrx" cargo_install --version "=$PGRX_VERSION" cargo-pgrx
  fi
  [[ $only_build == no ]] || return 0
  if ! cargo deny --version >/dev/null 2>&1; then
    say "deps: installing cargo-deny (two to five minutes)"
    timed "cargo-deny" cargo_install cargo-deny
  fi
}

# cargo-pgrx reads from one file in the home folder where each Postgres is.
pgrx_init() {
  local config=${PGRX_HOME:-$HOME/.pgrx}/config.toml known
  if [[ -f $config ]]; then
    known=$(sed -n "s/^pg$PG_MAJOR *= *\"\(.*\)\"/\1/p" "$config")
    if [[ -n $known ]]; then
      [[ -x $known ]] && return
      die "$config names $known for Postgres $PG_MAJOR, which does not exist" \
        "Mend or remove that line, then run 'make deps' again."
    fi
    say "deps: adding Postgres $PG_MAJOR to $config"
    sed -i "/^\[configs\]/a pg$PG_MAJOR = \"$PG_CONFIG\"" "$config"
  else
    say "deps: telling cargo-pgrx about $PG_CONFIG (nothing is downloaded)"
    cargo pgrx init "--pg$PG_MAJOR=$PG_CONFIG"
  fi
}

# 'sudo make install' after 'make all': root has no Rust of its own, and needs none to copy what is built.
if [[ $only_build == yes ]] && built_without_us; then exit 0; fi
apt_packages
rust
pg_paths
cargo_tools
pgrx_init
