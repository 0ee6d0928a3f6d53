#!/bin/bash
. "$(dirname "$0")/lib.sh"

test_threads_and_fibers_agree() {
  for workers in 1 2 4; do
    timeout 30 "$bin/embed" --workers $workers --clients 5 --requests 400 >out || fail "status $?: $(cat out)"
    [ "$(grep -c '^client at port [0-9]*: 400 requests$' out)" = 5 ] || fail "$(cat out)"
    grep -q '^sum 401000, expected 401000$' out || fail "$(cat out)"
  done
}

test_an_interrupt_ends_it() {
  "$bin/embed" --requests 1000000 >out &
  local running=$!
  wait_for_signals $running
  stop_server $running INT
  grep -q '^sum [0-9]*, expected' out || fail "$(cat out)"
}

run_tests
