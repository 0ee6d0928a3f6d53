// A chat: what a client says goes to all others, over a channel for each. Nobody waits for a client that reads too
// slowly: when its channel is full, it is dropped.
#include "support/flags.hpp"
#include "support/on_stop.hpp"

#include <weft/weft.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <map>
#include <memory>
#include <mutex>
#include <stop_token>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace {

using weft::net::tcp_conn;
using message = std::shared_ptr<const std::string>;  // one text for all who get it

struct settings {
  unsigned backlog = 256;
  unsigned rate = 20;
};

constexpr std::size_t longest_line = 1000;
constexpr std::size_t longest_nick = 20;
constexpr const char* nick_rule = "* a nick is 1 to 20 letters, digits, - and _";

message make_message(const std::string& text) { return std::make_shared<const std::string>(text + "\n"); }

// Only what a terminal shows as it is: no escapes.
bool is_control(char c) { return (c >= 0 && c < ' ') || c == '\x7f'; }

bool is_nick(std::string_view text) {
  constexpr std::string_view allowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_";
  return !text.empty() && text.size() <= longest_nick && text.find_first_not_of(allowed) == std::string_view::npos;
}

// client is one as the others see it. It is out once its inbox is closed.
struct client {
  explicit client(std::size_t backlog) : inbox(backlog) {}

  const weft::channel<message> inbox;  // what is to be written to it
  std::stop_source dropped;            // ends what it waits in
  // Guarded by the room's mutex.
  std::string nick;  // empty: it has not said yet
  bool out = false;
};

// room is who is there. Nothing that is done under its mutex waits, so everybody gets the lines in the same order.
class room {
 public:
  // handle does what a line of a client asks for. False: it goes, or is out already.
  bool handle(const std::shared_ptr<client>& c, std::string_view line) {
    constexpr std::string_view rename = "/nick ";
    const std::scoped_lock lock(mutex_);
    if (c->out || closed_ || line == "/quit") return false;
    if (line == "/who") {
      tell_locked(*c, who_locked());
    } else if (line.starts_with(rename)) {
      name_locked(c, std::string(line.substr(rename.size())));
    } else if (c->nick.empty()) {
      name_locked(c, std::string(line));
    } else if (line.starts_with('/')) {
      tell_locked(*c, "* there are /nick NAME, /who and /quit");
    } else if (!line.empty()) {
      post_locked(c->nick + ": " + std::string(line), c.get());
    }
    return true;
  }

  void tell(client& c, const std::string& text) {
    const std::scoped_lock lock(mutex_);
    if (!c.out) tell_locked(c, text);
  }

  void leave(client& c) {
    const std::scoped_lock lock(mutex_);
    if (!c.out) remove_locked(c, " has left");
  }

  // close sees everybody off.
  void close(const std::string& text) {
    const std::scoped_lock lock(mutex_);
    closed_ = true;
    post_locked(text);
    for (const auto& [nick, c] : members_) put_out(*c);
    members_.clear();
  }

 private:
  static void put_out(client& c) {
    c.out = true;
    c.inbox.close();
  }

  // remove_locked REQUIRES: c is not out.
  void remove_locked(client& c, const char* why) {
    put_out(c);
    if (members_.erase(c.nick) != 0) post_locked("* " + c.nick + why);
  }

  void tell_locked(client& c, const std::string& text) {
    if (c.inbox.try_send(make_message(text))) return;
    c.dropped.request_stop();
    remove_locked(c, too_slow);
  }

  // post_locked tells all members but one. Those whose inbox is full are dropped, which is news for the others in turn.
  void post_locked(std::string text, const client* but = nullptr) {
    for (std::vector<std::string> news{std::move(text)}; !news.empty(); but = nullptr) {
      const message m = make_message(news.back());
      news.pop_back();
      std::erase_if(members_, [&](const auto& member) {
        client& c = *member.second;
        if (&c == but || c.inbox.try_send(m)) return false;
        c.dropped.request_stop();
        put_out(c);
        news.push_back("* " + c.nick + too_slow);
        return true;
      });
    }
  }

  void name_locked(const std::shared_ptr<client>& c, const std::string& nick) {
    if (!is_nick(nick)) return tell_locked(*c, nick_rule);
    if (members_.contains(nick)) return tell_locked(*c, "* " + nick + " is taken");
    members_.erase(c->nick);
    members_.emplace(nick, c);
    const std::string before = std::exchange(c->nick, nick);
    post_locked(before.empty() ? "* " + nick + " is here" : "* " + before + " is now " + nick);
  }

  std::string who_locked() const {
    std::string text = "* here:";
    for (const auto& member : members_) text += " " + member.first;
    return text;
  }

  static constexpr const char* too_slow = " reads too slowly and is dropped";

  weft::mutex mutex_;
  // Guarded by mutex_.
  std::map<std::string, std::shared_ptr<client>> members_;  // by nick
  bool closed_ = false;
};

// guest leaves the room at the end, whatever that is.
class guest {
 public:
  guest(room& all, client& c) : room_(all), client_(c) {}
  ~guest() {
    const weft::shield to_the_end;  // it may have been dropped, and the mutex may have to be waited for
    room_.leave(client_);
  }
  guest(const guest&) = delete;
  guest& operator=(const guest&) = delete;

 private:
  room& room_;
  client& client_;
};

// Handles what the client says, until it ends its stream, wants to go, or can't be read from.
void listen_to(room& all, const std::shared_ptr<client>& c, tcp_conn& conn, unsigned rate) {
  using clock = std::chrono::steady_clock;
  constexpr clock::duration burst = std::chrono::seconds(1);
  weft::io::buffered_reader in(conn);
  std::string line;
  clock::time_point due;
  all.tell(*c, "* who are you?");
  for (;;) {
    std::error_code error;
    if (in.read_line(line, longest_line, error)) {
      std::replace_if(line.begin(), line.end(), is_control, '?');
      if (!all.handle(c, line)) return;
    } else if (error == weft::errc::too_long) {
      all.tell(*c, "* a line is at most " + std::to_string(longest_line) + " bytes long");
      in.discard_until('\n', error);
    } else {
      return;
    }
    // So many lines a second, and as many at once after a silence. The rest stays with its sender, as TCP has it.
    due = std::max(due, clock::now() - burst) + burst / rate;
    weft::this_fiber::sleep_until(due);
  }
}

// Writes what comes into the inbox, lines that are there together at once, until it is closed and empty.
void write_to(const client& c, tcp_conn& conn) {
  weft::io::buffered_writer out(conn);
  for (const message& m : c.inbox) {
    out.write(*m);
    if (c.inbox.size() == 0) out.flush();
  }
}

void attend(room& all, tcp_conn conn, const settings& s) {
  constexpr int send_buffer = 64 * 1024;  // left to itself, the system keeps megabytes for a client that does not read
  constexpr auto farewell = std::chrono::seconds(2);
  conn.set_send_buffer(send_buffer);

  const auto self = std::make_shared<client>(s.backlog);
  const guest here(all, *self);
  const weft::stop_scope until_dropped(self->dropped.get_token());
  weft::task_group<> halves;  // what breaks one ends the other
  halves.spawn([&] {
    listen_to(all, self, conn, s.rate);
    all.leave(*self);
    conn.set_write_deadline(farewell);  // for what is still in its inbox
  });
  halves.spawn([&] {
    write_to(*self, conn);
    halves.request_stop();
  });
  halves.join();
}

}  // namespace

int main(int argc, char** argv) {
  std::string address = "127.0.0.1:7003";
  unsigned clients = 1000;
  settings s;
  weft::runtime_options options;
  support::flags("chat", "a chat over TCP, for nc or telnet: the first line is the nick; /nick NAME, /who, /quit.")
      .text("--listen", "HOST:PORT", "where to listen; port 0 lets the system choose", address)
      .number("--clients", "N", "connections at a time; further ones wait (1000)", clients, 1u, 1'000'000u)
      .number("--backlog", "N", "lines that a client may be behind before it is dropped (256)", s.backlog, 1u, 65'536u)
      .number("--rate", "N", "lines that a client may say each second (20)", s.rate, 1u, 1'000'000u)
      .number("--workers", "N", "fibers that run at the same time (0: one per CPU)", options.workers, 0u,
              weft::runtime::max_workers)
      .parse(argc, argv);
  support::raise_descriptor_limit();

  room all;  // outlives its clients: run returns after the last of them
  return support::report_errors("chat", [&] {
    return weft::run(
        [&] {
          weft::net::serve_options limits;
          limits.max_connections = clients;
          limits.on_accept_error = [](const std::error_code& error) {
            std::fprintf(stderr, "chat: accept: %s\n", error.message().c_str());
          };
          weft::net::server server(weft::net::listen_tcp(address), limits);
          const support::on_stop stop([&server] { server.close(); });
          std::printf("listening on %s\n", server.local_endpoint().to_string().c_str());
          std::fflush(stdout);
          server.serve([&](tcp_conn conn) { attend(all, std::move(conn), s); });
          all.close("* the chat is closed");
          server.drain(std::chrono::milliseconds(500));
        },
        options);
  });
}
