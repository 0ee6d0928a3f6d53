// What a change of a connection's deadline costs: moved later, earlier, set and cleared, 64 connections in turn. The
// other side is a bare heap of timers under a mutex, where each change is worked in at once.
#include "samples.hpp"
#include "timer_heap.hpp"

#include <weft/weft.hpp>

#include <chrono>
#include <system_error>
#include <vector>

namespace {

using std::chrono::hours;
using std::chrono::nanoseconds;
using std::chrono::steady_clock;
constexpr std::size_t handles = 64;
constexpr std::size_t changes = 1'000'000;

struct connections {
  std::vector<weft::net::tcp_conn> all;
  connections() {
    weft::net::tcp_listener listener = weft::net::listen_tcp("127.0.0.1:0");
    while (all.size() < handles) {
      all.push_back(weft::net::dial_tcp(listener.local_endpoint()));
      all.push_back(listener.accept());
    }
  }
  template <class When>
  void set(std::size_t i, When when) {
    std::error_code ec;
    all[i].set_read_deadline(when, ec);
  }
  void clear(std::size_t i) { set(i, steady_clock::time_point::max()); }
};

struct heap {
  bench::timer_heap timers{handles};
  void set(std::size_t i, steady_clock::time_point when) { timers.set(i, when.time_since_epoch().count()); }
  void set(std::size_t i, nanoseconds delay) { set(i, steady_clock::now() + delay); }
  void clear(std::size_t i) { timers.clear(i); }
};

template <class Change>
double each(Change change) {
  return bench::nanoseconds_each(changes, [&](std::size_t n) {
    for (std::size_t i = 0; i < n; ++i) change(i % handles);
  });
}

// A delay counts from now, and looking at the clock costs more than the rest; so that is measured too and taken off.
// The time points are made up.
template <class Side>
void one_round(Side& side, const char* name) {
  static steady_clock::time_point earlier = steady_clock::now() + hours(1000);  // ever earlier, in later rounds too
  steady_clock::time_point later = earlier + hours(1000);
  [[maybe_unused]] volatile steady_clock::rep sink = 0;
  const double clock = each([&](std::size_t) { sink = steady_clock::now().time_since_epoch().count(); });
  const auto sample = [&](const char* subject, double ns) { bench::sample(subject, "CPU ns", name, ns); };
  sample("deadline, moved later by a delay", each([&](std::size_t i) { side.set(i, hours(2000)); }) - clock);
  sample("deadline, moved later", each([&](std::size_t i) { side.set(i, later += nanoseconds(100)); }));
  sample("deadline, moved earlier", each([&](std::size_t i) { side.set(i, earlier -= nanoseconds(100)); }));
  sample("deadline, set and cleared", each([&](std::size_t i) {
           side.set(i, later += nanoseconds(100));
           side.clear(i);
         }));
}

}  // namespace

int main(int argc, char** argv) {
  const int rounds = bench::options_from(argc, argv, "Time of a change of a deadline; see bench/run.").rounds;
  weft::runtime_options one_worker;
  one_worker.workers = 1;
  return weft::run(
      [rounds] {
        connections weft_side;
        heap heap_side;
        for (int i = 0; i < rounds; ++i) {
          one_round(weft_side, "weft");
          one_round(heap_side, "heap");
        }
      },
      one_worker);
}
