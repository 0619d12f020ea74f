#!/bin/sh
# Proves that a sender of webhooks retries: the receiver is Creel, which is down twice and then up.
#
#   CREEL_URL=http://127.0.0.1:9669 examples/e2e/run.sh webhook-sender
#
# The argument is the sender; it is given the URL to send to, and an event. `creel` is to be on the PATH. Leaves
# junit.xml behind, and ends with 0 where all was proved.
set -eu
here=$(dirname "$0")
sender=${1:?usage: run.sh SENDER}

# A run has endpoints and rules of its own, so that jobs which run at the same time never meet.
opened=$(creel runs open "e2e" --ttl 10m --rules "$here/rules.yaml" --output env)
eval "$opened"
sending=
finish() {
    if [ -n "$sending" ]; then kill "$sending" 2>/dev/null || true; fi
    creel runs close --junit junit.xml >&2
}
trap finish EXIT
trap 'exit 130' INT TERM

# The system under test, pointed at the run.
"$sender" "${CREEL_RUN_URL}orders" order.created &
sending=$!

creel wait orders --at-least 3 --timeout 30s --name "three tries came in"
wait "$sending"
sending=
creel verify orders -f "$here/claims.yaml" --name "the sender retries as it should"

# Exit code 1 where anything that was verified in the run has failed.
trap - EXIT INT TERM
creel runs close --junit junit.xml
