#!/usr/bin/env bash
# What a release needs, and the one step of it that is done by a program.
#   release.sh check    says of each thing whether it is there, and what to do; 1 if something is missing
#   release.sh freeze   keeps the built install and upgrade scripts of this version for ever, in sql/releases
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
pg_paths
cd "$ROOT" || exit

VERSION=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
BUILT=$TARGET/package$PG_SHARE/extension
missing=0

need() { # need WHAT TODO COMMAND...
  local what=$1 todo=$2
  shift 2
  if "$@" >/dev/null 2>&1; then
    say "ok      $what"
  else
    say "missing $what"
    say "        $todo"
    missing=$((missing + 1))
  fi
}

releases() { # prints the versions released before this one, oldest first
  local script
  for script in sql/releases/"$EXTENSION"--*.sql; do
    script=${script##*/"$EXTENSION"--}
    [[ $script == *--* || ${script%.sql} == "$VERSION" ]] || printf '%s\n' "${script%.sql}"
  done | sort -V
}

in_changelog() { grep -qE "^## \[${VERSION//./\\.}\] - [0-9]{4}-[0-9]{2}-[0-9]{2}$" CHANGELOG.md; }
nothing_unreleased() { ! sed -n '/^## \[Unreleased\]/,/^## \[[0-9]/p' CHANGELOG.md | grep -qE '^(###|-)'; }
same_versions() { # every crate that is released carries the version
  [[ $(cargo metadata --format-version 1 --no-deps --locked | tr ',' '\n' | grep -c "^\"version\":\"$VERSION\"") -eq 2 ]]
}
# PGXN's description carries it twice; the control file takes Cargo's.
same_in_archive() { [[ $(grep -c "^ *\"version\": \"$VERSION\"" META.json) -eq 2 ]] && python3 scripts/pgxn_meta.py META.json; }
same_in_control() { grep -qx "default_version = '$VERSION'" "$BUILT/$EXTENSION.control"; }
not_released() { ! git rev-parse -q --verify "refs/tags/v$VERSION"; }
frozen() { [[ -f sql/releases/$EXTENSION--$VERSION.sql ]] && grep -q " $EXTENSION--$VERSION.sql$" sql/releases/SHA256SUMS; }
frozen_way() { [[ -f sql/releases/$EXTENSION--$1--$VERSION.sql ]]; }
unchanged() { (cd sql/releases && sha256sum --quiet --strict --check SHA256SUMS); }
# Against what was tagged too: a sum can be changed together with its file.
as_tagged() {
  local tagged=$1
  ! git rev-parse -q --verify "refs/tags/v$tagged" && return
  git cat-file -e "v$tagged:sql/releases/$EXTENSION--$tagged.sql" 2>/dev/null || return 0
  git diff --quiet "v$tagged" -- "sql/releases/$EXTENSION--$tagged.sql"
}
clean() { [[ -z $(git status --porcelain) ]]; }
measured() { grep -q "of version $VERSION" docs/reliability.md; }

check() {
  say "release-check: $EXTENSION $VERSION"
  need "the version is not released yet" "Raise the version in Cargo.toml." not_released
  need "core and extension carry the version" "Run 'cargo check', and commit Cargo.lock." same_versions
  need "META.json carries the version, and is valid" "Raise both versions in META.json; 'scripts/pgxn_meta.py META.json' says what else is wrong." same_in_archive
  need "the control file carries the version" "Run 'make build'." same_in_control
  need "CHANGELOG.md has a dated section [$VERSION]" "Write '## [$VERSION] - $(date -u +%F)' above what is new." in_changelog
  need "CHANGELOG.md has nothing under [Unreleased]" "Move it into [$VERSION]." nothing_unreleased
  local former
  for former in $(releases); do
    need "the script of $former is as it was released" "Take the change back: git checkout v$former -- sql/releases" as_tagged "$former"
    need "an upgrade from $former is built" "Write sql/upgrade/$former--$VERSION.sql, and run 'make build'." \
      test -f "$BUILT/$EXTENSION--$former--$VERSION.sql"
  done
  former=$(releases | tail -n 1)
  need "the scripts of releases fit their sums" "Take the change back: git checkout HEAD -- sql/releases" unchanged
  need "the install script is frozen" "Run 'make release-freeze', and commit." frozen
  [[ -z $former ]] || need "the upgrade from $former is frozen" "Run 'make release-freeze', and commit." frozen_way "$former"
  need "docs/reliability.md has figures of version $VERSION" "Run the commands of that page, and write the figures." measured
  need "nothing is left to commit" "Run 'git status'." clean
  if [[ $missing -gt 0 ]]; then
    say "release-check: $missing missing. Then 'make check test test-long test-deb test-pgxn matrix' and 'git tag v$VERSION'."
    return 1
  fi
  say "release-check: all is there. What is left: 'make check test test-long test-deb test-pgxn matrix', then 'git tag v$VERSION'."
}

freeze() {
  [[ -f $BUILT/$EXTENSION--$VERSION.sql ]] || die "nothing of version $VERSION is built" "Run 'make build'."
  not_released || die "version $VERSION is released, and stays as it is" "Raise the version in Cargo.toml."
  local former script
  former=$(releases | tail -n 1)
  for script in "$EXTENSION--$VERSION.sql" ${former:+"$EXTENSION--$former--$VERSION.sql"}; do
    cp "$BUILT/$script" sql/releases/
    say "frozen: sql/releases/$script"
  done
  (cd sql/releases && sha256sum ./*.sql | sed 's# \./# #' >SHA256SUMS)
}

case ${1:-check} in
  check) check ;;
  freeze) freeze ;;
  *) die "release.sh: check or freeze, not $1" ;;
esac
