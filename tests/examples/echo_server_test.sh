#!/bin/bash
. "$(dirname "$0")/lib.sh"

test_nc_gets_its_bytes_back_after_a_half_close() {
  head -c 3000000 /dev/urandom >sent
  for workers in 1 2 4; do
    start_server "$bin/echo_server" --listen 127.0.0.1:0 --workers $workers
    timeout 30 nc -N 127.0.0.1 "$(port_of "$server_address")" <sent >got || fail "nc: $?"
    expect "the same bytes" cmp sent got
    stop_server "$server_pid"
    [ "$(cat "$server_out")" = "listening on $server_address" ] || fail "printed $(cat "$server_out")"
    [ -s "$server_err" ] && fail "complained: $(cat "$server_err")"
  done
  return 0
}

test_socat_over_ipv4_and_ipv6() {
  head -c 100000 /dev/urandom >sent
  start_server "$bin/echo_server" --listen :0
  timeout 30 socat -t 20 - "TCP4:127.0.0.1:$(port_of "$server_address")" <sent >got || fail "socat: $?"
  expect "the same bytes" cmp sent got
  if [ -e /proc/net/if_inet6 ] && grep -q ' lo$' /proc/net/if_inet6; then
    timeout 30 socat -t 20 - "TCP6:[::1]:$(port_of "$server_address")" <sent >got || fail "socat: $?"
    expect "the same bytes" cmp sent got
  fi
  stop_server "$server_pid"
}

test_ends_on_both_signals_with_connections_open() {
  for signal in INT TERM; do
    start_server "$bin/echo_server" --listen 127.0.0.1:0
    mkfifo pipe.$signal
    timeout 30 nc 127.0.0.1 "$(port_of "$server_address")" <pipe.$signal >got.$signal &
    exec 9>pipe.$signal
    echo open >&9
    for _ in $(seq 200); do
      [ -s got.$signal ] && break
      sleep 0.05
    done
    [ "$(cat got.$signal)" = open ] || fail "no echo"
    stop_server "$server_pid" $signal
    exec 9>&-
  done
}

test_bad_addresses_are_named() {
  start_server "$bin/echo_server" --listen 127.0.0.1:0
  local s="$bin/echo_server"
  expect_error 1 "echo_server: listen tcp $server_address: address already in use" "$s" --listen "$server_address"
  expect_error 1 "echo_server: listen tcp \"nonsense\": the port is missing" "$s" --listen nonsense
  expect_error 1 "echo_server: listen tcp \"127.0.0.1:99999\": the port is not a number" "$s" --listen 127.0.0.1:99999
  expect_error 1 "echo_server: listen tcp \"no..name:80\": lookup no..name: " "$s" --listen no..name:80
  expect_error 1 "echo_server: listen tcp 192.0.2.1:0: cannot assign requested address" "$s" --listen 192.0.2.1:0
  stop_server "$server_pid"
}

# covers F85 L162: what the system may say at any time is no error. Every other accept was aborted, every third call
# of the rest was interrupted.
test_aborted_and_interrupted_calls_are_repeated() {
  command -v strace >/dev/null || { echo "skipped: no strace"; return 0; }
  start_server "$bin/echo_server" --listen 127.0.0.1:0 --workers 2
  strace -f -p "$server_pid" -o trace -e trace=accept4,read,sendto,epoll_wait \
    -e inject=accept4:error=ECONNABORTED:when=1+2 -e inject=read,sendto,epoll_wait:error=EINTR:when=1+3 2>strace.err &
  local strace_pid=$!
  for _ in $(seq 100); do
    grep -q attached strace.err && break
    kill -0 $strace_pid 2>/dev/null || { echo "skipped: $(cat strace.err)"; stop_server "$server_pid"; return 0; }
    sleep 0.05
  done
  timeout 60 "$bin/echo_load" --connect "$server_address" --connections 20 --seconds 0.5 --size 1-50000 >table ||
    fail "$(cat table)"
  [ "$(grep -c 'ECONNABORTED.*INJECTED' trace)" -ge 10 ] || fail "nothing aborted"
  [ "$(grep -c 'EINTR.*INJECTED' trace)" -ge 20 ] || fail "nothing interrupted"
  kill $strace_pid
  wait $strace_pid
  stop_server "$server_pid"
  [ -s "$server_err" ] && fail "complained: $(cat "$server_err")"
  return 0
}

# An idle server makes no system call.
test_idle_is_idle() {
  [ "${WEFT_SANITIZE:-}" != thread ] || { echo "skipped: ThreadSanitizer has a thread that ticks"; return 0; }
  command -v strace >/dev/null || { echo "skipped: no strace"; return 0; }
  start_server "$bin/echo_server" --listen 127.0.0.1:0
  timeout 20 "$bin/echo_load" --connect "$server_address" --connections 10 --seconds 0.2 >table || fail "$(cat table)"
  sleep 4  # the acceptor is woken twice within two seconds, for its stack's sake, and the monitor watches for one after the last work
  strace -f -p "$server_pid" -o trace 2>strace.err &
  local strace_pid=$!
  for _ in $(seq 100); do
    grep -q attached strace.err && break
    kill -0 $strace_pid 2>/dev/null || { echo "skipped: $(cat strace.err)"; stop_server "$server_pid"; return 0; }
    sleep 0.05
  done
  sleep 2
  kill $strace_pid
  wait $strace_pid
  # What each thread waits in is listed once, as unfinished or restarted; more would be activity.
  local calls
  calls=$(grep -c -v -E '<(unfinished|detached)|restart_syscall|resumed|strace: |^[0-9]+ +(futex|epoll_wait|rt_sigtimedwait)\(' trace)
  [ "$calls" = 0 ] && [ "$(wc -l <trace)" -le 16 ] || fail "$(cat trace)"
  stop_server "$server_pid"
}

# covers F86: the queue of a server that has run out of descriptors waits, and the server neither spins nor dies.
test_too_few_descriptors_make_clients_wait() {
  start_server bash -c "ulimit -n 24; exec '$bin/echo_server' --listen 127.0.0.1:0"
  local port clients=40 i
  port=$(port_of "$server_address")
  mkfifo release
  exec 9<>release
  for i in $(seq $clients); do
    { echo "client $i" && read -r _ <&9; } | timeout 60 nc -N 127.0.0.1 "$port" >out.$i &
  done
  for _ in $(seq 200); do
    [ -s "$server_err" ] && break
    sleep 0.05
  done
  grep -q '^echo_server: accept: Too many open files$' "$server_err" || fail "no word of it: $(cat "$server_err")"
  local before after
  before=$(awk '{print $14 + $15}' "/proc/$server_pid/stat")
  sleep 1
  after=$(awk '{print $14 + $15}' "/proc/$server_pid/stat")
  [ $((after - before)) -le 20 ] || fail "spins: $((after - before)) ticks in a second"
  [ "$(wc -l <"$server_err")" -le 4 ] || fail "too many lines: $(wc -l <"$server_err")"
  for i in $(seq $clients); do echo >&9; done
  for _ in $(seq 400); do
    local served=0
    for i in $(seq $clients); do [ "$(cat out.$i)" = "client $i" ] && served=$((served + 1)); done
    [ $served = $clients ] && break
    sleep 0.05
  done
  exec 9>&-
  [ $served = $clients ] || fail "served only $served"
  stop_server "$server_pid"
}

run_tests
