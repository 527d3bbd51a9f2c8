#!/usr/bin/env bash
# A story in a throwaway cluster: a signed webhook comes in, credits are booked once, some are spent. Every answer is
# compared with the one it should be; the exit status is 0 only if all were. Usage: demo.sh [--psql]
#   --psql   plays the same story quietly, then gives a prompt in that cluster; it vanishes on exit
# shellcheck source=scripts/cluster.sh
source "$(dirname "${BASH_SOURCE[0]}")/cluster.sh"
pg_paths

interactive=no
case ${1:-} in
  --psql) interactive=yes ;;
  '') ;;
  *) die "usage: demo.sh [--psql]" ;;
esac

USER_ID=3f2b8c1e-5d47-4a9e-9c60-7b1de2a4f508
SECRET=whsec_demo_0123456789abcdef
NOW=$(date +%s)

if [[ -t 1 ]]; then bold=$'\e[1m' plain=$'\e[0m'; else bold='' plain=''; fi
step_number=0
step() { # step TITLE
  step_number=$((step_number + 1))
  [[ $interactive == yes ]] || printf '\n%s%d. %s%s\n' "$bold" "$step_number" "$1" "$plain"
}
tell() { [[ $interactive == yes ]] || printf '   %s\n' "$@"; }

run_sql() { # run_sql FORMAT [SQL]: SQL from the argument or standard input; FORMAT is plain or table
  local format=(-A -t -F ' ')
  [[ $1 == plain ]] || format=(-P border=1 -P footer=off)
  if [[ $# -gt 1 ]]; then
    "$PG_BIN/psql" -X -q -v ON_ERROR_STOP=1 "${format[@]}" -d demo -c "$2" </dev/null
  else
    "$PG_BIN/psql" -X -q -v ON_ERROR_STOP=1 "${format[@]}" -d demo
  fi
}
value() { run_sql plain "$1"; }
show() { # prints the query, then its answer as a table
  [[ $interactive == no ]] || return 0
  printf '%s\n' "$1" | sed 's/^/   /'
  run_sql table "$1" | sed '/^$/d;s/^/     /'
}

expect() { # expect WHAT EXPECTED GOT
  if [[ $2 != "$3" ]]; then
    note "" "   This is not what was expected."
    die "$1: expected '$2', got '$3'" "This is a bug: the demo asks only for what the documentation promises."
  fi
  tell "as expected: $1: $3"
}

# Posts a body as PostgREST does: one transaction, the role and the headers of the request set in it, the body handed
# over byte for byte, the HTTP status read back. Prints "HTTP <status> <reason> <detail>".
post() { # post BODY SIGNATURE_HEADER
  run_sql plain <<SQL
begin;
set local role web_anon;
select set_config('request.headers', json_build_object('stripe-signature', \$header\$$2\$header\$)::text, true) \gset
select reason, coalesce(detail, '') as detail from stripe_webhook(\$body\$$1\$body\$::json) \gset
select current_setting('response.status', true) as status \gset
commit;
\echo HTTP :status :reason :detail
SQL
}

checkout() { # checkout EVENT_ID SESSION_ID CREDITS
  cat <<JSON
{"id":"$1","object":"event","type":"checkout.session.completed","created":$NOW,"livemode":false,"api_version":"2025-03-31.basil","data":{"object":{"id":"$2","object":"checkout.session","mode":"payment","payment_status":"paid","created":$NOW,"customer":"cus_demo42","payment_intent":"pi_${2#cs_}","amount_subtotal":999,"amount_total":999,"currency":"usd","metadata":{"user_id":"$USER_ID","credits":"$3"}}}}
JSON
}
sign() { # sign BODY SECRET
  value "select billing.sign_stripe_payload(\$body\$$1\$body\$, '$2', to_timestamp($NOW))"
}

step "A Postgres of its own"
cluster_start demo
"$PG_BIN/psql" -X -q -v ON_ERROR_STOP=1 -d postgres -c "create database demo"
tell "$("$PG_BIN/postgres" --version) in ${PGDATA%/data}" "It stops and vanishes when this ends."

step "Install: one statement, one secret, one role for the outside world"
value "create extension $EXTENSION" >/dev/null
value "select billing.add_webhook_secret('stripe', '$SECRET')" >/dev/null
value "create role web_anon nologin; grant billing_webhook to web_anon" >/dev/null
tell "create extension $EXTENSION;" "select billing.add_webhook_secret('stripe', '$SECRET');" \
  "create role web_anon nologin; grant billing_webhook to web_anon;"
expect "the installed version" "$(sed -n 's/^version *= *"\(.*\)"/\1/p' "$ROOT/Cargo.toml" | head -n 1)" \
  "$(value "select extversion from pg_extension where extname = '$EXTENSION'")"

step "Stripe delivers a paid checkout of 500 credits, and its network stutters: five deliveries at once"
body=$(checkout evt_demo_1 cs_demo_1 500)
header=$(sign "$body" "$SECRET")
tell "POST /rpc/stripe_webhook   (as role web_anon, which may call this and nothing else)" \
  "stripe-signature: ${header:0:44}..."
answers=$TARGET/demo.$$
mkdir -p "$answers"
jobs=()
for delivery in 1 2 3 4 5; do
  post "$body" "$header" >"$answers/$delivery" &
  jobs+=("$!")
done
for job in "${jobs[@]}"; do wait "$job" || die "a delivery ended in an SQL error; it is printed above"; done
counts=$(cat "$answers"/? | sed 's/ *$//' | sort | uniq -c | sed 's/^ *//' | paste -sd, | sed 's/,/, /g')
rm -r "$answers"
expect "five deliveries" "1 HTTP 200 applied, 4 HTTP 200 replay" "$counts"
expect "balance" 500 "$(value "select balance from credit_balance('$USER_ID')")"

step "Somebody forges a delivery of a million credits"
body=$(checkout evt_demo_forged cs_demo_forged 1000000)
tell "stripe-signature: made with another secret"
expect "answer" "HTTP 400 invalid signature_mismatch" "$(post "$body" "$(sign "$body" whsec_a_guess)")"
expect "events stored of it" 0 "$(value "select count(*) from billing.webhook_events where event_id = 'evt_demo_forged'")"
expect "balance" 500 "$(value "select balance from credit_balance('$USER_ID')")"

step "The application spends 120 credits, is cut off, and asks again with the same key"
spend="select applied, reason, credits, balance from spend_credits('$USER_ID', 120, 'order-1001')"
show "$spend"
if [[ $interactive == yes ]]; then value "$spend" >/dev/null; fi
show "$spend"
expect "the third time the same" "f replay -120 380" "$(value "$spend")"

step "More than there is cannot be spent"
tell "select reason, detail, balance from spend_credits('...', 1000, 'order-1002');"
expect "answer" "invalid insufficient_credits" \
  "$(value "select reason, detail from spend_credits('$USER_ID', 1000, 'order-1002')")"

step "The balance, and how it came about"
show "select balance, held, available from credit_balance('$USER_ID')"
show "select entry_id, kind, credits, balance, source_ref, idempotency_key from credit_history('$USER_ID')"
expect "balance and entries" "380 2" \
  "$(value "select (select balance from credit_balance('$USER_ID')), count(*) from credit_history('$USER_ID')")"
expect "history, newest first" "spend -120, purchase 500" \
  "$(value "select string_agg(kind || ' ' || credits, ', ' order by entry_id desc) from credit_history('$USER_ID')")"
expect "found by Stripe's customer id as well" "$USER_ID" "$(value "select user_id from resolve_billing_user('cus_demo42')")"

if [[ $interactive == no ]]; then
  printf '\n%sAll %d steps went as expected.%s What to try next:\n' "$bold" "$step_number" "$plain"
  printf "%s\n" "   make psql    a prompt in a cluster with this data: call the functions yourself" \
    "   make test    every test of the project" \
    "   README.md    how to put it into your own database, and connect Stripe to it"
  exit 0
fi

cat <<TEXT
A throwaway cluster with the demo's data; it vanishes when you leave (\\q).
The user is $USER_ID, also known as cus_demo42. Try:
  select * from credit_balance('cus_demo42');
  select * from spend_credits('cus_demo42', 5, 'my-first-key');
  select * from credit_history('cus_demo42');
  \\df public.*
TEXT
# Not exec: the cluster must end after the prompt does. Ctrl-C belongs to psql.
trap '' INT
"$PG_BIN/psql" -d demo -v PROMPT1='billing=%# ' || true
