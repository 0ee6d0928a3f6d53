#include <weft/io/pipe.hpp>

#include "../io_error.hpp"
#include "../runtime_access.hpp"

#include <memory>

namespace weft::inline v0::io {

failed_operation detail::pipe_name::describe() const { return {{}, "pipe", {}, {}}; }

std::pair<pipe_end, pipe_end> pipe(std::error_code& ec) noexcept {
  ec.clear();
  std::shared_ptr<poll::poller> poller = current_poller();
  if (poller == nullptr) {
    ec = errc::no_runtime;
    return {};
  }
  poll::descriptor_ptr ends[2];
  int error = poll::ok;
  if (!poll::descriptor::open_pair(std::move(poller), ends, error)) {
    ec = to_error_code(error);
    return {};
  }
  std::pair<pipe_end, pipe_end> result;
  access::give(result.first, std::move(ends[0]));
  access::give(result.second, std::move(ends[1]));
  return result;
}

std::pair<pipe_end, pipe_end> pipe() {
  std::error_code ec;
  std::pair<pipe_end, pipe_end> ends = pipe(ec);
  if (ec) throw_failure(ec, {"make", "pipe", {}, {}});
  return ends;
}

}  // namespace weft::inline v0::io
