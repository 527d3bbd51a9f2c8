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
# Only what is missing, so that a further run brings in what was installed since.
link_all() { # link_all FOLDER [EXCEPT]
  local entry name
  for entry in "$1"/*; do
    name=${entry##*/}
    [[ $name == "${2:-}" || $name == "$EXTENSION"* || -e $FOLDER$entry ]] || ln -sfn "$entry" "$FOLDER$entry"
  done
}
link_everything() {
  link_all "$PG_LIB"
  link_all "$PG_SHARE" extension
  link_all "$PG_SHARE/extension"
}

if [[ -x $config && -f $FOLDER/version && $(<"$FOLDER/version") == "$version $PG_CONFIG" ]]; then
  link_everything
  printf '%s\n' "$config"
  exit 0
fi

rm -rf "$FOLDER"
mkdir -p "$FOLDER$PG_BIN" "$FOLDER$PG_LIB" "$FOLDER$PG_SHARE/extension"
# Copies, not links: a program behind a link would find the system's files again.
cp "$PG_BIN"/{postgres,pg_ctl,initdb,pg_config,psql,createdb,dropdb,pg_isready,pg_dump,pg_restore} "$FOLDER$PG_BIN/"
link_everything
include=$("$PG_CONFIG" --includedir)
mkdir -p "$FOLDER$(dirname "$include")"
ln -sfn "$include" "$FOLDER$include"
[[ $("$config" --sharedir) == "$FOLDER$PG_SHARE" ]] ||
  die "this build of Postgres cannot be moved: $config still names $("$config" --sharedir)"
printf '%s\n' "$version $PG_CONFIG" >"$FOLDER/version"
printf '%s\n' "$config"
