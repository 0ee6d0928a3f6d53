#!/bin/bash
. "$(dirname "$0")/lib.sh"

test_prints_the_first_primes() {
  printf '%s\n' 2 3 5 7 11 13 17 19 23 29 >primes
  local workers
  for workers in 1 2 4; do
    timeout 60 "$bin/pipeline" 10 --workers $workers >out 2>err || fail "status $?: $(cat err)"
    diff primes out || fail "other primes"
    [ -s err ] && fail "complained: $(cat err)"
  done
  timeout 60 "$bin/pipeline" >out || fail "status $?"
  [ "$(wc -l <out)" = 100 ] && [ "$(tail -n 1 out)" = 541 ] || fail "$(cat out)"
  [ "$(timeout 60 "$bin/pipeline" 1)" = 2 ] || fail "not 2 first"
}

# Two thousand fibers in a chain, and all of them end: else the program does not.
test_a_long_chain_comes_to_its_end() {
  local count=2000 last=17389
  [ -z "${WEFT_SANITIZE:-}" ] || count=500 last=3571
  local workers
  for workers in 1 4; do
    timeout 200 "$bin/pipeline" --quiet $count --workers $workers >out 2>err || fail "status $?: $(cat err)"
    grep -qx "$last in [0-9.]* s" out || fail "$(cat out)"
  done
}

test_bad_counts_say_so() {
  local n
  for n in 0 ten 10x 99999999999; do expect_error 2 "pipeline: bad value for N: $n" "$bin/pipeline" $n; done
  expect_error 2 "pipeline: unknown argument -5" "$bin/pipeline" -5
  expect_error 2 "pipeline: unknown argument 20" "$bin/pipeline" 10 20
  expect_error 2 "pipeline: --quiet takes no value" "$bin/pipeline" --quiet=yes
}

run_tests
