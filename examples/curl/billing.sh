#!/usr/bin/env bash
# Calls billing_rpc through PostgREST with curl. Every call can be repeated: the key makes it one and the same request.
#
#   billing.sh buy USER CREDITS KEY [SOURCE]   SOURCE is what was paid for: stripe:cs_..., stripe:pi_..., paystack:...
#   billing.sh spend USER CREDITS KEY
#   billing.sh balance USER
#   billing.sh webhook FILE                    posts FILE as Stripe would, signed with STRIPE_WEBHOOK_SECRET
#
# BILLING_URL is PostgREST's address, BILLING_TOKEN a token (JWT) of a role that has billing_service.
# Prints the answer. Exit status: 0 done (now or by the same request before), 3 refused, 1 no answer, 2 called wrongly.
set -euo pipefail

usage() { sed -n '4,7s/^# *//p' "$0" >&2; exit 2; }

# Arguments go as a form, which needs no escaping; PostgREST takes them as it takes JSON.
# 5xx and a lost connection are tried again: 40001 is a 500, and nothing was written then.
call() { # call FUNCTION [CURL'S OPTIONS...]
  curl --silent --show-error --fail-with-body --max-time 30 --retry 3 --retry-connrefused \
    --header "Authorization: Bearer $BILLING_TOKEN" "${@:2}" "$BILLING_URL/rpc/$1"
}

verdict() { # verdict ANSWER
  printf '%s\n' "$1"
  case $1 in
    *'"reason":"applied"'* | *'"reason":"replay"'* | *'"reason":"ignored"'*) return 0 ;;
    *'"detail":"already_credited"'*) return 0 ;; # by the webhook, or by another request: it is paid out
    *) return 3 ;;
  esac
}

: "${BILLING_URL:?set BILLING_URL to the address of PostgREST}"
command=${1:-}
case $command in
  buy)
    [[ $# -eq 4 || $# -eq 5 ]] || usage
    answer=$(call apply_credit_purchase --data-urlencode "user_id=$2" --data-urlencode "credits=$3" \
      --data-urlencode "idempotency_key=$4" ${5+--data-urlencode "source_ref=$5"})
    verdict "$answer"
    ;;
  spend)
    [[ $# -eq 4 ]] || usage
    answer=$(call spend_credits --data-urlencode "user_id=$2" --data-urlencode "credits=$3" \
      --data-urlencode "idempotency_key=$4")
    verdict "$answer"
    ;;
  balance)
    [[ $# -eq 2 ]] || usage
    call credit_balance --get --data-urlencode "user_id=$2"
    echo
    ;;
  webhook)
    [[ $# -eq 2 && -r $2 ]] || usage
    time=$(date +%s)
    # The key is visible to who may list this machine's processes: a test secret, please.
    signature=$({ printf '%s.' "$time" && cat "$2"; } |
      openssl dgst -sha256 -hmac "${STRIPE_WEBHOOK_SECRET:?set STRIPE_WEBHOOK_SECRET}" -r)
    # No token: this is the one function that anonymous callers may call, and the signature is what lets it in.
    answer=$(curl --silent --show-error --fail-with-body --max-time 30 \
      --header 'Content-Type: application/json' --header "Stripe-Signature: t=$time,v1=${signature%% *}" \
      --data-binary "@$2" "$BILLING_URL/rpc/stripe_webhook") || { printf '%s\n' "$answer"; exit 1; }
    verdict "$answer"
    ;;
  *) usage ;;
esac
