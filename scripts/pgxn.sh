#!/usr/bin/env bash
# The archive for the PostgreSQL Extension Network: target/pgxn/billing_rpc-<version>.zip, what is committed, nothing else.
#   pgxn.sh          makes it, and checks META.json
#   pgxn.sh --test   has PGXN's own client build and install it from that file alone (make all, make install, make installcheck), with
#                    a private Postgres, and sees the archive's files there
# shellcheck source=scripts/cluster.sh
source "$(dirname "${BASH_SOURCE[0]}")/cluster.sh"
cd "$ROOT" || exit

VERSION=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
FOLDER=$TARGET/pgxn
ARCHIVE=$FOLDER/$EXTENSION-$VERSION.zip

make_archive() {
  git rev-parse -q --verify HEAD >/dev/null || die "the archive is made of what is committed in git, and there is no git here"
  python3 scripts/pgxn_meta.py META.json || die "META.json does not keep to PGXN's specification; what is wrong is above"
  [[ $(sed -n 's/^  "version": "\(.*\)",/\1/p' META.json) == "$VERSION" ]] || die "META.json is not of version $VERSION" "Raise its versions."
  git diff --quiet HEAD || note "pgxn: there are changes that are not committed, and not in the archive"
  mkdir -p "$FOLDER"
  rm -f "$FOLDER"/*.zip
  git archive --format=zip -9 --prefix="$EXTENSION-$VERSION/" -o "$ARCHIVE" HEAD
  say "pgxn: $ARCHIVE ($(stat -c %s "$ARCHIVE") bytes)"
}

# As a user has it: a folder of its own without git, and a Postgres that never saw the extension. The client unpacks into $TMPDIR.
test_archive() {
  # shellcheck source=scripts/venv.sh
  source "$ROOT/scripts/venv.sh"
  # Not by a wheel that pip built for another checkout: the client's parts name the Python that they were built with.
  PIP_NO_CACHE_DIR=1 venv pgxn tests/pgxn/requirements.txt
  passed=0 failed=0
  rm -rf "$FOLDER/work" "$FOLDER/private"
  mkdir -p "$FOLDER/work"
  local private file client=("$VENV/bin/pgxn")
  private=$(scripts/private_postgres.sh "$FOLDER/private")
  mkdir -p "$("$private" --libdir)" # by which the client judges whether it may write there
  fact "the mistakes that are looked for in META.json are seen" python3 scripts/pgxn_meta.py --self-test
  # Crates that are compiled are taken from the builds of other folders; what is the project's own is compiled here.
  export TMPDIR=$FOLDER/work BILLING_CARGO_TARGET=$TARGET/apart GIT_CEILING_DIRECTORIES=$FOLDER
  fact "pgxn install (make all, make install)" nice "${client[@]}" install --pg_config "$private" --nosudo "$ARCHIVE"
  for file in "$("$private" --pkglibdir)/$EXTENSION.so" "$("$private" --sharedir)/extension/$EXTENSION"{.control,"--$VERSION.sql"}; do
    fact "${file##*/} is installed, and is no link" test -f "$file" -a ! -L "$file"
  done
  unset TMPDIR
  export PG_CONFIG=$private
  pg_paths
  cluster_start pgxn
  fact "pgxn check (make installcheck)" nice "${client[@]}" check --pg_config "$private" "$ARCHIVE"
  # A server without the extension: the check can fail.
  rm -f "$PG_LIB/$EXTENSION.so" "$PG_SHARE/extension/$EXTENSION"*
  fact "make installcheck fails where the extension is not" eval '! scripts/installcheck.sh'
  record test-pgxn "$passed" "$failed"
  say "test-pgxn: $passed passed, $failed failed"
  [[ $failed -eq 0 ]]
}

case ${1:-} in
  '') make_archive ;;
  --test) test_archive ;;
  *) die "usage: pgxn.sh [--test]" ;;
esac
