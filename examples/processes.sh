# What both demos share: processes that end with the script that sources this.

pids=()

# start PROGRAM ARGUMENT... runs it in the background.
start() { "$@" & pids+=($!); }

# Returns when a process has failed, with its status, or when none is left. One that
# was told to end, as the demos suggest for Belfry, has not failed.
wait_for_failure() {
  local status
  while true; do
    status=0
    wait -n || status=$?
    [ "$status" -eq 0 ] || [ "$status" -gt 128 ] || return "$status"
  done
}

end_all() {
  trap - EXIT
  [ ${#pids[@]} -eq 0 ] || kill "${pids[@]}" 2>/dev/null || true
  wait
}
trap end_all EXIT
trap 'exit 0' INT TERM
