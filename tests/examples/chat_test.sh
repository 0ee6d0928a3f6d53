#!/bin/bash
. "$(dirname "$0")/lib.sh"

# A client is a descriptor of this shell.
connect() { # connect FD
  eval "exec $1<>/dev/tcp/127.0.0.1/$(port_of "$server_address")" || fail "cannot connect"
  hear "$1" "* who are you?"
}

join() { # join FD NICK
  connect "$1"
  say "$1" "$2"
  hear "$1" "* $2 is here"
}

say() { printf '%s\n' "$2" >&"$1"; } # say FD LINE

next_line() { # next_line FD: sets line
  IFS= read -r -t 30 line <&"$1" || fail "no line on $1: $?"
}

hear() { # hear FD LINE: the next one is that
  local line
  next_line "$1"
  [ "$line" = "$2" ] || fail "$1 hears '$line' instead of '$2'"
}

hear_the_end() { # hear_the_end FD
  local line
  IFS= read -r -t 30 line <&"$1"
  [ $? = 1 ] || fail "$1 hears '$line' instead of the end"
}

stop_quiet_server() { # stop_quiet_server [SIGNAL]
  stop_server "$server_pid" "${1:-TERM}"
  [ -s "$server_err" ] && fail "complained: $(cat "$server_err")"
  return 0
}

test_lines_go_to_all_others() {
  local workers
  for workers in 1 2 4; do
    start_server "$bin/chat" --listen 127.0.0.1:0 --workers $workers
    join 3 anna
    join 4 bert
    hear 3 "* bert is here"
    join 5 cora
    hear 3 "* cora is here"
    hear 4 "* cora is here"
    say 3 "hello, you two"
    hear 4 "anna: hello, you two"
    hear 5 "anna: hello, you two"
    printf 'one\r\n\ntwo\n' >&4  # as telnet sends it; an empty line is nothing
    hear 3 "bert: one"
    hear 3 "bert: two"
    say 3 /who
    hear 3 "* here: anna bert cora"
    say 5 /quit
    hear 3 "* cora has left"
    hear 5 "bert: one"
    hear 5 "bert: two"
    hear_the_end 5
    stop_quiet_server
    exec 3>&- 4>&- 5>&-
  done
}

test_nicks() {
  start_server "$bin/chat" --listen 127.0.0.1:0
  join 3 anna
  connect 4
  say 4 anna
  hear 4 "* anna is taken"
  for nick in 'two words' '' "$(printf '%021d' 0)" '/nick' '/nick Ä' 'a/b'; do
    say 4 "$nick"
    hear 4 "* a nick is 1 to 20 letters, digits, - and _"
  done
  say 4 /who
  hear 4 "* here: anna"
  say 4 "/nick bert"
  hear 4 "* bert is here"
  hear 3 "* bert is here"
  say 4 "/nick Bert_2"
  hear 3 "* bert is now Bert_2"
  hear 4 "* bert is now Bert_2"
  say 4 "/nick anna"
  hear 4 "* anna is taken"
  say 4 /help
  hear 4 "* there are /nick NAME, /who and /quit"
  say 4 hello
  hear 3 "Bert_2: hello"
  join 5 bert  # free again
  connect 6
  say 6 /quit  # no member yet: nobody hears of it
  hear_the_end 6
  hear 3 "* bert is here"
  say 5 /quit
  hear 3 "* bert has left"
  stop_quiet_server
}

test_long_lines_and_garbage_are_their_senders_business() {
  start_server "$bin/chat" --listen 127.0.0.1:0
  join 3 anna
  join 4 bert
  hear 3 "* bert is here"
  say 3 "$(printf '%01000d' 0)"
  hear 4 "anna: $(printf '%01000d' 0)"
  say 3 "$(printf '%01001d' 0)"
  hear 3 "* a line is at most 1000 bytes long"
  { head -c 300000 /dev/urandom | tr '\n' x; echo; } >&3
  hear 3 "* a line is at most 1000 bytes long"
  printf 'a\0b\033[31m\377\n' >&3
  hear 4 "$(printf 'anna: a?b?[31m\377')"
  # An endless line ends with its client.
  exec 5<>"/dev/tcp/127.0.0.1/$(port_of "$server_address")"
  head -c 300000 /dev/zero >&5
  exec 5>&-
  say 4 done
  hear 3 "bert: done"
  stop_quiet_server
}

test_a_client_that_ends_its_stream_hears_what_it_asked_for() {
  start_server "$bin/chat" --listen 127.0.0.1:0
  join 3 anna
  printf 'bert\nhello\n/who\nlast' | timeout 30 nc -N 127.0.0.1 "$(port_of "$server_address")" >got || fail "nc: $?"
  printf '%s\n' "* who are you?" "* bert is here" "* here: anna bert" | diff - got || fail "other answers"
  hear 3 "* bert is here"
  hear 3 "bert: hello"
  hear 3 "bert: last"
  hear 3 "* bert has left"
  stop_quiet_server
}

# A descriptor that is closed with bytes unread resets its connection.
test_a_reset_costs_its_client_only() {
  start_server "$bin/chat" --listen 127.0.0.1:0
  local i
  join 3 anna
  join 4 bert
  hear 3 "* bert is here"
  for i in 1 2 3; do
    join 5 cora
    hear 3 "* cora is here"
    hear 4 "* cora is here"
    say 3 "a line that cora does not read"
    hear 4 "anna: a line that cora does not read"
    exec 5>&-
    hear 3 "* cora has left"
    hear 4 "* cora has left"
  done
  say 4 hello
  hear 3 "bert: hello"
  stop_quiet_server
}

# What cora does not read fills the buffers of the system, then her channel. Bert reads all the while; he is never more
# behind than a round has lines, and is never dropped. Dora has to wait for a place, which is that of cora.
test_a_slow_reader_is_dropped_and_nobody_waits_for_it() {
  local workers text line round dropped
  text=$(printf '%0900d' 0)
  for workers in 1 2 4; do
    start_server "$bin/chat" --listen 127.0.0.1:0 --backlog 8 --rate 1000000 --clients 3 --workers $workers
    join 3 anna
    join 4 bert
    hear 3 "* bert is here"
    join 5 cora
    hear 3 "* cora is here"
    hear 4 "* cora is here"
    dropped=
    for round in $(seq 2000); do
      printf '%s\n' "$text" "$text" "$text" "$text" >&3
      for _ in 1 2 3 4; do
        next_line 4
        if [ "$line" = "* cora reads too slowly and is dropped" ]; then
          dropped=yes
          next_line 4
        fi
        [ "$line" = "anna: $text" ] || fail "bert hears $line"
      done
      [ -n "$dropped" ] && break
    done
    [ -n "$dropped" ] || fail "cora is still there"
    hear 3 "* cora reads too slowly and is dropped"
    join 6 dora
    hear 3 "* dora is here"
    hear 4 "* dora is here"
    timeout 30 cat <&5 >cora || fail "cora has no end: $?"
    [ "$(grep -c '^anna: 0*$' cora)" -gt 8 ] || fail "cora heard $(wc -l <cora) lines"
    say 4 /who
    hear 4 "* here: anna bert dora"
    say 4 "at last"
    hear 3 "bert: at last"
    stop_quiet_server
    exec 3>&- 4>&- 5>&- 6>&-
  done
}

test_a_flood_is_slowed_down() {
  start_server "$bin/chat" --listen 127.0.0.1:0 --rate 10
  join 3 anna
  join 4 bert
  local i start=${EPOCHREALTIME/[.,]/}
  for i in $(seq 30); do say 4 "$i"; done
  hear 3 "* bert is here"
  for i in $(seq 30); do hear 3 "bert: $i"; done
  # Ten or eleven at once, then ten a second.
  [ $((${EPOCHREALTIME/[.,]/} - start)) -ge 1500000 ] || fail "30 lines in $((${EPOCHREALTIME/[.,]/} - start)) us"
  stop_quiet_server
}

test_both_signals_see_everybody_off() {
  local signal
  for signal in INT TERM; do
    start_server "$bin/chat" --listen 127.0.0.1:0
    join 3 anna
    join 4 bert
    connect 5
    hear 3 "* bert is here"
    stop_quiet_server $signal
    hear 3 "* the chat is closed"
    hear_the_end 3
    hear 4 "* the chat is closed"
    hear_the_end 4
    hear_the_end 5
    exec 3>&- 4>&- 5>&-
  done
}

test_bad_addresses_are_named() {
  start_server "$bin/chat" --listen 127.0.0.1:0
  expect_error 1 "chat: listen tcp $server_address: address already in use" "$bin/chat" --listen "$server_address"
  expect_error 1 "chat: listen tcp \"here\": the port is missing" "$bin/chat" --listen here
  expect_error 2 "chat: bad value for --backlog: 0" "$bin/chat" --backlog 0
  stop_quiet_server
}

run_tests
