#!/bin/bash
. "$(dirname "$0")/lib.sh"

value_of() { sed -n "s/^$1  *\([0-9.]*\).*/\1/p" table; }

# load ARGUMENTS...: runs the load against the server that was started; its table goes to `table`.
load() {
  timeout 60 "$bin/echo_load" --connect "$server_address" "$@" >table 2>load.err
}

test_every_kind_of_load_is_answered() {
  start_server "$bin/echo_server" --listen 127.0.0.1:0 --workers 2
  for arguments in "--connections 1" "--connections 50 --pipeline 8" "--connections 20 --size 1-1048576" \
      "--connections 8 --size 300000 --pipeline 3" "--connections 10 --rate 500" \
      "--connections 4 --rate 200 --size 1-200000" "--connections 3 --pipeline 100 --size 1"; do
    load --seconds 0.5 $arguments --server-pid "$server_pid" || fail "$arguments: status $?: $(cat load.err table)"
    [ "$(value_of 'wrong bytes')" = 0 ] && [ "$(value_of errors)" = 0 ] || fail "$arguments: $(cat table)"
    [ "$(value_of requests)" -ge 20 ] || fail "$arguments: $(cat table)"
    [ -s load.err ] && fail "$arguments: $(cat load.err)"  # no progress line where there is no terminal
    for row in connections 'requests per second' 'latency p50' 'latency p99' 'latency p99.9' 'latency max' \
        'server CPU per request'; do
      [ -n "$(value_of "$row")" ] || fail "no $row: $(cat table)"
    done
  done
  stop_server "$server_pid"
}

test_the_rate_is_kept() {
  start_server "$bin/echo_server" --listen 127.0.0.1:0
  load --connections 10 --rate 1000 --seconds 1 || fail "status $?: $(cat load.err)"
  local requests
  requests=$(value_of requests)
  [ "$requests" -ge 990 ] && [ "$requests" -le 1010 ] || fail "$requests requests instead of 1000"
  stop_server "$server_pid"
}

# A stalled server is to show in most latencies, not in one: they count from when a request should have been sent.
test_a_stall_is_not_omitted() {
  start_server "$bin/echo_server" --listen 127.0.0.1:0
  load --connections 1 --rate 1000 --seconds 2 &
  local running=$!
  sleep 0.5
  kill -STOP "$server_pid"
  sleep 1.3
  kill -CONT "$server_pid"
  wait $running || fail "status $?: $(cat load.err)"
  awk -v p50="$(value_of 'latency p50')" -v p99="$(value_of 'latency p99')" -v n="$(value_of requests)" \
    'BEGIN { exit !(n >= 1990 && p99 > 700000 && p50 > 1000) }' || fail "$(cat table)"
  stop_server "$server_pid"
}

test_wrong_bytes_are_found() {
  local port=0 i
  for i in $(seq 20); do
    port=$((20000 + RANDOM % 10000))
    socat "TCP-LISTEN:$port,bind=127.0.0.1,reuseaddr,fork" \
      "SYSTEM:dd bs=1 status=none | dd bs=1 status=none conv=swab" 2>/dev/null &
    sleep 0.3
    kill -0 $! 2>/dev/null && break
  done
  server_address=127.0.0.1:$port
  load --connections 1 --size 1000 --seconds 0.3 && fail "found nothing: $(cat table)"
  [ "$(value_of 'wrong bytes')" -gt 0 ] || fail "$(cat table)"
}

test_a_server_that_is_not_there_is_named() {
  start_server "$bin/echo_server" --listen 127.0.0.1:0
  stop_server "$server_pid"
  expect_error 1 "echo_load: dial tcp $server_address: connection refused" \
    "$bin/echo_load" --connect "$server_address" --connections 20
}

test_a_server_that_dies_is_an_error() {
  start_server "$bin/echo_server" --listen 127.0.0.1:0
  load --connections 10 --seconds 20 &
  local running=$!
  sleep 0.5
  kill -KILL "$server_pid"
  wait "$server_pid" 2>wait.err
  wait $running && fail "no error: $(cat table)"
  [ "$(value_of errors)" -ge 1 ] || fail "$(cat table)"
  grep -q '^echo_load: ' load.err || fail "no word: $(cat load.err)"
}

test_an_interrupt_ends_it_with_a_table() {
  start_server "$bin/echo_server" --listen 127.0.0.1:0
  "$bin/echo_load" --connect "$server_address" --connections 10 --seconds 60 >table 2>load.err &
  local running=$!
  wait_for_signals $running
  sleep 0.5  # some load
  stop_server $running INT
  [ "$(value_of errors)" = 0 ] && [ "$(value_of requests)" -gt 0 ] || fail "$(cat table load.err)"
  stop_server "$server_pid"
}

run_tests
