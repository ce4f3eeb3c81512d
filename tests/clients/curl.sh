#!/bin/sh
# The life of a lock with nothing but curl: acquire, write under its fence, renew, release; through
# the death of the cell's master, and after the lock was lost.
#
#     tests/clients/curl.sh 127.0.0.1:7400 127.0.0.1:7401 127.0.0.1:7402
#
# It goes on writing until the file named by COTTER_STOP is there. What it prints is read by a test.
set -eu

replicas="$*"
master=$1
answer=$(mktemp)
headers=$(mktemp)
trap 'rm -f "$answer" "$headers"' EXIT

# 128 random bits name a request. An attempt that is repeated has the same name, and is done once.
new_request() { od -An -N16 -tx1 /dev/urandom | tr -d ' \n'; }

# field NAME: a field of the last answer.
field() { sed -n 's/.*"'"$1"'":"\{0,1\}\([^",}]*\).*/\1/p' "$answer"; }

# header NAME: a header of the last answer.
header() { tr -d '\r' < "$headers" | sed -n 's/^'"$1"': //p' | tail -n 1; }

# ask METHOD RESOURCE [CURL OPTIONS]: asks until there is an answer that decides, and sets `status`.
# Whoever is not the master says who is; one who does not answer is passed over.
ask() {
    method=$1 resource=$2
    shift 2
    for attempt in $(seq 600); do
        status=$(curl -sS -m 10 -o "$answer" -D "$headers" -w '%{http_code}' \
            -X "$method" "$@" "http://$master$resource" 2>/dev/null) || status=000
        case $status in
        503 | 504 | 429)
            next=$(header cotter-master)
            [ "$next" = "$master" ] && next=
            ;;
        000) next= ;;
        *) return ;;
        esac
        if [ -n "$next" ]; then
            master=$next
        else
            # The next one in the list, after a short while.
            first=${replicas%% *}
            replicas="${replicas#* } $first"
            master=$first
            sleep 0.05
        fi
    done
    echo "no answer to $method $resource"
    exit 1
}

json='content-type: application/json'

echo "# acquire"
request=$(new_request)
body='{"path": "/ls/local/curl/lock", "request_id": "'$request'", "create": "permanent",
       "lease_ms": 20000, "holder": {"name": "curl.sh"}}'
ask POST /v1/acquire -H "$json" -d "$body"
[ "$status" = 200 ] || { cat "$answer"; exit 1; }
token=$(field token) lock_id=$(field lock_id)
sequencer=$(field sequencer)
echo "acquired, token $token"

echo "# write under the fence, and renew, until told to stop"
ask PUT '/v1/nodes/ls/local/curl/count?parents=true' -d 0 -H "cotter-sequencer: $sequencer" \
    -H "cotter-request-id: $(new_request)"
count=0
while [ ! -e "${COTTER_STOP:-/}" ]; do
    count=$((count + 1))
    ask PUT /v1/nodes/ls/local/curl/count -d "$count" -H "cotter-sequencer: $sequencer" \
        -H "cotter-request-id: $(new_request)"
    [ "$status" = 200 ] || { cat "$answer"; exit 1; }
    ask POST /v1/renew -H "$json" -d '{"lock_id": "'"$lock_id"'"}'
    [ "$status" = 200 ] || { cat "$answer"; exit 1; }
    echo "wrote $count at $master"
done
ask GET '/v1/nodes/ls/local/curl/count'
# Generation 2 is the first write: each later one raised it by one, however often it was sent.
echo "generation $(field content_generation) after $count"

echo "# the same acquire again: the same grant"
ask POST /v1/acquire -H "$json" -d "$body"
echo "held, status $status, token $(field token)"

echo "# release, twice; then the sequencer is stale"
ask POST /v1/release -H "$json" -d '{"lock_id": "'"$lock_id"'"}'
ask POST /v1/release -H "$json" -d '{"lock_id": "'"$lock_id"'"}'
echo "released, status $status"
ask GET /v1/sequencers/check -G --data-urlencode "sequencer=$sequencer"
echo "checked, status $status"
ask PUT /v1/nodes/ls/local/curl/count -d late -H "cotter-sequencer: $sequencer"
echo "late write, status $status, kind $(field kind)"

echo "# the next holder has a larger token"
ask POST /v1/acquire -H "$json" -d '{"path": "/ls/local/curl/lock", "request_id": "'"$(new_request)"'"}'
echo "next token $(field token)"
