#!/usr/bin/env bash
# The support chat on two Belfrys, with Redis between them and nginx in front.
# Everything ends with this script, and the script with whatever cannot start.
set -euo pipefail
cd "$(dirname "$0")/../.."

for program in redis-server nginx; do
  command -v "$program" >/dev/null || { echo "the cluster demo needs $program: apt-get install redis-server nginx-light" >&2; exit 1; }
done

scratch=$(mktemp -d)
. examples/processes.sh
trap 'end_all; rm -rf "$scratch"' EXIT

start redis-server --port 6399 --bind 127.0.0.1 --save '' --appendonly no --dir "$scratch" --loglevel warning
start env BELFRY_LISTEN=127.0.0.1:8081 bin/belfry serve --config examples/cluster/belfry.yaml
start env BELFRY_LISTEN=127.0.0.1:8082 bin/belfry serve --config examples/cluster/belfry.yaml
start nginx -p "$scratch" -c "$PWD/examples/cluster/nginx.conf" -e stderr
start bin/chat --dist examples/chat/dist

cat <<TEXT

Two nodes, 127.0.0.1:8081 and :8082, behind 127.0.0.1:8080. Open the chat in two
windows; each is on either node. Then end a node, and see the page move to the
other within a second:

  kill ${pids[1]}        (node :8081)
  kill ${pids[2]}        (node :8082)

TEXT
wait_for_failure
