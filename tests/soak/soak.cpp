// soak: everything at once for a long time. Fails if anything that must hold does not, if a fiber is left waiting, or if
// memory, descriptors or threads grow.
#include "work.hpp"

#include <runtime/process_counts.hpp>

#include <weft/debug/dump.hpp>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <unistd.h>

namespace {

using namespace std::chrono_literals;
using std::chrono::steady_clock;
using testing_support::eventually;
using testing_support::open_descriptors;
using testing_support::sanitized;
using testing_support::threads;
using testing_support::value_of;

struct settings {
  unsigned seconds = 600;
  unsigned seed = std::random_device{}();
  unsigned workers = 0;
};

[[noreturn]] void usage(int status) {
  std::fputs("usage: soak [--seconds N] [--seed N] [--workers N]\n"
             "Runs everything at once for N seconds (600), and checks what must hold, and that nothing grows.\n",
             status == 0 ? stdout : stderr);
  std::exit(status);
}

settings settings_from(int argc, char** argv) {
  settings s;
  for (int i = 1; i < argc; i += 2) {
    const std::string_view name = argv[i];
    if (name == "--help") usage(0);
    unsigned* to = nullptr;
    if (name == "--seconds") to = &s.seconds;
    if (name == "--seed") to = &s.seed;
    if (name == "--workers") to = &s.workers;
    if (to == nullptr || i + 1 == argc) usage(2);
    const std::string_view text = argv[i + 1];
    if (std::from_chars(text.data(), text.data() + text.size(), *to).ptr != text.data() + text.size()) usage(2);
  }
  return s;
}

constexpr unsigned blocking_threads = 16;

// A load of its own, now and then: many fibers at a time, whose memory must come back.
constexpr int burst = testing_support::sanitized ? 300 : 3000;
constexpr auto between_bursts = 7s;  // long enough for that

struct sample {
  std::size_t resident;     // KiB
  std::size_t page_tables;  // KiB
  std::size_t descriptors;
  std::size_t threads;
  std::size_t stacks;
  std::size_t live;
};

sample take_sample(const weft::runtime_stats& stats) {
  return {value_of("VmRSS"), value_of("VmPTE"), open_descriptors(), threads(), stats.stacks, stats.live};
}

void print(const char* when, const sample& s) {
  std::printf("%-10s %7zu KiB resident, %5zu KiB of page tables, %3zu descriptors, %2zu threads, ", when, s.resident,
              s.page_tables, s.descriptors, s.threads);
  std::printf("%5zu stacks, %4zu fibers\n", s.stacks, s.live);
  std::fflush(stdout);
}

// The figures of a stretch of samples, in order.
std::vector<std::size_t> sorted(std::span<const sample> of, std::size_t sample::* value) {
  std::vector<std::size_t> all;
  for (const sample& s : of) all.push_back(s.*value);
  std::sort(all.begin(), all.end());
  return all;
}

// An actor does rounds of one kind until the end; the watch looks whether it gets on.
struct actor {
  const soak::kind* what;
  std::atomic<std::uint64_t> rounds{0};
  std::uint64_t seen = 0;  // of the watch
};

void act(soak::shared& with, actor& self, unsigned seed, const std::atomic<bool>& over) {
  weft::this_fiber::set_name(self.what->name);
  soak::dice d(seed);
  while (!over.load(std::memory_order_relaxed)) {
    try {
      self.what->round(with, d);
    } catch (const std::exception& e) {
      with.books.fail(std::string(self.what->name) + " throws: " + e.what());
    }
    self.rounds.fetch_add(1, std::memory_order_relaxed);
    weft::this_fiber::yield();
  }
}

void bursts(soak::shared& with, const std::atomic<bool>& over) {
  for (auto next = steady_clock::now(); !over.load(); weft::this_fiber::sleep_for(20ms)) {
    if (steady_clock::now() < next) continue;
    next += between_bursts;
    weft::wait_group all;
    all.add(burst);
    std::atomic<int> run{0};
    for (int i = 0; i < burst; ++i) {
      weft::go([&] {
        volatile char some[8 * 1024];
        for (std::size_t k = 0; k < sizeof some; k += 1024) some[k] = 1;
        run.fetch_add(1);
        weft::this_fiber::yield();
        all.done();
      });
    }
    all.wait();
    with.books.expect(run.load() == burst, "each fiber of a burst runs");
  }
}

// judge compares a stretch after the warm-up with one of the same length at the end, by the medians: what bursts need for
// a moment, and the connections that then wait for their server to close them, is no growth.
//
// Memory may grow by a tenth and the 8 MiB that an allocator's arenas come to: a leak of some bytes in each of thousands
// of rounds a second is more than that in 10 minutes. Descriptors go up and down with the load, whose connections they
// are. Threads have a bound of their own: workers, as many on their way out of blocking(), those in it, monitor and main.
void judge(soak::book& books, std::span<const sample> samples, unsigned workers) {
  const std::size_t warm = samples.size() / 5;
  const std::size_t stretch = (samples.size() - warm) / 3;
  if (!books.expect(stretch > 0, "there are enough samples")) return;
  const auto figure = [&](const char* name, std::size_t sample::* value, std::size_t tenths, std::size_t slack) {
    const std::vector<std::size_t> early = sorted(samples.subspan(warm, stretch), value);
    const std::vector<std::size_t> late = sorted(samples.last(stretch), value);
    const std::size_t from = early[stretch / 2];
    const std::size_t to = late[stretch / 2];
    std::printf("soak: %-19s median %6zu after the warm-up, %6zu at the end; most %6zu, %6zu\n", name, from, to, early.back(),
                late.back());
    books.expect(to <= from + from * tenths / 10 + slack, std::string(name) + ": has grown");
    return late.back();
  };
  figure("KiB resident", &sample::resident, 1, 8 * 1024);
  figure("KiB of page tables", &sample::page_tables, 1, 1024);
  figure("descriptors", &sample::descriptors, 0, 24);
  figure("stacks", &sample::stacks, 2, burst / 2);
  const std::size_t most_threads = figure("threads", &sample::threads, 0, 2);
  books.expect(most_threads <= 1 + 1 + 2 * workers + blocking_threads, "there are too many threads");
}

// watch takes a sample a second, prints a line every 30 s (of a short run, four), and notices who stands still.
std::vector<sample> watch(const weft::runtime& rt, std::vector<actor>& actors, soak::book& books, const settings& s) {
  const auto begun = steady_clock::now();
  const auto step = s.seconds >= 60 ? 1s : std::chrono::milliseconds(s.seconds * 1000 / 60);
  const auto line = s.seconds >= 120 ? 30s : std::chrono::milliseconds(s.seconds * 250);
  // Nothing that an actor waits for takes longer than some milliseconds; the rest is the machine's.
  constexpr auto patience = 60s;
  std::vector<sample> samples;
  auto next_line = begun + line;
  auto looked = begun;
  for (auto now = begun; now < begun + std::chrono::seconds(s.seconds); now = steady_clock::now()) {
    std::this_thread::sleep_for(step);
    samples.push_back(take_sample(rt.stats()));
    if (steady_clock::now() >= next_line) {
      next_line += line;
      const auto after = std::chrono::duration_cast<std::chrono::seconds>(steady_clock::now() - begun).count();
      print((std::to_string(after) + " s").c_str(), samples.back());
    }
    if (steady_clock::now() - looked < patience) continue;
    looked = steady_clock::now();
    for (actor& a : actors) {
      if (a.rounds.load() == a.seen) {
        books.fail(std::string(a.what->name) + ": a fiber stands still");
        weft::debug::write_dump(STDERR_FILENO);
        std::_Exit(1);  // it would not end either
      }
      a.seen = a.rounds.load();
    }
  }
  return samples;
}

int run(const settings& s) {
  [[maybe_unused]] const bool first_thread = (std::thread([] {}).join(), true);  // ThreadSanitizer makes one beside it
  const std::size_t descriptors_before = open_descriptors();
  const std::size_t threads_before = threads();
  std::printf("soak: %u s, seed %u\n", s.seconds, s.seed);
  std::fflush(stdout);

  soak::book books;
  weft::runtime_options options;
  options.workers = s.workers;
  options.blocking_threads = blocking_threads;
  {
    weft::runtime rt(options);
    std::size_t count = 0;
    for (const soak::kind& k : soak::kinds) count += static_cast<std::size_t>(k.fibers);
    std::vector<actor> actors(count);
    std::atomic<bool> over{false};
    std::unique_ptr<soak::shared> with;
    rt.spawn([&] { with = std::make_unique<soak::shared>(books); }).join();
    weft::fiber<void> server = rt.spawn([&] { with->server.serve(soak::serve_one); });
    std::vector<weft::fiber<void>> fibers;
    std::size_t i = 0;
    for (const soak::kind& k : soak::kinds) {
      for (int n = 0; n < k.fibers; ++n, ++i) {
        actors[i].what = &k;
        fibers.push_back(rt.spawn([&, i] { act(*with, actors[i], s.seed + static_cast<unsigned>(i), over); }));
      }
    }
    fibers.push_back(rt.spawn([&] { bursts(*with, over); }));

    const std::vector<sample> samples = watch(rt, actors, books, s);
    over.store(true);
    for (auto& f : fibers) f.join();
    rt.spawn([&] {
      books.expect(with->server.drain(10s) == 0, "connections end with their clients");
      std::uint64_t left = 0;
      while (const std::optional<std::uint64_t> value = with->buffered.try_receive_for(0s)) left += *value;
      books.expect(with->sent.load() == with->received.load() + left, "what is sent is received, once");
    }).join();
    server.join();
    books.expect(with->migrations.load() != 0 || rt.stats().workers == 1, "fibers migrate");

    for (const soak::kind& k : soak::kinds) {
      std::uint64_t rounds = 0;
      for (const actor& a : actors) rounds += a.what == &k ? a.rounds.load() : 0;
      std::printf("soak: %-8s %10llu rounds\n", k.name, static_cast<unsigned long long>(rounds));
      books.expect(rounds != 0, "each kind gets on");
    }
    std::printf("soak: %llu fibers, %llu exchanges, %llu connections killed, %llu migrations, %llu stops\n",
                static_cast<unsigned long long>(rt.stats().spawned), static_cast<unsigned long long>(with->exchanged.load()),
                static_cast<unsigned long long>(with->killed.load()), static_cast<unsigned long long>(with->migrations.load()),
                static_cast<unsigned long long>(with->stopped.load()));
    if (!sanitized) judge(books, samples, rt.stats().workers);
    with.reset();
    rt.stop();
    books.expect(rt.stats().live == 0, "no fiber is left");
  }
  books.expect(eventually([&] { return open_descriptors() == descriptors_before; }), "no descriptor is left");
  books.expect(eventually([&] { return threads() <= threads_before; }), "no thread is left");
  std::printf("soak: %s, %llu failures, seed %u\n", books.failures() == 0 ? "passed" : "FAILED",
              static_cast<unsigned long long>(books.failures()), s.seed);
  return books.failures() == 0 ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) { return run(settings_from(argc, argv)); }
