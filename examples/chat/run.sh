#!/usr/bin/env bash
# The support chat with a Belfry of its own, as `make demo` runs it. Everything
# ends with this script, and the script with whatever cannot start.
set -euo pipefail
cd "$(dirname "$0")/../.."
. examples/processes.sh

# upgrade_on_enter PID replaces the Belfry that has this process id each time when
# Enter is pressed. It ends the last one when it is told to end itself.
upgrade_on_enter() {
  local belfry=$1 line
  trap 'kill "$belfry" $(jobs -p) 2>/dev/null; exit 0' TERM
  while read -r line; do
    if line=$(bin/belfry upgrade --pid "$belfry"); then
      belfry=${line#process } belfry=${belfry%% *}
      echo "Belfry: $line. Neither window has noticed; press Enter for another one."
    fi
  done
  sleep infinity & wait # until TERM
}

start bin/belfry serve --config examples/chat/belfry.yaml
upgrade_on_enter "${pids[0]}" <&0 & pids+=($!)
start bin/chat --dist examples/chat/dist
echo "Press Enter to replace Belfry by a new process while both windows chat."
wait_for_failure
