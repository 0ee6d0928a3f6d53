#!/bin/bash
. "$(dirname "$0")/lib.sh"

# scan ARGUMENTS...: the scan of an address of this machine goes to `out`.
scan() {
  timeout 60 "$bin/port_scan" 127.0.0.1 "$@" >out 2>err || fail "scan $*: status $?: $(cat err)"
  [ -s err ] && fail "scan $*: complained: $(cat err)"
  return 0
}

test_tells_open_from_refused() {
  start_server "$bin/echo_server" --listen 127.0.0.1:0
  local port workers
  port=$(port_of "$server_address")
  for workers in 1 2 4; do
    scan --ports $port --workers $workers
    printf '%s\n' "$port open" "127.0.0.1, ports $port-$port: 1 open, 0 refused, 0 timed out, 0 unreachable, 0 not tried" |
      diff - out || fail "open"
  done
  stop_server "$server_pid"
  scan --ports $port-$port
  printf '%s\n' "127.0.0.1, ports $port-$port: 0 open, 1 refused, 0 timed out, 0 unreachable, 0 not tried" |
    diff - out || fail "refused"
}

# On an address of its own: a scan is no guest at other programs' ports.
test_open_ports_come_in_order() {
  local first last
  start_server "$bin/echo_server" --listen 127.77.1.1:0
  first=$(port_of "$server_address")
  last=$((first > 65000 ? first - 20 : first + 20))
  start_server "$bin/echo_server" --listen "127.77.1.1:$last"
  [ $first -lt $last ] || { local swap=$first; first=$last last=$swap; }
  timeout 60 "$bin/port_scan" 127.77.1.1 --ports $first-$last --limit 3 >out || fail "status $?"
  grep -x -e "$first open" -e "$last open" out >found
  printf '%s open\n' $first $last | diff - found || fail "$(cat out)"
  grep -q ": [0-9]* open, [0-9]* refused, 0 timed out, 0 unreachable, 0 not tried$" out || fail "$(cat out)"
}

# start_black_hole: a port whose queue is full, so that the system drops what else wants to connect; sets hole.
start_black_hole() {
  socat -d -d TCP-LISTEN:0,bind=127.0.0.1,backlog=0 - </dev/null >socat.out 2>socat.err &
  local pid=$! i
  for i in $(seq 400); do
    hole=$(sed -n 's/.*listening on .*:\([0-9]*\)$/\1/p' socat.err)
    [ -n "$hole" ] && break
    sleep 0.05
  done
  [ -n "$hole" ] || fail "socat: $(cat socat.err)"
  kill -STOP $pid
  for i in $(seq 10); do
    scan --ports "$hole" --timeout 2000
    grep -q ' 1 timed out' out && return
  done
  fail "never full: $(cat out)"
}

test_each_dial_has_its_time_and_the_whole_too() {
  local hole=
  start_black_hole
  scan --ports "$hole" --timeout 200 --total 3600000
  grep -q ' 0 open, 0 refused, 1 timed out, 0 unreachable, 0 not tried$' out || fail "$(cat out)"
  scan --ports "$hole" --timeout 3600000 --total 200
  grep -q ' 0 open, 0 refused, 1 timed out, 0 unreachable, 0 not tried$' out || fail "$(cat out)"
  # With one dial at a time, those after it have no turn, but for some that begin when the time is up for the first.
  local timed_out not_tried
  scan --ports "$hole-65535" --limit 1 --timeout 3600000 --total 200
  read -r timed_out not_tried < <(
    sed -nE 's/.*: 0 open, 0 refused, ([0-9]+) timed out, 0 unreachable, ([0-9]+) not tried$/\1 \2/p' out)
  ((timed_out >= 1 && not_tried >= 1 && timed_out + not_tried == 65536 - hole)) || fail "$(cat out)"
}

test_bad_arguments_say_so() {
  local p="$bin/port_scan" ports
  expect_error 1 "port_scan: lookup no..name: no such host" "$p" no..name
  for ports in 5-1 0-10 1-65536 1-2-3 a-b -5 5- 99999999999; do
    expect_error 1 "port_scan: bad ports $ports: " "$p" 127.0.0.1 "--ports=$ports"
  done
  expect_error 2 "port_scan: HOST is missing" "$p" --ports 1-2
  expect_error 2 "port_scan: unknown argument other" "$p" 127.0.0.1 other
  expect_error 2 "port_scan: bad value for --limit: 0" "$p" 127.0.0.1 --limit 0
  expect_error 2 "port_scan: bad value for --timeout: soon" "$p" 127.0.0.1 --timeout soon
}

run_tests
