#include <weft/sched/selection.hpp>

namespace weft::inline v0::sched {

void selection::taken_out(cancel_site& site, waiter who) noexcept {
  auto& self = static_cast<selection&>(site);
  if (!self.word_.take_out(who.bits())) return;
  self.word_.decide(verdict::canceled);
  ready(who);
}

verdict selection::wait(void (*unlock)(void* locks) noexcept, void* locks, wait_reason why) noexcept {
  word_.begin();
  unlock_ = unlock;
  locks_ = locks;
  if (!announce(*this)) {
    unlock(locks);
    return verdict::canceled;
  }
  // A stop may take us out as soon as we are published. We then want the locks, so what is ours is there until they
  // are unlocked; likewise for whoever finds us in a queue.
  constexpr auto publish = [](waiter who, void* object, std::uintptr_t) noexcept {
    auto* const self = static_cast<selection*>(object);
    const auto unlock_now = self->unlock_;
    void* const to_unlock = self->locks_;
    self->word_.publish(who.bits());
    unlock_now(to_unlock);
    return true;
  };
  constexpr auto stay = [](waiter, void* object, std::uintptr_t) noexcept {
    return static_cast<selection*>(object)->word_.decided() == verdict::pending;
  };
  park({publish, this}, why);
  while (word_.decided() == verdict::pending) park({stay, this}, why);  // a thread's park may end for no reason
  withdraw();
  return word_.decided();
}

}  // namespace weft::inline v0::sched
