#!/bin/bash
# The echo pair with a library preloaded that shortens and interrupts reads and writes of sockets: every byte right.
# $2: the library.
. "$(dirname "$0")/../examples/lib.sh"
library=$2
expect "a library" test -e "$library"

test_every_byte_is_right_though_calls_move_parts() {
  local workers
  export LD_PRELOAD=$library
  for workers in 1 2 4; do
    start_server "$bin/echo_server" --listen 127.0.0.1:0 --workers $workers
    timeout 60 "$bin/echo_load" --connect "$server_address" --connections 50 --size 1-100000 --seconds 2 >table ||
      fail "$(cat table)"
    grep -E 'requests|wrong|errors' table
    stop_server "$server_pid"
  done
}

run_tests
