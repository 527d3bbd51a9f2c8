#!/usr/bin/env bash
# The Debian package of 'make deb' in a clean Debian 12 with Postgres 15: what is in it, installed and used (tests/smoke), over a former
# version whose database goes on, and removed without a trace; then that a second build elsewhere gives the same bytes, and
# what lintian says. Needs root. Exit status: 0 all is well, 1 something is not, 3 left out, and why.
#   test_deb.sh [--no-rebuild]   without the second build, which takes as long as the first
# shellcheck source=scripts/roots.sh
source "$(dirname "${BASH_SOURCE[0]}")/roots.sh"
cd "$ROOT" || exit
WHO=test-deb
VERSION=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
PACKAGE=postgresql-$PG_MAJOR-billing-rpc
[[ $PG_MAJOR == 15 ]] || left_out "the clean Debian here is 12, with Postgres 15, and PG_CONFIG is that of $PG_MAJOR"
DEB=$(compgen -G "$TARGET/deb/${PACKAGE}_$VERSION-*.deb") || die "there is no package yet" "Run 'make test-deb', which makes it first."
LIBRARY=/usr/lib/postgresql/$PG_MAJOR/lib/$EXTENSION.so
SCRIPTS=/usr/share/postgresql/$PG_MAJOR/extension
WORK=$TARGET/deb/test
mkdir -p "$WORK"

passed=0 failed=0

# --- what is in it, seen from outside ---

files_of() { dpkg-deb -c "$1" | awk '$1 !~ /^d/ { sub("^[.]", "", $6); print $6 }' | sort; }
# The scripts of every release and of this one, and of every way between them, by the folders that they are made from.
expected_files() {
  local name
  {
    printf '%s\n' "$LIBRARY" "$SCRIPTS/$EXTENSION.control" "$SCRIPTS/$EXTENSION--$VERSION.sql"
    for name in sql/releases/*.sql; do printf '%s\n' "$SCRIPTS/${name##*/}"; done
    for name in sql/upgrade/*--*.sql; do printf '%s\n' "$SCRIPTS/$EXTENSION--${name##*/}"; done
    printf "/usr/share/doc/$PACKAGE/%s\n" copyright changelog.gz changelog.Debian.gz
    printf '%s\n' "/usr/share/lintian/overrides/$PACKAGE"
  } | sort -u
}
lists_its_files() { diff -u <(expected_files) <(files_of "$DEB"); }
says_what_it_needs() {
  local needs
  needs=$(dpkg-deb -f "$DEB" Depends)
  printf '%s\n' "$needs"
  [[ $needs =~ (^|, )postgresql-$PG_MAJOR(,|$) && $needs =~ libc6\ \(\>=\ 2\. && $(dpkg-deb -f "$DEB" Version) == "$VERSION-"* ]]
}
belongs_to_root() { ! dpkg-deb -c "$DEB" | grep -v ' root/root '; }
# Neither where it was built, nor what debuggers want.
library_is_stripped() {
  rm -rf "$WORK/unpacked"
  dpkg-deb -x "$DEB" "$WORK/unpacked"
  ! grep -aoE "($ROOT|$HOME)/[[:graph:]]*" "$WORK/unpacked$LIBRARY" && ! readelf -S "$WORK/unpacked$LIBRARY" | grep -E '\.debug|\.symtab'
}

# --- in a clean Debian: a copy of the root folder, so that every run begins with the same one ---

clean_root() {
  local made
  root_bookworm
  made=$SYSTEM
  exec 8>&-
  root_hold deb
  root_remove "$SYSTEM"
  as_root cp -a "$made" "$SYSTEM"
  as_root install -m 644 "$DEB" "$SYSTEM/var/tmp/"
}
there() { root_run "PG_CONFIG=/usr/lib/postgresql/$PG_MAJOR/bin/pg_config" DEBIAN_FRONTEND=noninteractive "$@"; }
# What dpkg itself writes down, and what a package may leave in caches and logs, is none of ours.
all_files() { as_root find "$SYSTEM" -xdev \( -path "$SYSTEM/var/lib/dpkg" -o -path "$SYSTEM/var/lib/apt" -o -path "$SYSTEM/var/cache" -o -path "$SYSTEM/var/log" -o -path "$SYSTEM/tmp" -o -path "$SYSTEM$ROOT" \) -prune -o -print | sort; }
install_package() { there apt-get install -y "/var/tmp/${1##*/}"; }
installed_as_packed() { [[ -z $(there dpkg --verify "$PACKAGE") ]]; }

# A package of a former version, as far as there is one: its frozen scripts, with this library, which works on its schema too.
former_package() { # former_package VERSION
  local tree=$WORK/former
  rm -rf "$tree"
  dpkg-deb -R "$DEB" "$tree"
  find "$tree$SCRIPTS" -name '*.sql' -delete
  cp "sql/releases/$EXTENSION--$1.sql" "$tree$SCRIPTS/"
  sed -i "s/^default_version.*/default_version = '$1'/" "$tree$SCRIPTS/$EXTENSION.control"
  sed -i "s/^Version:.*/Version: $1-1/" "$tree/DEBIAN/control"
  dpkg-deb --root-owner-group --build "$tree" "$WORK/${PACKAGE}_$1-1_all.deb"
  as_root install -m 644 "$WORK/${PACKAGE}_$1-1_all.deb" "$SYSTEM/var/tmp/"
}
sql() { # sql STATEMENT: in the server that runs in the folder
  as_root chroot --userspec=postgres "$SYSTEM" /usr/bin/env -i PATH=/usr/bin:/bin psql -X -q -v ON_ERROR_STOP=1 -h /var/tmp/server -At -d "${DATABASE:-books}" -c "$1" </dev/null
}
control_server() { # control_server start|stop
  as_root chroot --userspec=postgres "$SYSTEM" /usr/bin/env -i -C /var/tmp/server PATH=/usr/bin:/bin LC_ALL=C.UTF-8 "/usr/lib/postgresql/$PG_MAJOR/bin/pg_ctl" -D /var/tmp/server/data -m fast -w -s \
    -l /var/tmp/server/log -o "-k /var/tmp/server -c listen_addresses= -c fsync=off" "$1" </dev/null >/dev/null 8>&-
}
start_server() {
  as_root chroot "$SYSTEM" install -d -o postgres -g postgres /var/tmp/server
  as_root chroot --userspec=postgres "$SYSTEM" /usr/bin/env -i PATH=/usr/bin:/bin "/usr/lib/postgresql/$PG_MAJOR/bin/initdb" -D /var/tmp/server/data -U postgres -A trust -E UTF8 --locale=C.UTF-8 --no-sync >/dev/null
  control_server start
}
old_books() { # old_books VERSION
  start_server
  DATABASE=postgres sql "create database books template template0"
  sql "create extension $EXTENSION"
  [[ $(sql "select extversion from pg_extension where extname = '$EXTENSION'") == "$1" && $(sql "select reason from grant_credits('7', 30, 'k-1')") == applied ]]
}
# The server runs on meanwhile; new sessions load the new library.
goes_on() {
  [[ $(sql "select balance from credit_balance('7')") == 30 ]]
}
updated() {
  sql "alter extension $EXTENSION update"
  [[ $(sql "select extversion from pg_extension where extname = '$EXTENSION'") == "$VERSION" ]] &&
    [[ $(sql "select reason, balance from grant_credits('7', 30, 'k-1')") == "replay|30" && $(sql "select count(*) from billing.reconcile()") == 0 ]]
}
gone() {
  all_files >"$WORK/after"
  diff -u "$WORK/before" "$WORK/after"
}

# --- the same bytes again, and what Debian's own judge says ---

# Another folder, another target folder: nothing but the sources, their time and the tools is the same.
built_again() {
  local again=$WORK/again epoch
  epoch=$(stat -c %Y "$TARGET/deb/tree/DEBIAN/control")
  rm -rf "$again"
  mkdir -p "$again"
  git ls-files -z | tar --null -T - -c | tar -x -C "$again"
  (cd "$again" && SOURCE_DATE_EPOCH=$epoch scripts/deb.sh) 8>&- || return 1
  sha256sum "$DEB" "$again/target/deb"/*.deb
  cmp "$DEB" "$again/target/deb"/*.deb
}
# In a root folder of its own: it brings more than a hundred packages along.
lintian_is_content() {
  root_make lintian bookworm lintian
  as_root install -m 644 "$DEB" "$SYSTEM/var/tmp/"
  root_run lintian --allow-root --fail-on error,warning --info "/var/tmp/${DEB##*/}"
}

at_exit() {
  local status=$?
  trap - EXIT
  set +e
  root_remove "$ROOTS/deb/root"
  rm -rf "$WORK/again" "$WORK/former" "$WORK/unpacked"
  exit "$status"
}

started=$SECONDS
fact "it holds the library, the control file, the scripts that install and upgrade, and what Debian asks for" lists_its_files
fact "it depends on Postgres $PG_MAJOR and on libc6, and is of version $VERSION" says_what_it_needs
fact "its files belong to root" belongs_to_root
fact "the library is stripped, and says nothing of the folders that it was built in" library_is_stripped
clean_root
trap at_exit EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
former=$(find sql/releases -name "$EXTENSION--*.sql" ! -name '*--*--*' -printf '%f\n' | sed "s/$EXTENSION--//;s/\.sql$//" | grep -vFx "$VERSION" | sort -V | tail -n 1)
[[ -z $former ]] || former_package "$former" >/dev/null
there true # which makes the folder that the project is mounted at
all_files >"$WORK/before"
if [[ -n $former ]]; then
  fact "a package of $former: apt-get install" install_package "${PACKAGE}_$former-1_all.deb"
  fact "a database with books of $former" old_books "$former"
fi
fact "apt-get install" install_package "$DEB"
fact "every file is there as it was packed" installed_as_packed
if [[ -n $former ]]; then
  fact "the database of $former goes on" goes_on
  fact "alter extension $EXTENSION update" updated
  control_server stop
fi
fact "CREATE EXTENSION, a signed webhook, credits, spending, a refund" there scripts/installcheck.sh --apart
fact "apt-get purge" there apt-get purge -y "$PACKAGE"
as_root rm -rf "$SYSTEM/var/tmp/server"
fact "no file is left" gone
fact "without it the smoke test fails" eval '! there scripts/installcheck.sh --apart'
if [[ ${1:-} == --no-rebuild ]]; then say "left out: the second build (--no-rebuild)"; else fact "built again in another folder: the same bytes" built_again; fi
status=0
(lintian_is_content) >"$WORK/lintian" 2>&1 || status=$?
case $status in
  3) say "left out: lintian: $(tail -n 1 "$WORK/lintian")" ;;
  *) fact "lintian finds nothing but what packaging/debian/lintian-overrides gives reasons for" eval "cat '$WORK/lintian'; [[ $status -eq 0 ]]" ;;
esac
record test-deb "$passed" "$failed"
say "test-deb: $passed passed, $failed failed, in $((SECONDS - started)) s"
[[ $failed -eq 0 ]]
