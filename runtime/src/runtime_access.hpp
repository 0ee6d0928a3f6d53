// How the rest of this component reaches the runtime of the caller.
#pragma once

#include <weft/netpoll/poller.hpp>

#include <memory>

namespace weft::inline v0 {

// current_poller returns the poller of the runtime whose fiber, or entered thread, the caller is; null without one.
std::shared_ptr<poll::poller> current_poller() noexcept;

}  // namespace weft::inline v0
