# What bench/run and bench/syscalls share: building, and echo servers that run beside a load. To be sourced.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build=$root/build/release
work=$(mktemp -d)
server=
trap 'stop_server; rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

die() {
  echo "${0##*/}: $*" >&2
  exit 1
}

# need_value OPTION [VALUE]: an option that takes a value has one; need_number: and it is a number.
need_value() {
  [ $# -ge 2 ] || die "$1 needs a value (--help)"
}
need_number() {
  need_value "${@:1:2}"
  [[ $2 =~ ^[0-9]+(\.[0-9]+)?$ ]] || die "$1 $2: not a number"
}

# build_all makes the release build, or trusts the one of --build; Go's programs are made where there is a Go.
build_all() {
  if [ -z "${prebuilt:-}" ]; then
    [ ! -x "$root/.ci/setup" ] || "$root/.ci/setup" build
    (
      cd "$root"
      cmake --preset release
      cmake --build --preset release --target bench_all echo_server
    ) > "$work/build.log" 2>&1 || { cat "$work/build.log" >&2; die "the build failed"; }
  fi
  if command -v go > /dev/null; then
    local peer name sources
    for peer in "$root"/bench/peers/*.go; do
      name=$(basename "$peer" .go)
      sources=("$peer")
      case $name in
        samples) continue ;;
        echo) ;;
        *) sources+=("$root/bench/peers/samples.go") ;;
      esac
      go build -o "$build/bench/${name}_go" "${sources[@]}" || die "$name.go doesn't build"
    done
  fi
}

# command_of SIDE WORKERS sets `command`.
command_of() {
  case $1 in
    weft) command=("$build/examples/echo_server" --listen 127.0.0.1:0 --workers "$2") ;;
    bare) command=("$build/bench/echo_epoll" --listen 127.0.0.1:0 --loops "$2") ;;
    go) command=("$build/bench/echo_go" --listen 127.0.0.1:0 --workers "$2") ;;
  esac
}

# sides prints the servers that there are, the one to compare with first.
sides() {
  printf '%s\n' bare weft
  [ ! -x "$build/bench/echo_go" ] || echo go
}

# start_server COMMAND... sets `server`, its PID, and `endpoint`. The command may be a wrapper that stays the parent, if
# it writes the server's PID to $work/pid.
start_server() {
  local line
  rm -f "$work/pid"
  exec {server_output}< <(exec "$@")
  server=$!
  read -r -t 20 line <&"$server_output" || die "no 'listening on' from $*"
  case $line in
    'listening on '*) endpoint=${line#listening on } ;;
    *) die "$*: unexpected line: $line" ;;
  esac
}

# stop_server ends the server and waits for it; one that doesn't end within 5 s is killed, with a word about it.
stop_server() {
  [ -n "$server" ] || return 0
  local target=$server i
  [ ! -s "$work/pid" ] || target=$(cat "$work/pid")
  kill -TERM "$target" 2> /dev/null || true
  for ((i = 0; i < 250; ++i)); do
    kill -0 "$server" 2> /dev/null || break
    sleep 0.02
  done
  if kill -0 "$server" 2> /dev/null; then
    echo "${0##*/}: the server didn't end on SIGTERM within 5 s; killed" >&2
    kill -KILL "$target" "$server" 2> /dev/null || true
  fi
  wait "$server" 2> /dev/null || true
  exec {server_output}<&-
  server=
}

# field NAME LINE: the value of NAME=VALUE in what load_epoll printed.
field() {
  local pair
  for pair in $2; do
    [ "${pair%%=*}" != "$1" ] || echo "${pair#*=}"
  done
}
