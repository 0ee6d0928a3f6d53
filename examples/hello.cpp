// The smallest program: a few fibers say hello, and one waits for them all.
#include "support/flags.hpp"

#include <weft/weft.hpp>

#include <cstdio>
#include <string>
#include <vector>

int main(int argc, char** argv) {
  std::vector<std::string> names;
  support::flags("hello", "starts a fiber for each name, which returns a greeting.")
      .rest("NAME", names)
      .parse(argc, argv);
  if (names.empty()) names = {"warp", "weft"};

  return weft::run([&] {
    std::vector<weft::fiber<std::string>> greeters;
    for (const std::string& name : names) {
      greeters.push_back(weft::spawn([name] {
        weft::this_fiber::yield();  // any call may let the others run
        return "hello, " + name + ", from fiber " + std::to_string(weft::this_fiber::get_id());
      }));
    }
    for (auto& greeter : greeters) std::puts(greeter.join().c_str());
  });
}
