#!/usr/bin/env bash
# A server with sessions: a text is begun, forked and continued; the session is a file on the disk of whoever asks for it.
#
#     examples/serve.sh [MODEL]
set -euo pipefail
folder=$(mktemp -d)
port=${PORT:-8642}
url=http://127.0.0.1:$port/v1
post() { curl --silent --fail --header 'content-type: application/json' --data "$2" "$url$1"; echo; }
trap 'kill "$server" 2>/dev/null; wait "$server" 2>/dev/null || true; rm -rf "$folder"' EXIT

node dist/cli/main.js serve "${1:-linnet:tiny-llama}" --port "$port" --sessions "$folder/sessions" --quiet &
server=$!
until curl --silent --fail "http://127.0.0.1:$port/health" >/dev/null; do sleep 0.2; done

id=$(post /sessions '{"prompt": "The state of the union"}' | node -p 'JSON.parse(fs.readFileSync(0)).id')
post /completions "{\"session_id\": \"$id\", \"prompt\": \" is\", \"max_tokens\": 12}"
post "/sessions/$id/fork" '{"count": 1}'
curl --silent --fail --output "$folder/talk.session" "$url/sessions/$id/state"
wc -c <"$folder/talk.session"
