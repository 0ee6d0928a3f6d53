#!/bin/bash
. "$(dirname "$0")/lib.sh"

examples="hello echo_server echo_load tcp_proxy udp_forwarder embed chat port_scan pipeline"

test_greets_everybody() {
  "$bin/hello" >out || fail "status $?"
  [ "$(wc -l <out)" = 2 ] || fail "$(cat out)"
  "$bin/hello" a b c >out || fail "status $?"
  sed 's/, from fiber [0-9]*$//' out >names
  printf 'hello, %s\n' a b c | diff - names || fail "wrong names"
}

test_every_example_has_help() {
  for name in $examples; do
    "$bin/$name" --help >out 2>err || fail "$name --help: status $?"
    grep -q "^Usage: $name" out || fail "$name --help: $(cat out)"
    [ -s err ] && fail "$name --help: $(cat err)"
  done
  return 0
}

test_wrong_arguments_say_so() {
  for name in $examples; do
    expect_error 2 "unknown argument --no-such-thing" "$bin/$name" --no-such-thing
  done
  expect_error 2 "--listen needs a value: HOST:PORT" "$bin/echo_server" --listen
  expect_error 2 "bad value for --workers: many" "$bin/echo_server" --workers many
  expect_error 2 "bad value for --workers: 4000000000" "$bin/tcp_proxy" --workers=4000000000
  expect_error 2 "bad value for --size: 5-1" "$bin/echo_load" --size 5-1
  expect_error 2 "bad value for --size: 0" "$bin/echo_load" --size 0
  expect_error 2 "bad value for --size: 64x" "$bin/echo_load" --size 64x
  expect_error 2 "bad value for --connections: 0" "$bin/echo_load" --connections 0
  WEFT_WORKERS=some expect_error 1 "WEFT_WORKERS" "$bin/echo_server" --listen 127.0.0.1:0
}

run_tests
