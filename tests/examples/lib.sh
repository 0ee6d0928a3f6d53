# What the tests of the examples share. Sourced with the directory of the built examples in $1.
# A test is a function named test_*; `run_tests` runs them all, each with a directory of its own, and ends what they
# started. Any command that fails without being asked about fails its test.
set -u

bin=$1
server_pid=
server_address=

fail() {
  echo "FAILED: $*" >&2
  exit 1
}

expect() { # expect WHAT COMMAND...
  local what=$1
  shift
  "$@" || fail "$what: $*"
}

# start_server COMMAND...: starts it and waits until it listens; sets server_pid and server_address.
start_server() {
  local out err
  out=$(mktemp server.out.XXXX) err=$out.err
  "$@" >"$out" 2>"$err" &
  server_pid=$!
  server_out=$out
  server_err=$err
  for _ in $(seq 400); do
    server_address=$(sed -n 's/^listening on //p' "$out")
    [ -n "$server_address" ] && return 0
    kill -0 "$server_pid" 2>/dev/null || break
    sleep 0.05
  done
  fail "does not listen: $* ($(cat "$err"))"
}

# wait_for_signals PID: waits until the program catches SIGINT. Before, it would be lost: a shell that is not
# interactive starts its background programs with SIGINT ignored. The shell itself, which it is at first, doesn't count.
wait_for_signals() {
  local caught
  for _ in $(seq 400); do
    caught=$(sed -n 's/^SigCgt:[^0-9a-f]*//p' "/proc/$1/status" 2>/dev/null)
    [ -n "$caught" ] && [ $((0x$caught & 2)) -ne 0 ] && ! [ "/proc/$1/exe" -ef /proc/$$/exe ] && return
    sleep 0.05
  done
  fail "doesn't wait for signals"
}

# stop_server PID [SIGNAL]: sends it and expects the exit status 0 within 20 s, and no process left.
stop_server() {
  kill -"${2:-TERM}" "$1"
  for _ in $(seq 400); do
    kill -0 "$1" 2>/dev/null || break
    sleep 0.05
  done
  kill -0 "$1" 2>/dev/null && fail "still runs after ${2:-TERM}"
  wait "$1"
  local status=$?
  [ $status = 0 ] || fail "ended with status $status after ${2:-TERM}"
}

port_of() { echo "${1##*:}"; }

# expect_error STATUS TEXT COMMAND...: it exits so, with exactly one line on standard error that has the text.
expect_error() {
  local status=$1 text=$2
  shift 2
  "$@" >error.out 2>error.err </dev/null
  local got=$?
  [ $got = "$status" ] || fail "$*: status $got instead of $status: $(cat error.err)"
  [ "$(wc -l <error.err)" = 1 ] || fail "$*: more or less than a line: $(cat error.err)"
  grep -qF -- "$text" error.err || fail "$*: says $(cat error.err), not: $text"
}

run_tests() {
  local name failed=0 top
  top=$(mktemp -d)
  for name in $(declare -F | sed -n 's/^declare -f \(test_\)/\1/p'); do
    mkdir "$top/$name"
    (
      cd "$top/$name" || exit 1
      trap 'jobs=$(jobs -p); [ -z "$jobs" ] || kill -KILL $jobs 2>/dev/null' EXIT
      "$name"
    )
    if [ $? = 0 ]; then
      echo "ok   $name"
    else
      echo "FAIL $name"
      failed=1
    fi
  done
  rm -rf "$top"
  exit $failed
}
