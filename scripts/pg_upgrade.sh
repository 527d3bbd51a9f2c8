#!/usr/bin/env bash
# Postgres itself upgraded: clusters of Postgres 15 with books in them go through pg_upgrade to Postgres 17. Afterwards every row is
# there, the same calls are answered with replay, and the catalogue is that of a fresh install on 17.
#
# All of it in a root folder of its own, a Debian with both servers (700 MB), which scripts/roots.sh makes and keeps. Needs root, by
# itself or by sudo, for what runs there. Exit status: 0 all is well, 1 something is not, 3 left out (no root, or no way to get
# the packages), and why.
# shellcheck source=scripts/roots.sh
source "$(dirname "${BASH_SOURCE[0]}")/roots.sh"
cd "$ROOT" || exit

WHO=test-pg-upgrade
OLD=15 NEW=17
[[ $PG_MAJOR == "$OLD" ]] || die "the old Postgres is $OLD, and PG_CONFIG is that of $PG_MAJOR"
# As seen from within the root folder.
WORK=/var/tmp/pg_upgrade
PORT=5499
OLD_BIN=/usr/lib/postgresql/$OLD/bin NEW_BIN=/usr/lib/postgresql/$NEW/bin

# A program in the root folder, as its user postgres, in its folder $WORK. A server that is left behind must not keep the lock.
inside() {
  as_root chroot --userspec=postgres "$SYSTEM" /usr/bin/env -i -C "$WORK" PATH=/usr/bin:/bin LC_ALL=C.UTF-8 TZ=UTC RUST_BACKTRACE=0 \
    PGOPTIONS="${PGOPTIONS:-}" "$@" 8>&-
}

# --- the extension's files ---

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
install_new() { put_files "$NEW" "$FOLDER/target/package"; }
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
  sed '/^\\if/,/^\\endif/d;/^ALTER ROLE postgres/d' tests/pgtap/fixtures/supabase_cluster.sql | run postgres -f -
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
  root_stop "$SYSTEM"
  exit "$status"
}

VERSION=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
OUT=$TARGET/pg_upgrade
rm -rf "$OUT"
mkdir -p "$OUT"
started=$SECONDS
root_trixie
trap at_exit EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
trap 'exit 129' HUP
root_build "$NEW"
root_stop "$SYSTEM"
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
