#!/bin/bash
. "$(dirname "$0")/lib.sh"

test_relays_both_ways_and_half_closes() {
  head -c 3000000 /dev/urandom >sent
  start_server "$bin/echo_server" --listen 127.0.0.1:0
  local echo_pid=$server_pid echo_address=$server_address
  for workers in 1 2 4; do
    start_server "$bin/tcp_proxy" --listen 127.0.0.1:0 --connect "$echo_address" --workers $workers
    timeout 30 nc -N 127.0.0.1 "$(port_of "$server_address")" <sent >got || fail "nc: $?"
    expect "the same bytes" cmp sent got
    timeout 60 "$bin/echo_load" --connect "$server_address" --connections 100 --size 1-100000 --seconds 1 >table ||
      fail "$(cat table)"
    stop_server "$server_pid" INT
    [ -s "$server_err" ] && fail "complained: $(cat "$server_err")"
  done
  stop_server "$echo_pid"
}

# The end of the client's side is passed on alone: only a target that sees it prints the sum.
test_an_answer_after_the_end_of_the_question() {
  head -c 1000000 /dev/urandom >sent
  local port i
  for i in $(seq 20); do
    port=$((20000 + RANDOM % 10000))
    socat "TCP-LISTEN:$port,bind=127.0.0.1,reuseaddr,fork" "EXEC:cksum" 2>/dev/null &
    sleep 0.3
    kill -0 $! 2>/dev/null && break
  done
  start_server "$bin/tcp_proxy" --listen 127.0.0.1:0 --connect "127.0.0.1:$port"
  timeout 30 socat -t 20 - "TCP:$server_address" <sent >got || fail "socat: $?"
  [ "$(cat got)" = "$(cksum <sent)" ] || fail "got $(cat got)"
  stop_server "$server_pid"
}

test_an_absent_target_is_named_and_survived() {
  start_server "$bin/echo_server" --listen 127.0.0.1:0
  local target=$server_address echo_pid=$server_pid
  stop_server "$echo_pid"
  start_server "$bin/tcp_proxy" --listen 127.0.0.1:0 --connect "$target"
  local proxy_pid=$server_pid proxy_address=$server_address proxy_err=$server_err
  echo lost | timeout 10 nc -N 127.0.0.1 "$(port_of "$proxy_address")" >got
  [ -s got ] && fail "got $(cat got)"
  grep -q "^tcp_proxy: client 127.0.0.1:[0-9]*: dial tcp $target: connection refused$" "$proxy_err" ||
    fail "says $(cat "$proxy_err")"
  start_server "$bin/echo_server" --listen "$target"
  [ "$(echo found | timeout 10 nc -N 127.0.0.1 "$(port_of "$proxy_address")")" = found ] || fail "not relayed"
  stop_server "$server_pid"
  stop_server "$proxy_pid"
}

test_a_bad_address_is_named() {
  expect_error 1 "tcp_proxy: listen tcp \"here\": the port is missing" "$bin/tcp_proxy" --listen here
}

run_tests
