#!/usr/bin/env bash
# The #[pg_test]s: functions that run inside a server. pgrx's own runner, pointed at a private copy of Postgres, so
# that the test build of the extension never takes the place of the installed one, and no root is needed.
# Usage: test_pg.sh [NAME]: only tests whose name contains NAME.
# shellcheck source=scripts/cluster.sh
source "$(dirname "${BASH_SOURCE[0]}")/cluster.sh"
pg_paths
cd "$ROOT" || exit

cluster_folder pg_test # in target, or under /tmp if the server's user cannot reach target
data=$cluster_dir
[[ $(printf '%s/.s.PGSQL.65535' "$data" | wc -c) -le $CLUSTER_SOCKET_LIMIT ]] || {
  rmdir "$data"
  data=$(mktemp -d "/tmp/$EXTENSION.$$.XXXX")
  [[ $EUID -ne 0 ]] || chown postgres: "$data"
}

private=$TARGET/pg_test/postgres # kept for the next run
[[ $cluster_dir == "$TARGET"/* ]] || private=$data/postgres

# Whatever happens: the server that pgrx started in this folder ends, and the folder goes.
# shellcheck disable=SC2317 # called by the trap
finish() {
  local status=$? server
  trap - EXIT
  for server in "$data"/*/; do
    [[ ! -f $server/postmaster.pid ]] || cluster_run "$PG_BIN/pg_ctl" -D "${server%/}" -m immediate -s stop || true
  done
  rm -rf "$data"
  exit "$status"
}
trap finish EXIT

config=$("$ROOT/scripts/private_postgres.sh" "$private")
export PGRX_HOME=$TARGET/pg_test/pgrx
mkdir -p "$PGRX_HOME"
printf '[configs]\npg%s = "%s"\n' "$PG_MAJOR" "$config" >"$PGRX_HOME/config.toml"
# cargo makes the bindings again when this file is newer than they are; where Postgres is does not change them.
touch -d @0 "$PGRX_HOME/config.toml"

runas=()
if [[ $EUID -eq 0 ]]; then
  command -v sudo >/dev/null || die "pgrx's test runner starts its server through sudo, which is missing" "Run 'make deps'."
  runas=(--runas postgres)
fi
export USER=${USER:-$(id -un)}

log=$TARGET/pg_test.log
status=0
cargo pgrx test "pg$PG_MAJOR" ${1+"$1"} ${runas[@]+"${runas[@]}"} --pgdata "$data" 2>&1 | tee "$log" || status=$?
record_cargo test-pg "$log" "$status"
exit "$status"
