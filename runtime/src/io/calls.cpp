#include <weft/io/calls.hpp>
#include <weft/io/raw_calls.hpp>

#include "../io_error.hpp"

#include <sys/uio.h>

#include <array>
#include <cerrno>
#include <memory>
#include <new>
#include <utility>

namespace weft::inline v0::io::detail {

namespace {

// The arrays of the system's calls, without the heap for as many buffers as programs usually have.
template <class Buffer>
class vectors {
 public:
  explicit vectors(std::span<const Buffer> buffers) noexcept : count_(buffers.size()) {
    if (count_ > few_.size()) {
      many_.reset(new (std::nothrow) iovec[count_]);
      data_ = many_.get();
    }
    if (data_ == nullptr) return;
    for (std::size_t i = 0; i < count_; ++i) data_[i] = {const_cast<void*>(buffers[i].data()), buffers[i].size()};
  }

  poll::io_result pass_to(poll::descriptor& d,
                          poll::io_result (poll::descriptor::*call)(const iovec*, std::size_t)) noexcept {
    return data_ == nullptr ? poll::io_result{0, ENOMEM} : (d.*call)(data_, count_);
  }

 private:
  std::array<iovec, 16> few_;
  std::unique_ptr<iovec[]> many_;
  iovec* data_ = few_.data();
  std::size_t count_;
};

}  // namespace

[[gnu::cold, gnu::noinline]] void fail(int poll_error, const char* operation, failed_operation object,
                                       std::size_t transferred) {
  object.operation = operation;
  throw_failure(to_error_code(poll_error), std::move(object), transferred);
}

long not_yet() noexcept { return -EAGAIN; }

std::error_code code_of(int poll_error) noexcept {
  if (poll_error == poll::ok) [[likely]]
    return {};
  return to_error_code(poll_error);
}

poll::io_result readv(poll::descriptor& d, std::span<const mutable_buffer> buffers) noexcept {
  return vectors(buffers).pass_to(d, &poll::descriptor::readv);
}

poll::io_result writev(poll::descriptor& d, std::span<const const_buffer> buffers) noexcept {
  return vectors(buffers).pass_to(d, &poll::descriptor::writev);
}

}  // namespace weft::inline v0::io::detail
