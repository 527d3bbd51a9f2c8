#!/usr/bin/env bash
# Whether the installed extension works: tests/smoke/smoke.sql, in a database that is made for it and dropped again.
#   installcheck.sh           in the running server that libpq finds (PGHOST, PGPORT, PGUSER ...), as a superuser; that server's
#                             cluster keeps the group roles which every install makes, unless they are new
#   installcheck.sh --apart   in a throwaway cluster
if [[ ${1:-} == --apart ]]; then
  # shellcheck source=scripts/cluster.sh
  source "$(dirname "${BASH_SOURCE[0]}")/cluster.sh"
  cluster_start installcheck
else
  # shellcheck source=scripts/lib.sh
  source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
fi
pg_paths
cd "$ROOT" || exit

VERSION=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
DATABASE=billing_rpc_installcheck
export PGOPTIONS="-c client_min_messages=warning"
in_database() { "$PG_BIN/psql" -X -q -v ON_ERROR_STOP=1 -d "$@" </dev/null; }

ROLES="select coalesce(string_agg(quote_ident(rolname), ', '), '') from pg_roles where rolname in ('billing_owner', 'billing_service', 'billing_webhook', 'billing_user', 'billing_monitor')"
before=$(in_database postgres -At -c "$ROLES") || die "no server answers, or not to a superuser" \
  "Start one that has the extension's files, and say how to reach it: PGHOST, PGPORT, PGUSER, PGPASSWORD."
in_database postgres -c "drop database if exists $DATABASE" -c "create database $DATABASE template template0 encoding 'UTF8'"
status=0
in_database "$DATABASE" -v "version=$VERSION" -f tests/smoke/smoke.sql || status=1
in_database postgres -c "drop database $DATABASE"
after=$(in_database postgres -At -c "$ROLES")
[[ -n $before || -z $after ]] || in_database postgres -c "drop role $after"
[[ $status -eq 0 ]] || die "the extension that is installed does not do what it should; what went wrong is above"
