#!/bin/sh
# Runs once, when the image makes a new database cluster: installs the extension in POSTGRES_DB, and stores the signing secrets that
# the container is given as files (of Docker's secrets, say): STRIPE_WEBHOOK_SECRET_FILE, PAYSTACK_SECRET_FILE. They are in no log and
# in no list of processes.
set -eu

run() { psql -X -q -v ON_ERROR_STOP=1 --no-password --username "$POSTGRES_USER" --dbname "$POSTGRES_DB"; }

echo 'CREATE EXTENSION IF NOT EXISTS billing_rpc;' | run

store() { # store PROVIDER FILE
  [ -n "$2" ] || return 0
  [ -s "$2" ] || { echo "billing_rpc: the secret file of $1 is empty or not there" >&2; exit 1; }
  # psql quotes the secret, and the shell leaves out the line's end.
  SECRET_FILE=$2 PROVIDER=$1 run <<'SQL' >/dev/null
SET log_statement = 'none';
SET log_min_duration_statement = -1;
SET log_min_error_statement = 'panic';
\set provider `printf '%s' "$PROVIDER"`
\set secret `cat "$SECRET_FILE"`
SELECT billing.add_webhook_secret(:'provider', :'secret');
SQL
  echo "billing_rpc: stored the signing secret of $1"
}
store stripe "${STRIPE_WEBHOOK_SECRET_FILE:-}"
store paystack "${PAYSTACK_SECRET_FILE:-}"
