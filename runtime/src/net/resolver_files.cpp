#include "resolver_files.hpp"

#include <weft/sched/sys.hpp>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <mutex>
#include <system_error>
#include <tuple>
#include <utility>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace weft::inline v0::net {

namespace {

constexpr std::string_view blanks = " \t\r\v\f";

// each_line calls use(words) for every line that has any, without its comment.
template <class Use>
void each_line(std::string_view text, std::string_view comment, Use use) {
  std::vector<std::string_view> words;
  while (!text.empty()) {
    std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(text.size(), line.size() + 1));
    line = line.substr(0, line.find_first_of(comment));
    words.clear();
    for (;;) {
      line.remove_prefix(std::min(line.size(), line.find_first_not_of(blanks)));
      if (line.empty()) break;
      words.push_back(line.substr(0, line.find_first_of(blanks)));
      line.remove_prefix(words.back().size());
    }
    if (!words.empty()) use(words);
  }
}

// An address without a port; endpoint() if it is none.
endpoint read_address(std::string_view text, std::uint16_t port) {
  const bool is_v6 = text.find(':') != std::string_view::npos;
  const std::string whole = (is_v6 ? "[" : "") + std::string(text) + (is_v6 ? "]:" : ":") + std::to_string(port);
  std::error_code ec;
  return endpoint::parse(whole, ec);
}

// "ndots:2" sets the value, within its limits, if the option is named so.
void read_option(std::string_view option, std::string_view name, int least, int most, int& value) {
  if (!option.starts_with(name)) return;
  option.remove_prefix(name.size());
  int read = 0;
  const auto [end, error] = std::from_chars(option.data(), option.data() + option.size(), read);
  if (error == std::errc() && end == option.data() + option.size()) value = std::clamp(read, least, most);
}

void read_options(const std::vector<std::string_view>& words, resolver_config& config) {
  int seconds = static_cast<int>(config.timeout.count() / 1000);
  for (const std::string_view option : words) {
    read_option(option, "ndots:", 0, 15, config.ndots);
    read_option(option, "timeout:", 1, 30, seconds);
    read_option(option, "attempts:", 1, 5, config.attempts);
    config.rotate = config.rotate || option == "rotate";
  }
  config.timeout = std::chrono::seconds(seconds);
}

// The domain of this machine is searched where the file names none.
std::vector<std::string> own_domain() {
  char name[256] = {};
  if (sched::sys_call(::gethostname, name, sizeof name - 1) < 0) return {};
  const std::string_view whole(name);
  const std::size_t dot = whole.find('.');
  if (dot == std::string_view::npos || dot + 1 == whole.size()) return {};
  return {std::string(whole.substr(dot + 1))};
}

// cached keeps what the last file read holds, for as long as that file stays the same. Thread-safe.
template <class T>
class cached {
 public:
  std::shared_ptr<const T> get(const std::string& path, T (*parse)(std::string_view)) {
    // Before the file is read: a change that comes in between is seen the next time.
    const stamp now = stamp_of(path);
    {
      const std::lock_guard lock(mutex_);
      if (value_ != nullptr && path == path_ && now == stamp_) return value_;
    }
    auto made = std::make_shared<const T>(parse(contents(path)));
    const std::lock_guard lock(mutex_);
    path_ = path;
    stamp_ = now;
    value_ = made;
    return made;
  }

 private:
  using stamp = std::tuple<dev_t, ino_t, off_t, time_t, long>;

  static stamp stamp_of(const std::string& path) noexcept {
    struct stat s {};
    if (sched::sys_call(::stat, path.c_str(), &s) < 0) return {};
    return {s.st_dev, s.st_ino, s.st_size, s.st_mtim.tv_sec, s.st_mtim.tv_nsec};
  }

  static std::string contents(const std::string& path) {
    constexpr std::size_t most = 16 << 20;
    std::string text;
    const long fd = sched::sys_call(::open, path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) return text;
    char part[16 << 10];
    while (text.size() < most) {
      const long n = sched::sys_call(::read, static_cast<int>(fd), part, sizeof part);
      if (n == -EINTR) continue;
      if (n <= 0) break;
      text.append(part, static_cast<std::size_t>(n));
    }
    sched::sys_call(::close, static_cast<int>(fd));
    return text;
  }

  std::mutex mutex_;
  std::string path_;
  stamp stamp_{};
  std::shared_ptr<const T> value_;
};

}  // namespace

std::string small(std::string_view name) {
  if (name.ends_with('.')) name.remove_suffix(1);
  std::string result(name);
  for (char& c : result) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  return result;
}

resolver_config parse_resolver_config(std::string_view text) {
  constexpr std::size_t most_domains = 16;
  resolver_config config;
  bool has_search = false;
  each_line(text, "#;", [&](std::vector<std::string_view>& words) {
    const std::string_view keyword = words.front();
    words.erase(words.begin());
    if (keyword == "nameserver" && !words.empty() && config.servers.size() < most_servers) {
      if (const endpoint e = read_address(words.front(), 53)) config.servers.push_back(e);
    } else if (keyword == "search" || keyword == "domain") {
      has_search = true;
      config.search.clear();
      for (const std::string_view domain : words) {
        if (domain != "." && config.search.size() < most_domains) config.search.push_back(small(domain));
      }
    } else if (keyword == "options") {
      read_options(words, config);
    }
  });
  if (config.servers.empty()) config.servers.push_back(endpoint::ipv4({127, 0, 0, 1}, 53));
  if (!has_search) config.search = own_domain();
  return config;
}

host_table parse_hosts(std::string_view text) {
  host_table table;
  each_line(text, "#", [&](const std::vector<std::string_view>& words) {
    const endpoint e = read_address(words.front(), 0);
    if (!e) return;
    for (std::size_t i = 1; i < words.size(); ++i) {
      std::vector<endpoint>& known = table[small(words[i])];
      if (std::ranges::find(known, e) == known.end()) known.push_back(e);
    }
  });
  return table;
}

std::shared_ptr<const resolver_config> read_resolver_config(const std::string& path) {
  static cached<resolver_config>& files = *new cached<resolver_config>;  // never destroyed, as fibers may outlive main
  return files.get(path, parse_resolver_config);
}

std::shared_ptr<const host_table> read_hosts(const std::string& path) {
  static cached<host_table>& files = *new cached<host_table>;
  return files.get(path, parse_hosts);
}

}  // namespace weft::inline v0::net
