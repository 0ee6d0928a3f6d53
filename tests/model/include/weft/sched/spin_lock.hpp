// In the place of sched/include/weft/sched/spin_lock.hpp: a lock whose every use is a step of the explorer.
#pragma once

#include <support/explore.hpp>

namespace weft::inline v0::sched {

class spin_lock : public model::mutex {};

}  // namespace weft::inline v0::sched
