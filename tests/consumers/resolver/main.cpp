// A consumer of weft::resolver, which calls nothing of it: it is there all the same.
#include <weft/weft.hpp>

#include <chrono>
#include <cstdio>
#include <string>
#include <system_error>

int main() {
  return weft::run([] {
    weft::net::resolver_options options;
    options.servers = {weft::net::endpoint::ipv4({127, 0, 0, 1}, 1)};  // nobody is there
    options.timeout = std::chrono::milliseconds(20);
    options.hosts_file = "/nonexistent";
    std::error_code ec;
    const auto found = weft::net::resolve("host.test", options, ec);
    std::printf("%s\n", ec.message().c_str());
    // Without the add-on such options are refused.
    return found.empty() && ec && ec != std::errc::not_supported ? 0 : 1;
  });
}
