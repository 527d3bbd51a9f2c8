#!/usr/bin/env bash
# What can be said of the container image without an engine to build it: its sources are all let through by .dockerignore, what it runs
# at its first start does what it should in a throwaway cluster, the compose example hangs together. (hadolint reads the Dockerfile in
# 'make check'.)
# shellcheck source=scripts/cluster.sh
source "$(dirname "${BASH_SOURCE[0]}")/cluster.sh"
# shellcheck source=scripts/venv.sh
source "$(dirname "${BASH_SOURCE[0]}")/venv.sh"
cd "$ROOT" || exit
venv image tests/image/requirements.txt

WORK=$TARGET/image
rm -rf "$WORK"
mkdir -p "$WORK"
passed=0 failed=0

# --- the build ---

# .dockerignore lets nothing through but what it names with a !.
context() {
  local name
  [[ $(grep -m 1 -v '^#' .dockerignore) == '*' ]] || { echo "it does not begin with leaving out all"; return 1; }
  mkdir "$WORK/context"
  sed -n 's/^!//p' .dockerignore | while IFS= read -r name; do
    tar -c --exclude=target "$name" | tar -x -C "$WORK/context" || return 1
  done
}
# Cargo finds all of its sources there, and every file that the scripts and the Rust code include.
is_whole() {
  (cd "$WORK/context" && cargo metadata --offline --locked --no-deps --format-version 1 >/dev/null) || return 1
  local name
  while IFS= read -r name; do
    [[ -e $WORK/context/$name ]] || { echo "$name is not let through"; return 1; }
  done < <(sed -nE 's/^COPY ([^-].*) [^ ]+$/\1/p' Dockerfile | tr ' ' '\n' | grep -vx '\.'
    grep -rhoE 'extension_sql_file!\( *"[^"]*"' src | sed 's/.*"\(.*\)"/\1/;s#^\(\.\./\)*##'
    printf '%s\n' scripts/build.sh scripts/install.sh "$EXTENSION.control")
}
same_tools() {
  grep -qx "ARG RUST=rust:$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)-bookworm" Dockerfile
}

# --- the first start ---

SECRET="whsec_it's \"quoted\" \\ \$HOME \`x\`"
PASSWORD="pa'ss\\word"
sql() { "$PG_BIN/psql" -X -q -At -v ON_ERROR_STOP=1 -d billing "$@"; }
first_start() {
  "$PG_BIN/psql" -X -q -d postgres -c "create database billing" || return 1
  printf '%s\n' "$SECRET" >"$WORK/secret"
  printf '%s\n' "$PASSWORD" >"$WORK/password"
  export POSTGRES_USER=postgres POSTGRES_DB=billing STRIPE_WEBHOOK_SECRET_FILE=$WORK/secret AUTHENTICATOR_PASSWORD_FILE=$WORK/password
  PATH=$PG_BIN:$PATH docker/initdb/billing_rpc.sh && PATH=$PG_BIN:$PATH examples/compose/initdb/postgrest.sh
}
# Whoever comes without a token, by PostgREST's login role.
webhook_is_taken() {
  [[ $(sql -v "secret=$SECRET" -v 'body={"id":"evt_image","type":"ping","created":1,"data":{"object":{"id":"x"}}}' <<'SQL'
SELECT billing.sign_stripe_payload(:'body', :'secret', now()) AS signature \gset
BEGIN;
SET LOCAL SESSION AUTHORIZATION authenticator;
SET LOCAL ROLE anon;
SELECT set_config('request.headers', json_build_object('stripe-signature', :'signature')::text, true) \g /dev/null
SELECT reason FROM stripe_webhook(:'body'::json);
COMMIT;
SQL
  ) == ignored ]]
}
nothing_else_is() { # nothing_else_is ROLE CALL
  [[ $(sql -c '\set VERBOSITY sqlstate' -c "set role $1" -c "$2" 2>&1 || true) == *42501* ]]
}
as_role() { # as_role ROLE CALL ANSWER
  [[ $(sql -c "set role $1" -c "$2") == "$3" ]]
}
not_in_log() { ! grep -nF -e whsec_it -e "pa'" -e "pa''" "$PGLOG"; }
refuses_empty_secret() {
  : >"$WORK/empty"
  local said
  said=$(PATH=$PG_BIN:$PATH STRIPE_WEBHOOK_SECRET_FILE=$WORK/empty docker/initdb/billing_rpc.sh 2>&1) && return 1
  [[ $said == *"is empty or not there"* ]]
}

fact ".dockerignore lets through what the image is built from" context
fact "the sources are whole there" is_whole
fact "the image is built with the Rust that Cargo.toml asks for" same_tools
fact "the compose example hangs together" "$VENV/bin/python" tests/image/check_compose.py examples/compose/docker-compose.yml
cluster_start image -c log_statement=all -c log_min_duration_statement=0
fact "the first start" first_start
fact "neither secret nor password is in the server's log, which logs every statement" not_in_log
fact "a signed webhook is taken from whoever has no token" webhook_is_taken
fact "who has no token may call nothing else" nothing_else_is anon "select grant_credits('7', 1, 'k')"
fact "who has no token reads no table" nothing_else_is anon "select * from billing.ledger"
fact "the backend may" as_role backend "select reason from grant_credits('7', 1, 'k')" applied
fact "an application's user may ask" as_role app_user "select has_credits(1)" f
fact "an application's user may not grant" nothing_else_is app_user "select grant_credits('7', 1, 'k')"
fact "an empty secret file is refused" refuses_empty_secret
record test-image "$passed" "$failed"
say "test-image: $passed passed, $failed failed"
[[ $failed -eq 0 ]]
