#!/usr/bin/env bash
# The support chat with a Belfry of its own, as `make demo` runs it. Everything
# ends with this script, and the script with whatever cannot start.
set -euo pipefail
cd "$(dirname "$0")/../.."
. examples/processes.sh

start bin/belfry serve --config config.example.yaml
start bin/chat --dist examples/chat/dist
wait_for_failure
