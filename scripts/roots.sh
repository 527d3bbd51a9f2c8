#!/usr/bin/env bash
# Root folders: a Debian of another release with another Postgres in it, made by mmdebstrap from where apt gets Debian here,
# and kept in target/roots for the next run. Nothing but mmdebstrap is installed on this system, and nothing stays mounted.
#
#   scripts/roots.sh --remove   stops what runs in them, and removes them all
#
# Scripts source this file, set WHO to the name that they speak by, and call
#   may_be_root                           whether this can become root, by itself or by sudo
#   root_make NAME SUITES PACKAGES [UNPACKED]
#                                         makes target/roots/NAME/root unless it is there: the first of SUITES, with the others
#                                         to take packages from; PACKAGES by commas; UNPACKED without what they depend on.
#                                         Sets FOLDER and SYSTEM, and holds the folder for this script until it ends
#   root_bookworm, root_trixie, root_sid  the folders that there are
#   root_build MAJOR                      builds the extension for that root's Postgres, into target/roots/NAME/target/package
#   root_run [NAME=VALUE...] COMMAND...   there, as root, in this project's folder, which is mounted for just that command
# Exit status 3: left out (no root, or no way to get the packages), and why.
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

ROOTS=$TARGET/roots
WHO=${WHO:-roots}

left_out() {
  note "$WHO: left out: $1"
  exit 3
}

may_be_root() {
  [[ $EUID -eq 0 ]] && return
  command -v sudo >/dev/null || return
  sudo -n true 2>/dev/null || { [[ -t 0 ]] && sudo true; }
}

# From where apt gets Debian here; apt itself reads all forms of its sources.
mirror() {
  # shellcheck disable=SC2016 # apt's own variables
  apt-get indextargets --format '$(REPO_URI)' 'Identifier: Packages' 'Label: Debian' | head -n 1
}

# What only a special target needs, when it is needed.
need_packages() { # need_packages PROGRAM=PACKAGE...
  local pair missing=()
  for pair; do command -v "${pair%%=*}" >/dev/null || missing+=("${pair#*=}"); done
  [[ ${#missing[@]} -gt 0 ]] || return 0
  command -v apt-get >/dev/null || left_out "it needs ${missing[*]}, and there is no apt here to install them with"
  may_be_root || left_out "it needs ${missing[*]}: install them, or run this as root"
  mkdir -p "$ROOTS"
  say "$WHO: installing by apt: ${missing[*]}"
  { as_root apt-get update -q && as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${missing[@]}"; } \
    >"$ROOTS/apt.log" 2>&1 || left_out "apt could not install ${missing[*]}, see $ROOTS/apt.log"
}

# What runs with that folder as its root: servers that a killed script left there. Their fast shutdown is SIGINT.
root_processes() { # root_processes SYSTEM
  # A process that ends meanwhile is no mistake.
  { as_root find /proc -maxdepth 2 -path '/proc/[0-9]*/root' -lname "$1" -printf '%h\n' 2>/dev/null || true; } | sed 's#.*/##'
}
root_stop() { # root_stop SYSTEM
  local pids end=$((SECONDS + 15))
  while ((SECONDS < end)); do
    pids=$(root_processes "$1")
    [[ -n $pids ]] || return 0
    # shellcheck disable=SC2086 # several
    as_root kill -INT $pids 2>/dev/null || true
    sleep 0.2
  done
  die "something still runs in $1: ${pids//$'\n'/ }" "Stop it, then run this again."
}

# What is mounted below belongs to somebody else.
root_remove() { # root_remove SYSTEM
  [[ -d $1 ]] || return 0
  ! grep -qF " $1/" /proc/mounts || die "something is still mounted below $1" "Unmount it, then run this again."
  root_stop "$1"
  as_root rm -rf --one-file-system "$1"
}

root_hold() { # root_hold NAME
  FOLDER=$ROOTS/$1 SYSTEM=$ROOTS/$1/root
  mkdir -p "$FOLDER"
  exec 8>"$FOLDER/lock"
  flock 8
}

# The same packages from a mirror that moved on: what is in the folder counts, not what could be had by now.
root_make() { # root_make NAME SUITES PACKAGES [UNPACKED]
  local suites start=$SECONDS uri sources=() suite keys=/usr/share/keyrings/debian-archive-keyring.gpg made recipe="$*"
  read -ra suites <<<"$2"
  root_hold "$1"
  may_be_root || left_out "it needs root, for a root folder with another Postgres in it: run it as root, or allow $(id -un) to use sudo"
  # Written when all of it is there.
  made=$FOLDER/made
  if [[ -d $SYSTEM && -f $made && $(<"$made") == "$recipe" ]]; then
    say "$WHO: using the root folder of a former run, $SYSTEM"
    return
  fi
  rm -f "$made"
  root_remove "$SYSTEM"
  need_packages mmdebstrap=mmdebstrap
  uri=$(mirror)
  # A machine whose lists were cleaned away.
  [[ -n $uri ]] || { as_root apt-get update -q >"$FOLDER/apt.log" 2>&1 || true; uri=$(mirror); }
  [[ -n $uri && -r $keys ]] || left_out "apt here has no source of Debian's packages, or $keys is missing"
  for suite in "${suites[@]}"; do sources+=("deb [signed-by=$keys] $uri $suite main"); done
  # What apt here is told about the way to its sources counts there too. A mirror of sid may stand still for a while.
  { apt-config dump | grep -E '^Acquire::(https?|Check-|Retries|ForceIPv)' || true; echo 'APT::Install-Recommends "false";'; } >"$FOLDER/apt.conf"
  [[ ${suites[0]} != sid ]] || echo 'Acquire::Check-Valid-Until "false";' >>"$FOLDER/apt.conf"
  # No package starts a server, or makes a cluster.
  cat >"$FOLDER/setup" <<'SETUP'
#!/bin/sh
set -eu
mkdir -p "$1/usr/sbin" "$1/etc/postgresql-common"
printf '#!/bin/sh\nexit 101\n' >"$1/usr/sbin/policy-rc.d"
chmod 755 "$1/usr/sbin/policy-rc.d"
echo 'create_main_cluster = false' >"$1/etc/postgresql-common/createcluster.conf"
SETUP
  # Headers, for one: installed, they would bring a compiler along.
  cat >"$FOLDER/unpack" <<UNPACK
#!/bin/sh
set -eu
cd "\$1/var/tmp"
for package in ${4:-}; do
  APT_CONFIG=\$MMDEBSTRAP_APT_CONFIG apt-get -q download "\$package"
  dpkg-deb -x "\$package"_*.deb "\$1"
  rm "\$package"_*.deb
done
UNPACK
  chmod 755 "$FOLDER/setup" "$FOLDER/unpack"
  say "$WHO: making a root folder of Debian ${suites[0]} with ${3//,/, }: $SYSTEM (a minute)"
  as_root nice mmdebstrap --mode=root --variant=apt --aptopt="$FOLDER/apt.conf" \
    --include="$3" --setup-hook="$FOLDER/setup" --customize-hook="$FOLDER/unpack" \
    "${suites[0]}" "$SYSTEM" "${sources[@]}" >"$FOLDER/root.log" 2>&1 8>&- ||
    { tail -n 20 "$FOLDER/root.log" >&2; left_out "the root folder could not be made, see $FOLDER/root.log"; }
  printf '%s\n' "$recipe" >"$made"
  say "$WHO: root folder: done in $((SECONDS - start)) s"
}

# The root folders that there are; several targets use the same one.
root_bookworm() { root_make bookworm bookworm postgresql-15,postgresql-15-pgtap; }
root_trixie() { root_make trixie "trixie bookworm" postgresql-17,postgresql-15,postgresql-17-pgtap postgresql-server-dev-17; }
root_sid() { root_make sid sid postgresql-18,postgresql-18-pgtap postgresql-server-dev-18; }

# --- the extension for the Postgres in there, built here for what is there ---

# pg_config of that Postgres, with its folders as seen from here. Written once for a root folder: cargo builds everything again
# when it changes.
root_pg_config() { # root_pg_config MAJOR
  local config=$FOLDER/pg_config
  if [[ ! $config.said -nt $FOLDER/made ]] || ! grep -qsF "\"$config\"" "$FOLDER/pgrx/config.toml"; then
    as_root chroot "$SYSTEM" "/usr/lib/postgresql/$1/bin/pg_config" | sed "s|\([ =]\)/usr/|\1$SYSTEM/usr/|g" >"$config.said"
    cat >"$config" <<CONFIG
#!/bin/sh
[ \$# -gt 0 ] || exec cat '$config.said'
for name; do
  sed -n "s/^\$(printf '%s' "\${name#--}" | tr '[:lower:]' '[:upper:]') = //p" '$config.said'
done
CONFIG
    chmod 755 "$config"
    pgrx_home "$FOLDER/pgrx" "$config"
  fi
  [[ $("$config" --version) == "PostgreSQL $1"[.a-z]* ]] || die "$config does not speak of Postgres $1"
}

root_build() { # root_build MAJOR
  root_pg_config "$1"
  build_apart "$FOLDER" "$FOLDER/pg_config" 8>&-
}

# The project is mounted where it is here, in a namespace that ends with the command: nothing stays mounted, however it ends.
root_run() { # root_run [NAME=VALUE...] COMMAND...
  as_root mkdir -p "$SYSTEM$ROOT"
  # shellcheck disable=SC2016 # the inner shell's
  as_root unshare --mount --propagation private -- sh -c '
    system=$1 root=$2 target=$3
    shift 3
    mount --rbind "$root" "$system$root" && mount -t proc proc "$system/proc" && mount --rbind /dev "$system/dev" || exit
    cd "$system$root" && exec chroot "$system" /usr/bin/env -i -C "$root" PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 \
      BILLING_TARGET="$target" "$@"' sh "$SYSTEM" "$ROOT" "$FOLDER/target" "$@" 8>&-
}

if [[ ${BASH_SOURCE[0]} == "$0" ]]; then
  [[ ${1:-} == --remove ]] || die "usage: roots.sh --remove"
  for FOLDER in "$ROOTS"/*/; do
    FOLDER=${FOLDER%/}
    [[ -d $FOLDER/root ]] || continue
    root_hold "${FOLDER##*/}"
    rm -f "$FOLDER/made"
    root_remove "$SYSTEM"
    # What ran there as root left files of its own.
    as_root rm -rf --one-file-system "$FOLDER/target"
  done
fi
