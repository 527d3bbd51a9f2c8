#!/usr/bin/env bash
# Postgres itself upgraded: clusters of Postgres 15 with books in them go through pg_upgrade to Postgres 17. Afterwards every row is
# there, the same calls are answered with replay, and the catalogue is that of a fresh install on 17.
#
#   scripts/pg_upgrade.sh            does it all, in a root folder of its own: target/pg_upgrade/root, a Debian with both servers
#                                    (700 MB), made by the first run and kept for the next ones. Nothing but mmdebstrap
#                                    is installed on this system
#   scripts/pg_upgrade.sh --remove   stops what runs there, and removes the folder
#
# Needs root, by itself or by sudo, for what runs in that folder. Exit status: 0 all is well, 1 something is not, 3 left out
# (no root, or no way to get the packages), and why.
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$ROOT" || exit

OLD=$PG_MAJOR NEW=17
# The release that has the new Postgres, and before it the one that has the old.
SUITES=(trixie bookworm)
PACKAGES="postgresql-$NEW,postgresql-$OLD"
FOLDER=$TARGET/pg_upgrade
SYSTEM=$FOLDER/root
# Written when all of it is there. What it says names what is needed.
MADE=$FOLDER/root.made
RECIPE="${SUITES[*]} $PACKAGES, headers of $NEW"
# As seen from within the root folder.
WORK=/var/tmp/pg_upgrade
PORT=5499
OLD_BIN=/usr/lib/postgresql/$OLD/bin NEW_BIN=/usr/lib/postgresql/$NEW/bin

left_out() {
  note "test-pg-upgrade: left out: $1"
  exit 3
}

# A program in the root folder, as its user postgres, in its folder $WORK. A server that is left behind must not keep the lock.
inside() {
  as_root chroot --userspec=postgres "$SYSTEM" /usr/bin/env -i -C "$WORK" PATH=/usr/bin:/bin LC_ALL=C.UTF-8 TZ=UTC RUST_BACKTRACE=0 \
    PGOPTIONS="${PGOPTIONS:-}" "$@" 8>&-
}

# No server of a run before, nor of this one, goes on.
stop_servers() {
  local pid_file data version
  for pid_file in $(as_root find "$SYSTEM$WORK" -mindepth 2 -maxdepth 2 -name postmaster.pid 2>/dev/null); do
    data=${pid_file%/*}
    version=$(as_root cat "$data/PG_VERSION")
    inside "/usr/lib/postgresql/$version/bin/pg_ctl" -D "$WORK/${data##*/}" -m fast -w -s stop </dev/null >&2 || true
  done
}

# What is mounted below belongs to somebody else.
remove_system() {
  [[ -d $SYSTEM ]] || return 0
  ! grep -qF " $SYSTEM/" /proc/mounts || die "something is still mounted below $SYSTEM" "Unmount it, then run this again."
  stop_servers
  as_root rm -rf --one-file-system "$SYSTEM"
  rm -f "$MADE"
}

# --- the root folder ---

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

need_mmdebstrap() {
  command -v mmdebstrap >/dev/null && return
  say "pg_upgrade: installing mmdebstrap by apt"
  { as_root apt-get update -q && as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends mmdebstrap; } \
    >"$FOLDER/apt.log" 2>&1 || left_out "apt could not install mmdebstrap, see $FOLDER/apt.log"
}

make_system() {
  if [[ -f $MADE && $(<"$MADE") == "$RECIPE" ]]; then
    say "pg_upgrade: using the root folder of a former run, $SYSTEM"
    return
  fi
  local start=$SECONDS uri sources=() suite keys=/usr/share/keyrings/debian-archive-keyring.gpg
  remove_system
  need_mmdebstrap
  uri=$(mirror)
  # A machine whose lists were cleaned away.
  [[ -n $uri ]] || { as_root apt-get update -q >"$FOLDER/apt.log" 2>&1 || true; uri=$(mirror); }
  [[ -n $uri && -r $keys ]] || left_out "apt here has no source of Debian's packages, or $keys is missing"
  for suite in "${SUITES[@]}"; do sources+=("deb [signed-by=$keys] $uri $suite main"); done
  # What apt here is told about the way to its sources counts there too.
  apt-config dump | grep -E '^Acquire::(https?|Check-|Retries|ForceIPv)' >"$FOLDER/apt.conf" || true
  # No package starts a server, or makes a cluster.
  cat >"$FOLDER/setup" <<'SETUP'
#!/bin/sh
set -eu
mkdir -p "$1/usr/sbin" "$1/etc/postgresql-common"
printf '#!/bin/sh\nexit 101\n' >"$1/usr/sbin/policy-rc.d"
chmod 755 "$1/usr/sbin/policy-rc.d"
echo 'create_main_cluster = false' >"$1/etc/postgresql-common/createcluster.conf"
SETUP
  # The headers are only unpacked: installed, they would bring a compiler along.
  cat >"$FOLDER/headers" <<HEADERS
#!/bin/sh
set -eu
cd "\$1/var/tmp"
APT_CONFIG=\$MMDEBSTRAP_APT_CONFIG apt-get -q download postgresql-server-dev-$NEW
dpkg-deb -x postgresql-server-dev-${NEW}_*.deb "\$1"
rm postgresql-server-dev-${NEW}_*.deb
HEADERS
  chmod 755 "$FOLDER/setup" "$FOLDER/headers"
  say "pg_upgrade: making a root folder with Postgres $OLD and $NEW, $SYSTEM (a minute)"
  as_root nice mmdebstrap --mode=root --variant=apt --aptopt="$FOLDER/apt.conf" --aptopt='APT::Install-Recommends "false"' \
    --include="$PACKAGES" --setup-hook="$FOLDER/setup" --customize-hook="$FOLDER/headers" \
    "${SUITES[0]}" "$SYSTEM" "${sources[@]}" >"$FOLDER/root.log" 2>&1 ||
    { tail -n 20 "$FOLDER/root.log" >&2; left_out "the root folder could not be made, see $FOLDER/root.log"; }
  printf '%s\n' "$RECIPE" >"$MADE"
  say "pg_upgrade: root folder: done in $((SECONDS - start)) s"
}

# --- the extension for the new Postgres, built here for what is there ---

# pg_config of the new Postgres, with its folders as seen from here. Written once for a root folder: cargo builds everything
# again when it changes.
make_pg_config() {
  [[ $FOLDER/pgrx/config.toml -ot $MADE ]] || ! grep -qF "\"$FOLDER/pg_config\"" "$FOLDER/pgrx/config.toml" || return 0
  as_root chroot "$SYSTEM" "$NEW_BIN/pg_config" | sed "s|\([ =]\)/usr/|\1$SYSTEM/usr/|g" >"$FOLDER/pg_config.$NEW"
  cat >"$FOLDER/pg_config" <<CONFIG
#!/bin/sh
[ \$# -gt 0 ] || exec cat '$FOLDER/pg_config.$NEW'
for name; do
  sed -n "s/^\$(printf '%s' "\${name#--}" | tr '[:lower:]' '[:upper:]') = //p" '$FOLDER/pg_config.$NEW'
done
CONFIG
  chmod 755 "$FOLDER/pg_config"
  [[ $("$FOLDER/pg_config" --version) == "PostgreSQL $NEW."* ]] || die "$FOLDER/pg_config does not speak of Postgres $NEW"
  mkdir -p "$FOLDER/pgrx"
  printf '[configs]\npg%s = "%s"\n' "$NEW" "$FOLDER/pg_config" >"$FOLDER/pgrx/config.toml"
}

build_new() {
  local start=$SECONDS log=$FOLDER/build.log
  make_pg_config
  say "pg_upgrade: building the extension for $("$FOLDER/pg_config" --version) (about three minutes the first time)"
  rm -rf "$FOLDER/package"
  # A target folder of its own, so that the build for Postgres $OLD stays.
  PGRX_HOME=$FOLDER/pgrx CARGO_TARGET_DIR=$TARGET/pg$NEW nice cargo pgrx package --pg-config "$FOLDER/pg_config" \
    --no-default-features --features "pg$NEW" --out-dir "$FOLDER/package" >"$log" 2>&1 ||
    { cat "$log" >&2; die "the build for Postgres $NEW failed; what the compiler said is above and in $log"; }
  say "pg_upgrade: build: done in $((SECONDS - start)) s"
}

put_files() { # put_files MAJOR PACKAGE FIND-ARGUMENTS...
  local major=$1 package=$2 file
  shift 2
  while IFS= read -r file; do
    case $file in
      *.so) as_root install -m 755 "$file" "$SYSTEM/usr/lib/postgresql/$major/lib/" ;;
      *) as_root install -m 644 "$file" "$SYSTEM/usr/share/postgresql/$major/extension/" ;;
    esac
  done < <(find "$package" -type f "$@")
}
install_old() {
  [[ -d $TARGET/package ]] || die "nothing is built yet" "Run 'make test-pg-upgrade', which builds first."
  package_lock
  put_files "$OLD" "$TARGET/package"
  # The ways from former releases are the same SQL for every Postgres.
  put_files "$NEW" "$TARGET/package" -name '*--*--*.sql'
  for file in sql/releases/*.sql; do put_files "$NEW" "$file"; done
  exec 9>&-
}
# The install script of the new build is the last to come: it must be that of this Postgres.
install_new() { put_files "$NEW" "$FOLDER/package"; }
remove_files() {
  as_root find "$SYSTEM/usr/lib/postgresql" "$SYSTEM/usr/share/postgresql" -name "$EXTENSION*" -delete
}

# --- clusters and databases, all in the root folder ---

make_cluster() { # make_cluster MAJOR NAME
  inside "/usr/lib/postgresql/$1/bin/initdb" -D "$WORK/$2" -U postgres -A trust -E UTF8 --locale=C.UTF-8 --no-sync --no-instructions >"$OUT/initdb.$2.log" 2>&1 ||
    { cat "$OUT/initdb.$2.log" >&2; die "initdb of Postgres $1 failed"; }
}
start_server() { # start_server MAJOR NAME
  inside "/usr/lib/postgresql/$1/bin/pg_ctl" -D "$WORK/$2" -l "$WORK/$2.log" -w -s \
    -o "-k $WORK -p $PORT -c listen_addresses= -c fsync=off -c timezone=UTC" start </dev/null >&2 ||
    { inside tail -n 20 "$WORK/$2.log" >&2; die "Postgres $1 did not start"; }
}
stop_server() { # stop_server MAJOR NAME
  inside "/usr/lib/postgresql/$1/bin/pg_ctl" -D "$WORK/$2" -m fast -w -s stop </dev/null >&2
}
run() { # run DATABASE ARGUMENT...: psql of the new Postgres; files come by standard input
  local database=$1
  shift
  PGOPTIONS="-c client_min_messages=warning -c search_path=\"Billing\\ API\",public" \
    inside "$NEW_BIN/psql" -X -q -v ON_ERROR_STOP=1 -h "$WORK" -p "$PORT" -U postgres -d "$database" "$@"
}
ask() { run "$1" -At -c "$2" </dev/null; }

# The kinds of databases: plain, one with roles and default privileges as Supabase has them, and one whose schema is
# still that of a release.
kinds=(plain supabase)
for script in sql/releases/"$EXTENSION"--*.sql; do
  name=${script##*/"$EXTENSION"--}
  [[ $name == *--* || ! -f $script ]] || kinds+=("${name%.sql}")
done
make_roles() {
  # postgres stays a superuser: pg_upgrade is run by whom initdb made.
  sed '/^ALTER ROLE postgres/d' tests/pgtap/fixtures/supabase_cluster.sql | run postgres -f -
}
make_database() { # make_database KIND [VERSION]
  local schema=public
  ask postgres "create database \"$1\" template template0"
  if [[ $1 == supabase ]]; then
    run "$1" -f - <tests/pgtap/fixtures/supabase.sql >/dev/null
    schema='"Billing API"'
    ask "$1" "create schema $schema"
  fi
  ask "$1" "create extension $EXTENSION schema $schema${2:+ version '$2'}"
}
release_of() { # release_of KIND: prints the release whose schema it has, if that is not this one
  case $1 in plain | supabase) ;; *) printf '%s' "$1" ;; esac
}

passed=0 failed=0
fact() { # fact STATUS WHAT: counts, and shows what is wrong
  if [[ $1 -eq 0 ]]; then passed=$((passed + 1)); else failed=$((failed + 1)) && say "not ok $2"; fi
}
same() { # same FILE FILE WHAT
  local status=0
  diff -u "$1" "$2" || status=1
  fact $status "$3 (- $(basename "$1"), + $(basename "$2"))"
}

# --- the steps ---

old_books() {
  local kind
  say "pg_upgrade: Postgres $OLD, with books: ${kinds[*]}"
  make_cluster "$OLD" old
  start_server "$OLD" old
  make_roles
  for kind in "${kinds[@]}"; do
    make_database "$kind" "$(release_of "$kind")"
    run "$kind" -f - <tests/upgrade/data.sql >"$OUT/data.$kind" 2>&1 || { cat "$OUT/data.$kind" >&2; die "tests/upgrade/data.sql broke off in $kind"; }
    # Fewer tables or calls than these would mean that there is next to nothing to lose.
    [[ $(ask "$kind" "select (select count(*) > 10 from test.contents where rows > 0) and (select count(*) > 20 from test.calls where again is not null)") == t ]] ||
      die "tests/upgrade/data.sql left too little in $kind to mean anything"
  done
  # A relation of the application's, and the view of it, which is no part of the extension.
  run plain -c "create table members (id text primary key, email text)" \
    -c "insert into members select unnest('{7,99,00000000-0000-0000-0000-0000000000bb}'::text[])" \
    -c "insert into members select user_id from billing.customers where user_id is not null on conflict do nothing" \
    -c "do \$\$ begin perform billing.set_users_table('public.members', 'id', 'email'); end \$\$" \
    -c "alter database plain set billing_rpc.max_attempts = 12" </dev/null
  stop_server "$OLD" old
}

upgrade() { # upgrade LOG ARGUMENT...
  local log=$1
  shift
  inside "$NEW_BIN/pg_upgrade" -b "$OLD_BIN" -B "$NEW_BIN" -d "$WORK/old" -D "$WORK/new" -U postgres -s "$WORK" --no-sync "$@" </dev/null >"$OUT/$log" 2>&1
}

# Without the extension's files Postgres refuses before it has touched anything, and names the library.
refused_without_files() {
  local status=0
  ! upgrade without_files --check || status=1
  # Only root and postgres see into that folder.
  as_root find "$SYSTEM$WORK/new" -name loadable_libraries.txt -exec cat {} + >"$OUT/loadable_libraries"
  grep -q "$EXTENSION" "$OUT/loadable_libraries" || status=1
  fact $status "without the extension's files for Postgres $NEW, pg_upgrade goes on, or does not name the library; see $OUT/without_files"
  as_root rm -rf "$SYSTEM$WORK/new/pg_upgrade_output.d"
}

check_database() { # check_database KIND: one that was upgraded
  local kind=$1 release answer status
  release=$(release_of "$kind")
  [[ $(ask "$kind" "select current_setting('server_version_num')::int / 10000, extversion from pg_extension where extname = '$EXTENSION'") == "$NEW|${release:-$VERSION}" ]] || die "$kind is not what it should be"
  if [[ -n $release ]]; then
    status=0
    ask "$kind" "alter extension $EXTENSION update" || status=1
    fact $status "$kind: alter extension update, on Postgres $NEW"
  fi
  run "$kind" -v "version=$VERSION" -f - <tests/upgrade/after.sql >"$OUT/after.$kind" 2>&1 || { cat "$OUT/after.$kind"; fact 1 "$kind: after.sql broke off"; }
  sed -n "s/^not ok /not ok $kind: /p" "$OUT/after.$kind"
  passed=$((passed + $(grep -c '^ok' "$OUT/after.$kind" || true))) failed=$((failed + $(grep -c '^not ok' "$OUT/after.$kind" || true)))
  for answer in "drop extension $EXTENSION" "drop extension $EXTENSION cascade"; do
    status=0
    run "$kind" -c '\set VERBOSITY sqlstate' -c "$answer" </dev/null >"$OUT/drop.$kind" 2>&1 && status=1
    grep -q 2BP01 "$OUT/drop.$kind" || status=1
    fact $status "$kind: $answer is not refused"
  done
  ask "$kind" "select problem, role_name, privilege, object_name from billing.access_audit()" >"$OUT/audit.$kind"
  same /dev/null "$OUT/audit.$kind" "$kind: access_audit() is not empty"
  catalogue "$kind" upgraded
}

# pg_upgrade does not write down rights that are there anyway, because the owner's own (and PUBLIC's, on types) go without saying.
implied_rights() {
  local owner=billing_owner
  local only="$owner=arwdDxtm/$owner|$owner=rwU/$owner|=U/$owner, $owner=U/$owner"
  sed -E -e "s#(owner $owner, rights )($only)(, )#\\1default\\3#" -e "\\#^(table|sequence|type) [^:]*: e ($only)\$#d"
}

# What two clusters of the new Postgres are compared by.
catalogue() { # catalogue KIND upgraded|fresh
  run "$1" -f - <tests/upgrade/snapshot.sql | implied_rights >"$OUT/catalogue.$1.$2"
}
roles() {
  ask postgres "select r.*, shobj_description(a.oid, 'pg_authid') from pg_roles a, lateral (select a.rolname, a.rolsuper, a.rolinherit, a.rolcreaterole, a.rolcreatedb, a.rolcanlogin, a.rolreplication, a.rolbypassrls, a.rolconnlimit, a.rolconfig) r where a.rolname like 'billing\\_%' order by 1"
  ask postgres "select roleid::regrole, member::regrole, grantor::regrole, admin_option, inherit_option, set_option from pg_auth_members where roleid::regrole::text like 'billing\\_%' or member::regrole::text like 'billing\\_%' order by 1, 2, 3"
}

upgraded_books() {
  local kind status
  make_cluster "$NEW" new
  refused_without_files
  install_new
  say "pg_upgrade: to Postgres $NEW"
  local start=$SECONDS
  upgrade pg_upgrade || { cat "$OUT/pg_upgrade" >&2; as_root find "$SYSTEM$WORK/new/pg_upgrade_output.d" -name '*.txt' -exec cat {} + >&2; die "pg_upgrade failed"; }
  say "pg_upgrade: to Postgres $NEW: done in $((SECONDS - start)) s"
  start_server "$NEW" new
  inside "$NEW_BIN/vacuumdb" -h "$WORK" -p "$PORT" -U postgres --all --analyze-only --quiet
  for kind in "${kinds[@]}"; do check_database "$kind"; done
  status=0
  [[ $(ask plain "select (grant_credits('7', 1, 'k-known')).reason, (grant_credits('8', 1, 'k-unknown')).detail") == "applied|unknown_user" ]] || status=1
  fact $status "plain: who is not in the application's table of users is not unknown any more"
  status=0
  [[ $(ask plain "load '$EXTENSION'; select current_setting('billing_rpc.max_attempts')") == 12 ]] || status=1
  fact $status "plain: a setting of the database is gone"
  roles >"$OUT/roles.upgraded"
  stop_server "$NEW" new
}

# What a fresh install on the new Postgres has, that an upgraded one must have too.
compare_with_fresh() {
  local kind like
  say "pg_upgrade: a fresh install on Postgres $NEW, to compare with"
  make_cluster "$NEW" fresh
  start_server "$NEW" fresh
  make_roles
  for kind in plain supabase; do
    make_database "$kind"
    catalogue "$kind" fresh
    [[ $(wc -l <"$OUT/catalogue.$kind.fresh") -gt 500 ]] || die "the snapshot of the catalogue is too short to mean anything: $OUT/catalogue.$kind.fresh"
  done
  roles >"$OUT/roles.fresh"
  stop_server "$NEW" fresh
  for kind in "${kinds[@]}"; do
    like=$kind
    [[ -z $(release_of "$kind") ]] || like=plain
    same "$OUT/catalogue.$like.fresh" "$OUT/catalogue.$kind.upgraded" "$kind: the catalogue differs from that of a fresh install"
  done
  same "$OUT/roles.fresh" "$OUT/roles.upgraded" "the group roles differ from those of a fresh install"
}

at_exit() {
  local status=$?
  trap - EXIT INT TERM HUP
  set +e
  stop_servers
  exit "$status"
}

mkdir -p "$FOLDER"
exec 8>"$FOLDER/lock"
flock 8
may_be_root || left_out "it needs root, for a root folder with another Postgres in it: run it as root, or allow $(id -un) to use sudo"
if [[ ${1:-} == --remove ]]; then
  remove_system
  exit
fi
VERSION=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
OUT=$FOLDER/out
rm -rf "$OUT"
mkdir -p "$OUT"
trap at_exit EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
trap 'exit 129' HUP
started=$SECONDS
make_system
build_new
stop_servers
as_root rm -rf "$SYSTEM$WORK"
as_root chroot "$SYSTEM" install -d -o postgres -g postgres "$WORK"
remove_files
install_old
old_books
upgraded_books
compare_with_fresh
record test-pg-upgrade "$passed" "$failed"
say "test-pg-upgrade: $passed passed, $failed failed, in $((SECONDS - started)) s; the root folder $SYSTEM is kept for the next run"
[[ $failed -eq 0 ]]
