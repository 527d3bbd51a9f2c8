#!/usr/bin/env bash
# A private Postgres: the system's programs copied, everything else linked to the system's, and an extension folder
# of its own. Postgres finds its files relative to its program, so an extension installed here is seen by no other
# server, and no root is needed. Usage: private_postgres.sh FOLDER; prints the path of its pg_config.
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
pg_paths

FOLDER=${1:?usage: private_postgres.sh FOLDER}
config=$FOLDER$PG_BIN/pg_config
version=$("$PG_CONFIG" --version)
if [[ -x $config && -f $FOLDER/version && $(<"$FOLDER/version") == "$version $PG_CONFIG" ]]; then
  printf '%s\n' "$config"
  exit 0
fi

rm -rf "$FOLDER"
mkdir -p "$FOLDER$PG_BIN" "$FOLDER$PG_LIB" "$FOLDER$PG_SHARE/extension"
# Copies, not links: a program behind a link would find the system's files again.
cp "$PG_BIN"/{postgres,pg_ctl,initdb,pg_config,psql,createdb,dropdb,pg_isready,pg_dump,pg_restore} "$FOLDER$PG_BIN/"
link_all() { # link_all FOLDER [EXCEPT]
  local entry
  for entry in "$1"/*; do
    [[ ${entry##*/} == "${2:-}" ]] || ln -sfn "$entry" "$FOLDER$entry"
  done
}
link_all "$PG_LIB"
link_all "$PG_SHARE" extension
link_all "$PG_SHARE/extension"
rm -f "$FOLDER$PG_LIB/$EXTENSION"*.so "$FOLDER$PG_SHARE/extension/$EXTENSION"{.control,--*.sql}
include=$("$PG_CONFIG" --includedir)
mkdir -p "$FOLDER$(dirname "$include")"
ln -sfn "$include" "$FOLDER$include"
[[ $("$config" --sharedir) == "$FOLDER$PG_SHARE" ]] ||
  die "this build of Postgres cannot be moved: $config still names $("$config" --sharedir)"
printf '%s\n' "$version $PG_CONFIG" >"$FOLDER/version"
printf '%s\n' "$config"
