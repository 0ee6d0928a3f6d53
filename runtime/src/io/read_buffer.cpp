#include <weft/io/detail/read_buffer.hpp>

#include <algorithm>
#include <cstring>
#include <limits>
#include <new>
#include <utility>

namespace weft::inline v0::io::detail {

read_buffer& read_buffer::operator=(read_buffer&& other) noexcept {
  memory_ = std::move(other.memory_);
  size_ = other.size_;
  begin_ = std::exchange(other.begin_, 0);
  end_ = std::exchange(other.end_, 0);
  return *this;
}

mutable_buffer read_buffer::room(std::size_t want) noexcept {
  const std::size_t have = size();
  if (have == 0) begin_ = end_ = 0;
  if (memory_ == nullptr || want > size_) {
    std::size_t larger = size_;
    if (want > size_) larger = std::max(want, size_ <= std::numeric_limits<std::size_t>::max() / 2 ? size_ * 2 : want);
    std::unique_ptr<char[]> made(new (std::nothrow) char[larger]);
    if (made == nullptr) return {};
    if (have > 0) std::memcpy(made.get(), memory_.get() + begin_, have);
    memory_ = std::move(made);
    size_ = larger;
    begin_ = 0;
    end_ = have;
  } else if (want > size_ - begin_ || end_ == size_) {
    std::memmove(memory_.get(), memory_.get() + begin_, have);
    begin_ = 0;
    end_ = have;
  }
  return {memory_.get() + end_, size_ - end_};
}

}  // namespace weft::inline v0::io::detail
