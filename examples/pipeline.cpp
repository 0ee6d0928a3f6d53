// The concurrent prime sieve: a chain of fibers, one for each prime, that lets pass what its prime does not divide.
// The first number out of the chain is the next prime, which gets a fiber of its own at the end.
#include "support/flags.hpp"

#include <weft/weft.hpp>

#include <charconv>
#include <chrono>
#include <cstdio>
#include <string>
#include <vector>

namespace {

void generate(const weft::sender<unsigned>& out) {
  for (unsigned n = 2;; ++n) out.send(n);
}

void filter(const weft::receiver<unsigned>& in, const weft::sender<unsigned>& out, unsigned prime) {
  for (const unsigned n : in) {
    if (n % prime != 0) out.send(n);
  }
}

// Calls found(prime) for the first `count` primes. Returns the last.
template <class Found>
unsigned sieve(unsigned count, Found found) {
  weft::task_group<> chain;
  weft::channel<unsigned> end(0);
  chain.spawn(generate, end);
  unsigned prime = 0;
  for (unsigned i = 0; i < count; ++i) {
    prime = end.receive().value();
    found(prime);
    const weft::channel<unsigned> next(0);
    chain.spawn(filter, end, next, prime);
    end = next;
  }
  chain.request_stop();  // it has no end of its own: this ends the sends and receives that its fibers wait in
  chain.join();
  return prime;
}

bool read_count(const std::string& text, unsigned& count) {
  constexpr unsigned most = 10'000;  // fibers; the work grows with the square
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), count);
  return error == std::errc() && stop == text.data() + text.size() && count >= 1 && count <= most;
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<std::string> arguments;
  unsigned count = 100;
  bool quiet = false;
  weft::runtime_options options;
  support::flags flags("pipeline", "prints the first N primes (100), sieved by a chain of N fibers.");
  flags.rest("N", arguments, 0, 1)
      .toggle("--quiet", "only the last prime, and the time that it took", quiet)
      .number("--workers", "N", "fibers that run at the same time (0: one per CPU)", options.workers, 0u,
              weft::runtime::max_workers)
      .parse(argc, argv);
  if (!arguments.empty() && !read_count(arguments.front(), count)) flags.fail("bad value for N: " + arguments.front());

  return support::report_errors("pipeline", [&] {
    return weft::run(
        [&] {
          const auto start = std::chrono::steady_clock::now();
          const unsigned last = sieve(count, [quiet](unsigned prime) {
            if (!quiet) std::printf("%u\n", prime);
          });
          const std::chrono::duration<double> time = std::chrono::steady_clock::now() - start;
          if (quiet) std::printf("%u in %.3f s\n", last, time.count());
        },
        options);
  });
}
