#include <weft/sched/selection.hpp>

namespace weft::inline v0::sched {

void selection::taken_out(cancel_site& site, waiter who) noexcept {
  auto& self = static_cast<selection&>(site);
  if (!self.word_.take_out(who.bits())) return;
  self.word_.decide(verdict::canceled);
  ready(who);
}

verdict selection::wait(void (*unlock)(void* locks) noexcept, void* locks, wait_target what) noexcept {
  if (announce(*this, stops_)) {
    unlock_ = unlock;
    locks_ = locks;
    // A stop may take us out as soon as we are published. We then want the locks, so what is ours is there until they
    // are unlocked; likewise for whoever finds us in a queue.
    constexpr auto publish = [](waiter who, void* object, std::uintptr_t) noexcept {
      auto* const self = static_cast<selection*>(object);
      const auto unlock_now = self->unlock_;
      void* const to_unlock = self->locks_;
      const bool parked = self->word_.publish(who.bits());
      unlock_now(to_unlock);
      return parked;
    };
    park({publish, this}, what);
  } else {
    waiter nobody;
    const bool ours = claim(nobody);  // before anybody can who waits for the locks
    unlock(locks);
    if (ours) {
      word_.decide(verdict::canceled);
      return verdict::canceled;
    }
  }
  // Decided, as a rule. Else a thread's park has ended for no reason, or the claimer has yet to say.
  constexpr auto stay = [](waiter, void* object, std::uintptr_t) noexcept {
    return !static_cast<selection*>(object)->word_.is_taken();
  };
  verdict v;
  while ((v = word_.decided()) == verdict::pending) {
    if (word_.is_taken()) {
      v = word_.await_decision();
      break;
    }
    park({stay, this}, what);
  }
  withdraw();
  return v;
}

bool selection::abandon() noexcept {
  waiter nobody;
  if (claim(nobody)) {
    word_.decide(verdict::canceled);
    return true;
  }
  static_cast<void>(word_.await_decision());
  return false;
}

}  // namespace weft::inline v0::sched
