#!/bin/sh
# Runs once, after the extension is installed: the roles that PostgREST becomes. Whoever comes without a token may deliver webhooks,
# which are refused unless they are signed; the role backend, by a token that says so, may call everything that clients call; app_user
# may ask about the person whom its token names.
set -eu

psql -X -q -v ON_ERROR_STOP=1 --no-password --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" <<'SQL'
SET log_statement = 'none';
SET log_min_duration_statement = -1;
SET log_min_error_statement = 'panic';
\set password `cat "$AUTHENTICATOR_PASSWORD_FILE"`
SET password_encryption = 'scram-sha-256';
CREATE ROLE authenticator LOGIN NOINHERIT PASSWORD :'password';
CREATE ROLE anon NOLOGIN;
CREATE ROLE backend NOLOGIN;
CREATE ROLE app_user NOLOGIN;
GRANT anon, backend, app_user TO authenticator;
GRANT billing_webhook TO anon;
GRANT billing_service TO backend;
GRANT billing_user TO app_user;
SQL
