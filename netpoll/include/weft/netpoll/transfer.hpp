// transfer: bytes from one open file to another, without a way through the program.
#pragma once

#include <weft/export.hpp>
#include <weft/netpoll/descriptor.hpp>

#include <cstdint>

namespace weft::inline v0::poll {

struct transfer_result {
  std::uint64_t count = 0;  // written to the target, also when error is set
  int error = ok;
  mode failed = mode::read;  // of which side the error is: the source's reads, the target's writes
  bool handled = true;       // false: the system can't do it for these two; the rest, which is still in the source, is
                             // the caller's to copy
};

// transfer moves bytes until the source ends or `limit` of them are moved: by sendfile from a regular file to a socket
// or pipe, by splice between sockets and pipes. Waits park as those of read and write do, and deadlines, close and
// stops of both sides end it as them. A source that is a file or a pipe, and an error of the source, lose nothing: what
// was not written is still in it. If the target of a socket's bytes fails, up to 1 MiB that had been read may be lost;
// a stop that stands before bytes are read loses none. Each portion is written whole, not mixed with writes of others.
WEFT_API transfer_result transfer(descriptor& to, descriptor& from, std::uint64_t limit) noexcept;

}  // namespace weft::inline v0::poll
