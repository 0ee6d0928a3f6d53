// interposed: whether somebody stands between us and the C library's reads.
#pragma once

namespace weft::inline v0::poll {

// reads_interposed tells whether a preloaded library has put functions of its own in the place of read(2) and readv(2): one
// that shortens, records or reroutes them. What a short read says about the socket is known of the system alone. (A
// program that defines them itself knows what it does.) Found out once.
bool reads_interposed() noexcept;

}  // namespace weft::inline v0::poll
