#!/bin/bash
. "$(dirname "$0")/lib.sh"

# answers_of ADDRESS TEXT: what comes back for a datagram within a second.
answers_of() { echo "$2" | timeout 10 socat -t 1 - "UDP4:$1"; }

# start_echo: a UDP echo on a port that the system chose; sets echo_port.
start_echo() {
  local i
  for i in $(seq 20); do
    echo_port=$((20000 + RANDOM % 10000))
    socat "UDP4-RECVFROM:$echo_port,bind=127.0.0.1,fork" EXEC:'sed -u s/^/echo_/' 2>/dev/null &
    sleep 0.3
    kill -0 $! 2>/dev/null && return
  done
  fail "no port for the echo"
}

test_forwards_and_brings_the_answers_back() {
  start_echo
  local workers i
  for workers in 1 2 4; do
    start_server "$bin/udp_forwarder" --listen 127.0.0.1:0 --to "127.0.0.1:$echo_port" --workers $workers
    for i in 1 2 3; do
      [ "$(answers_of "$server_address" "hello $i")" = "echo_hello $i" ] || fail "answer $i with $workers workers"
    done
    stop_server "$server_pid" INT
  done
}

test_an_absent_target_loses_datagrams_only() {
  start_server "$bin/udp_forwarder" --listen 127.0.0.1:0 --to 127.0.0.1:1 --idle 1
  [ -z "$(answers_of "$server_address" lost)" ] || fail "an answer from nobody"
  stop_server "$server_pid"
}

test_a_client_too_many_is_left_out_until_another_has_gone() {
  start_echo
  start_server "$bin/udp_forwarder" --listen 127.0.0.1:0 --to "127.0.0.1:$echo_port" --clients 1 --idle 2
  [ "$(answers_of "$server_address" first)" = "echo_first" ] || fail "the first client"
  [ -z "$(answers_of "$server_address" second)" ] || fail "a second client was served"
  local i
  for i in $(seq 20); do
    [ "$(answers_of "$server_address" third)" = "echo_third" ] && break
  done
  [ "$i" -lt 20 ] || fail "the first client was never forgotten"
  stop_server "$server_pid"
}

test_bad_addresses_are_named() {
  expect_error 1 'udp_forwarder: listen udp "here": the port is missing' "$bin/udp_forwarder" --listen here
  expect_error 1 'udp_forwarder: dial udp "there": the port is missing' \
    "$bin/udp_forwarder" --listen 127.0.0.1:0 --to there
}

run_tests
