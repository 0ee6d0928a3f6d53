#!/bin/bash
# Clients and servers that nobody here wrote, through the proxies: curl, nginx, Python's http.server, PostgreSQL, Redis,
# dig, socat. Who is not installed is skipped by name; .ci/setup clients installs them.
. "$(dirname "$0")/../examples/lib.sh"

# need PROGRAM...: skips the test unless all are there.
need() {
  local program
  for program in "$@"; do
    command -v "$program" >/dev/null || { echo "skipped: no $program"; exit 0; }
  done
}

# retry COMMAND...: until it succeeds, for up to 20 s.
retry() {
  local _
  for _ in $(seq 200); do
    "$@" >/dev/null 2>&1 && return 0
    sleep 0.1
  done
  fail "never succeeded: $*"
}

free_port() {
  python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

start_proxy() { # start_proxy TARGET [WORKERS]
  start_server "$bin/tcp_proxy" --listen 127.0.0.1:0 --connect "$1" --workers "${2:-2}"
}

fetch_through_proxy() { # fetch_through_proxy PORT: the file `page`, of the server there
  local workers i
  for workers in 1 2 4; do
    start_proxy "127.0.0.1:$1" $workers
    for i in 1 2 3; do
      timeout 30 curl -sS --fail -o "got$i" "http://$server_address/page" || fail "curl: $?"
      cmp page "got$i" || fail "other bytes"
    done
    # Several at once, and several requests a connection.
    timeout 60 curl -sS --fail -Z --parallel-max 20 "http://$server_address/page?[1-60]" -o 'many#1' || fail "curl -Z: $?"
    for i in $(seq 60); do cmp page "many$i" || fail "other bytes in $i"; done
    stop_server "$server_pid"
  done
}

test_curl_from_python_http_server() {
  need curl python3
  head -c 1500000 /dev/urandom >page
  local port
  port=$(free_port)
  python3 -m http.server --bind 127.0.0.1 "$port" >/dev/null 2>&1 &
  retry curl -sS --fail -o /dev/null "http://127.0.0.1:$port/page"
  fetch_through_proxy "$port"
}

test_curl_from_nginx() {
  local nginx
  nginx=$(PATH=$PATH:/usr/sbin command -v nginx) || { echo "skipped: no nginx"; return 0; }
  need curl python3
  head -c 5000000 /dev/urandom >page
  local port
  port=$(free_port)
  cat >nginx.conf <<END
daemon off;
worker_processes 1;
pid $PWD/nginx.pid;
error_log $PWD/error.log;
user $(id -un) $(id -gn);
events {}
http {
  access_log off;
  client_body_temp_path $PWD/t1; proxy_temp_path $PWD/t2; fastcgi_temp_path $PWD/t3; uwsgi_temp_path $PWD/t4; scgi_temp_path $PWD/t5;
  server { listen 127.0.0.1:$port; root $PWD; }
}
END
  "$nginx" -p "$PWD" -c "$PWD/nginx.conf" >nginx.out 2>&1 &
  retry curl -sS --fail -o /dev/null "http://127.0.0.1:$port/page"
  fetch_through_proxy "$port"
}

test_redis_benchmark() {
  need redis-server redis-benchmark redis-cli python3
  local port through
  port=$(free_port)
  redis-server --port "$port" --bind 127.0.0.1 --save '' --appendonly no >redis.log 2>&1 &
  retry redis-cli -p "$port" ping
  start_proxy "127.0.0.1:$port"
  through=$(port_of "$server_address")
  timeout 120 redis-benchmark -h 127.0.0.1 -p "$through" -n 20000 -c 50 -P 4 -t set,get,lpush,lrange_100 --csv >table 2>&1 ||
    fail "$(tail -n 5 table)"
  grep -qi error table && fail "$(cat table)"
  [ "$(redis-cli -p "$through" llen mylist)" = "$(redis-cli -p "$port" llen mylist)" ] || fail "the list differs"
  cat table
  stop_server "$server_pid"
}

test_pgbench() {
  local initdb pg as=()
  initdb=$(command -v initdb || ls /usr/lib/postgresql/*/bin/initdb 2>/dev/null | tail -n 1)
  [ -n "$initdb" ] || { echo "skipped: no PostgreSQL server"; return 0; }
  pg=$(dirname "$(readlink -f "$initdb")")
  need python3
  # The server refuses to run as root.
  if [ "$(id -u)" = 0 ]; then
    id postgres >/dev/null 2>&1 || { echo "skipped: root, and no user postgres"; return 0; }
    chmod 755 .. . && mkdir data && chown postgres data && as=(setpriv --reuid postgres --regid postgres --clear-groups)
  fi
  local port through
  port=$(free_port)
  "${as[@]}" "$pg/initdb" -D "$PWD/data" -A trust -U tester >initdb.log 2>&1 || fail "$(tail -n 3 initdb.log)"
  "${as[@]}" "$pg/postgres" -D "$PWD/data" -p "$port" -c listen_addresses=127.0.0.1 -c unix_socket_directories="$PWD/data" \
    -c fsync=off >pg.log 2>&1 &
  local server=$!
  retry "$pg/pg_isready" -h 127.0.0.1 -p "$port"
  start_proxy "127.0.0.1:$port"
  through=$(port_of "$server_address")
  local at=(-h 127.0.0.1 -p "$through" -U tester)
  [ "$(timeout 30 psql "${at[@]}" -d postgres -Atc "select sum(length(repeat('x', 1000))) from generate_series(1, 20000)")" = \
    20000000 ] || fail "psql"
  # Rows enough to stream both ways.
  timeout 60 "$pg/pgbench" "${at[@]}" -i -s 2 -q postgres >init.log 2>&1 || fail "$(tail -n 3 init.log)"
  timeout 60 "$pg/pgbench" "${at[@]}" -c 16 -j 2 -t 100 postgres >table 2>&1 || fail "$(cat table)"
  grep -q 'number of transactions actually processed: 1600/1600' table || fail "$(cat table)"
  grep -E 'tps|failed' table
  stop_server "$server_pid"
  kill -INT $server
  wait $server
}

test_socat_on_a_local_socket() {
  need socat
  head -c 3000000 /dev/urandom >sent
  start_server "$bin/echo_server" --listen "unix:$PWD/echo.socket"
  timeout 30 socat -t 20 - "UNIX-CONNECT:$PWD/echo.socket" <sent >got || fail "socat: $?"
  cmp sent got || fail "other bytes"
  stop_server "$server_pid"
  [ ! -e echo.socket ] || fail "the socket's file was left"
  start_server "$bin/echo_server" --listen "unix:@weft-test-$$"
  timeout 30 socat -t 20 - "ABSTRACT-CONNECT:weft-test-$$" <sent >got || fail "socat: $?"
  cmp sent got || fail "other bytes"
  stop_server "$server_pid"
}

test_dig_through_the_udp_forwarder() {
  need dig python3
  # A name server that knows one name, of the bare protocol.
  cat >names.py <<'END'
import socket, struct, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("127.0.0.1", 0))
print(s.getsockname()[1], flush=True)
while True:
    q, peer = s.recvfrom(4096)
    end = q.index(b"\0", 12) + 5
    answer = b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 60, 4) + bytes([192, 0, 2, 53])
    s.sendto(q[:2] + b"\x81\x80\0\1\0\1\0\0\0\0" + q[12:end] + answer, peer)
END
  python3 names.py >port &
  retry test -s port
  start_server "$bin/udp_forwarder" --listen 127.0.0.1:0 --to "127.0.0.1:$(cat port)"
  local i
  for i in $(seq 20); do
    [ "$(timeout 10 dig +short +tries=1 +noedns @127.0.0.1 -p "$(port_of "$server_address")" "name$i.test" A)" = 192.0.2.53 ] ||
      fail "query $i"
  done
  stop_server "$server_pid"
}

run_tests
