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

# build_all makes the release build, or trusts the one of --build; the peers in Go and Rust are made where there are
# compilers for them.
build_all() {
  if [ -z "${prebuilt:-}" ]; then
    [ ! -x "$root/.ci/setup" ] || "$root/.ci/setup" bench >&2
    (
      cd "$root"
      cmake --preset release
      cmake --build --preset release --target bench_all echo_server tcp_proxy
    ) > "$work/build.log" 2>&1 || { cat "$work/build.log" >&2; die "the build failed"; }
  fi
  build_go
  build_tokio
}

# built_from PROGRAM SOURCE...: it is there, and newer than all of them.
built_from() {
  local source
  [ -x "$1" ] || return 1
  for source in "${@:2}"; do [ "$1" -nt "$source" ] || return 1; done
}

build_go() {
  local peer name sources
  command -v go > /dev/null || return 0
  for peer in "$root"/bench/peers/*.go; do
    name=$(basename "$peer" .go)
    sources=("$peer")
    case $name in
      samples) continue ;;
      echo | proxy) ;;
      *) sources+=("$root/bench/peers/samples.go") ;;
    esac
    built_from "$build/bench/${name}_go" "${sources[@]}" && continue
    go build -o "$build/bench/${name}_go" "${sources[@]}" || die "$name.go doesn't build"
  done
}

# build_tokio works on a copy: cargo writes beside the manifest. It has to fetch tokio; where it can't, that peer is
# missing.
build_tokio() {
  local at=$build/bench/tokio from=$root/bench/peers/tokio
  command -v cargo > /dev/null || return 0
  built_from "$build/bench/echo_tokio" "$from/Cargo.toml" "$from/src/main.rs" && return
  mkdir -p "$at"
  cp -r "$from/." "$at"
  if timeout 300 cargo build --release --manifest-path "$at/Cargo.toml" --target-dir "$at/target" > "$at/log" 2>&1; then
    cp "$at/target/release/echo_tokio" "$build/bench/echo_tokio"
  else
    echo "${0##*/}: tokio doesn't build here: $(tail -n 1 "$at/log") ($at/log)" >&2
    rm -f "$build/bench/echo_tokio"
  fi
}

# The echo servers, the ones to compare with first: side, program, the most workers that it has a use for.
servers="
bare        bench/echo_epoll         64
weft        examples/echo_server     64
go          bench/echo_go            64
bare-edge   bench/echo_epoll_edge    64
asio        bench/echo_asio          64
asio-coro   bench/echo_asio_coro     64
boost-fiber bench/echo_boost_fiber   1
libuv       bench/echo_uv            1
tokio       bench/echo_tokio         64
st          bench/echo_st            1
"
main_sides='bare weft go'

# command_of SIDE WORKERS [--slow | --wait] sets `command`. The example has no such options: the bench's own server does.
command_of() {
  local program
  program=$(awk -v side="$1" '$1 == side { print $2 }' <<< "$servers")
  [ "$1" != weft ] || [ $# -lt 3 ] || program=bench/echo
  command=("$build/$program" --listen 127.0.0.1:0 --workers "$2" "${@:3}")
}

# sides WORKERS [SIDE...] prints the servers that there are, and that can use so many workers; all, or those named.
sides() {
  local side program most wanted=" ${*:2} "
  while read -r side program most; do
    [ -n "$side" ] && [ -x "$build/$program" ] && [ "$most" -ge "$1" ] || continue
    [ $# -eq 1 ] || [[ $wanted == *" $side "* ]] || continue
    echo "$side"
  done <<< "$servers"
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

# field NAME LINE: the value of NAME=VALUE in what a load printed.
field() {
  local pair
  for pair in $2; do
    [ "${pair%%=*}" != "$1" ] || echo "${pair#*=}"
  done
}
