# The network loads of bench/run: which there are, and how their sides take turns. To be sourced after servers.sh, with
# `cpus`, `pairs`, `few_pairs`, `seconds`, `full` and `samples` set.

sample() {
  printf '%s\t%s\t%s\t%s\n' "$@" >> "$samples"
}

# samples_of SUBJECT SIDE CONNECTIONS LINE: what a load printed. CONNECTIONS may be '-': they come and go.
samples_of() {
  local subject=$1 side=$2 connections=$3 line=$4 metric name
  while read -r name metric; do
    sample "$subject" "$metric" "$side" "$(field "$name" "$line")"
  done << 'END'
cpu_ns CPU ns/request
rps requests/s
p50_us p50 us
p99_us p99 us
p999_us p99.9 us
memory_kib memory KiB
load_busy load's CPU
END
  [ "$connections" != - ] || return 0
  sample "$subject" 'added KiB/connection' "$side" \
    "$(awk -v kib="$(field added_kib "$line")" -v n="$connections" 'BEGIN { printf "%.3f", kib / n }')"
}

# connections_of COUNT: in words.
connections_of() {
  echo "$1 connection$([ "$1" -eq 1 ] || echo s)"
}

# echo_round SUBJECT SIDE WORKERS CONNECTIONS SERVER_OPTION LOAD_OPTION...: a fresh server, so that the luck of one
# process's memory layout is noise within a row and not a bias of it. One worker has a CPU of its own, and the load
# another; more of them share all CPUs with the load.
echo_round() {
  local subject=$1 side=$2 workers=$3 connections=$4 option=$5 line server_cpus=${cpus[0]} load_cpus=${cpus[1]} command
  shift 5
  [ "$workers" -eq 1 ] || server_cpus=$all_cpus load_cpus=$all_cpus
  command_of "$side" "$workers" ${option:+"$option"}
  start_server taskset -c "$server_cpus" "${command[@]}"
  line=$(taskset -c "$load_cpus" "$build/bench/load_epoll" --connect "$endpoint" --server-pid "$server" "$@") ||
    die "$subject: the load against $side failed: $line"
  stop_server
  samples_of "$subject" "$side" "$connections" "$line"
}

# echo_row SUBJECT WORKERS CONNECTIONS SERVER_OPTION PAIRS SIDES LOAD_OPTION...: every second pair runs backwards, so
# that being measured after another side is nobody's fate. Of the sides beyond the main ones there are few pairs.
echo_row() {
  local subject=$1 workers=$2 connections=$3 option=$4 count=$5 all=$6 pair side order time=$seconds
  shift 6
  # Thousands of connections take a while to be served only a few times each.
  [ "${connections/-/0}" -lt 8000 ] || time=$(awk -v s="$seconds" 'BEGIN { print s < 0.5 ? 0.5 : s }')
  for ((pair = 1; pair <= count; ++pair)); do
    # shellcheck disable=SC2086 # lists of sides
    order=$(sides "$workers" $all)
    [ "$pair" -le "$few_pairs" ] || [ -n "$full" ] || order=$(sides "$workers" $main_sides)
    ((pair % 2)) || order=$(tac <<< "$order")
    for side in $order; do
      progress "$subject: pair $pair of $count, $side"
      echo_round "$subject" "$side" "$workers" "$connections" "$option" --warmup 0.1 --seconds "$time" "$@"
    done
  done
}

# some_sides take part in the rows that are not the headline's, unless everybody does.
every_side=$(awk 'NF { print $1 }' <<< "$servers")
# The edge-triggered loop has no timer.
slow_sides=$(awk 'NF && $1 != "bare-edge" { print $1 }' <<< "$servers")
some_sides=$main_sides
[ -z "$full" ] || some_sides=$every_side

# measure_echo: 64 bytes, the load that the budgets are about.
measure_echo() {
  local connections count which
  for connections in 1 64 1024 8000 10000; do
    count=$few_pairs which=$main_sides
    case $connections in 64 | 1024) count=$pairs which=$every_side ;; esac
    [ -z "$full" ] || which=$every_side
    echo_row "echo 64 B, $(connections_of "$connections")" 1 "$connections" '' "$count" "$which" \
      --connections "$connections"
  done
  for connections in 64 1024; do
    echo_row "echo 64 B, $connections connections, two workers" 2 "$connections" '' "$few_pairs" \
      "$some_sides" --connections "$connections"
  done
}

measure_sizes() {
  local size name connections
  for size in 1024 16384; do
    name="$((size / 1024)) KiB"
    for connections in 1 64 1024 10000; do
      echo_row "echo $name, $(connections_of "$connections")" 1 "$connections" '' "$few_pairs" "$some_sides" \
        --size "$size" --connections "$connections"
    done
  done
}

measure_idle() {
  echo_row '10000 idle, 64 active connections' 1 10064 '' "$few_pairs" "$some_sides" --idle 10000 --warmup 3.5
  # What weft's connections hold while they have nothing to read, with the buffer in an inner call.
  local pair
  for ((pair = 1; pair <= few_pairs; ++pair)); do
    echo_round '10000 idle, in wait_readable' weft 1 10001 --wait --idle 10000 --connections 1 --warmup 3.5 \
      --seconds 0.1
  done
}

measure_churn() {
  echo_row 'connect, echo, close; 64 at a time' 1 - '' "$few_pairs" "$some_sides" --churn
  echo_row 'connect, echo, close; 64 at a time, two workers' 2 - '' "$few_pairs" "$some_sides" --churn
}

measure_pipeline() {
  echo_row 'pipeline of 64, 64 B, 4 connections' 1 4 '' "$few_pairs" "$some_sides" --depth 64 --connections 4
  echo_row 'pipeline of 8, 1 KiB, 64 connections' 1 64 '' "$few_pairs" "$some_sides" --depth 8 --size 1024
}

# measure_slow: the latencies are those of the other requests.
measure_slow() {
  local which=$some_sides
  [ -z "$full" ] || which=$slow_sides
  echo_row '1 % wait for 10 ms, 64 connections' 1 64 --slow "$few_pairs" "$which" --slow wait=0.01
  echo_row '1 % wait for 10 ms, 1024 connections' 1 1024 --slow "$few_pairs" "$which" --slow wait=0.01 \
    --connections 1024
  # In the open loop: nobody asks less because an answer is late.
  echo_row '1 in 1000 computes for 10 ms, 64 connections, open loop at 10000/s, two workers' 2 64 --slow \
    "$few_pairs" "$which" --slow compute=0.001 --rate 10000 --sleep
}

# capacity prints the bare loop's requests per second, rounded down to thousands: the fixed rates are shares of it.
capacity() {
  local command line best=0 i rps
  for i in 1 2 3; do
    command_of bare 1
    start_server taskset -c "${cpus[0]}" "${command[@]}"
    line=$(taskset -c "${cpus[1]}" "$build/bench/load_epoll" --connect "$endpoint" --seconds "$seconds") || return 1
    stop_server
    rps=$(field rps "$line")
    [ "${rps%.*}" -le "$best" ] || best=${rps%.*}
  done
  echo "$((best / 1000 * 1000))"
}

measure_open() {
  local most share
  most=$(capacity) || die 'the load against the bare loop failed'
  for share in 25 50 75; do
    echo_row "open loop at $share % of the bare loop's rate, 64 connections" 1 64 '' "$few_pairs" "$some_sides" \
      --rate "$((most * share / 100 + 1))"
  done
  sample 'open loop' 'requests/s at 100 %' bare "$most"
}

# proxy_round SUBJECT SIDE CONNECTIONS: the load listens for what the proxy passes on.
proxy_round() {
  local subject=$1 side=$2 line sink command in out
  coproc LOAD { exec taskset -c "${cpus[1]}" "$build/bench/load_stream" --connections "$3" --seconds "$seconds"; }
  local load=$LOAD_PID
  exec {out}<&"${LOAD[0]}" {in}>&"${LOAD[1]}"
  read -r -t 20 sink <&"$out" || die 'load_stream did not start'
  command=("$build/$(awk -v side="$side" '$1 == side { print $2 }' <<< "$proxies")" --listen 127.0.0.1:0 --workers 1
    --connect "${sink#listening on }")
  start_server taskset -c "${cpus[0]}" "${command[@]}"
  echo "$endpoint $server" >&"$in"
  read -r -t 60 line <&"$out" || die "$subject: the load through $side failed"
  exec {out}<&- {in}>&-
  wait "$load" || die "$subject: the load through $side failed"
  stop_server
  sample "$subject" 'Gbit/s' "$side" "$(field gbit_s "$line")"
  sample "$subject" 'CPU ns/KiB' "$side" "$(field cpu_ns_kib "$line")"
  sample "$subject" "load's CPU" "$side" "$(field load_busy "$line")"
}

proxies="bare bench/proxy_epoll
weft examples/tcp_proxy
go   bench/proxy_go"

measure_proxy() {
  local connections pair side program order subject
  for connections in 1 64; do
    subject="proxy, $(connections_of "$connections")"
    for ((pair = 1; pair <= few_pairs; ++pair)); do
      order=$(while read -r side program; do [ ! -x "$build/$program" ] || echo "$side"; done <<< "$proxies")
      ((pair % 2)) || order=$(tac <<< "$order")
      for side in $order; do
        progress "$subject: pair $pair of $few_pairs, $side"
        proxy_round "$subject" "$side" "$connections"
      done
    done
  done
}

# measure_syscalls: in a pass of its own, since strace slows everything down. What has a budget is counted often enough
# for a verdict.
measure_syscalls() {
  local round which=()
  command -v strace > /dev/null || return 0
  for round in 1 2 3 4 5; do
    progress "system calls, round $round of 5"
    if ! "$root/bench/syscalls" --build "$build" --idle 0 --requests 20000 --samples "$samples" "${which[@]}" > /dev/null
    then
      echo 'system calls were not counted' >&2
      return 0
    fi
    which=(bare weft)
  done
}
