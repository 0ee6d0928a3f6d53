// The world in which every interleaving of a wait is run: a fiber that waits; the worker that it left, which runs its
// commit and looks once more though the fiber may be elsewhere by then; whoever wakes it; whoever stops it.
#pragma once

#include <wait_words.hpp>

#include <support/explore.hpp>
#include <weft/sched/park.hpp>
#include <weft/sched/selection.hpp>

#include <string>

namespace weft::testing {

constexpr std::uintptr_t one = 0x1000;  // the waiter

struct model_site : sched::cancel_site {
  void* owner = nullptr;
};

template <class Word>
struct world {
  Word word;
  model_site site;
  sched::stop_word<model::atomic> stops;
  model::atomic<bool> everybody{false};
  model::atomic<bool> happened{false};  // what a sleeper waits for: the time
  model::atomic<bool> site_lives{false};
  model::parking_place bed;
  model::atomic<bool> departed{false};
  model::atomic<bool> over{false};
  // Counted for the check alone.
  int parks = 0;
  int wakes = 0;
  int doubles = 0;
  int strays = 0;
  std::string result = "none";

  world() {
    site.owner = this;
    site.cancel = [](sched::cancel_site& s, sched::waiter w) noexcept {
      auto* self = static_cast<world*>(static_cast<model_site&>(s).owner);
      if (!self->site_lives.load(std::memory_order_seq_cst)) ++self->strays;
      if (!self->word.take_out(w.bits())) return;
      if constexpr (requires { self->word.decide(sched::verdict::canceled); }) {
        self->word.decide(sched::verdict::canceled);
      }
      self->wake();
    };
  }

  void wake() {
    ++wakes;
    if (!bed.unpark()) ++doubles;
  }
  // As announce and withdraw of park.cpp.
  bool announce() {
    site_lives.store(true, std::memory_order_seq_cst);
    if (stops.announce(&site, one, everybody)) return true;
    leave();
    return false;
  }
  // As park_at and join, who look behind the commit alone.
  void publish() {
    site_lives.store(true, std::memory_order_seq_cst);
    stops.publish(&site, one);
  }
  void withdraw() {
    stops.withdraw();
    leave();
  }
  // From here on the site may be gone.
  void leave() {
    stops.await_cancels();
    site_lives.store(false, std::memory_order_seq_cst);
  }
  void cancel_parked() { sched::cancel_announced(stops, everybody); }
  void request_stop() {
    stops.request();
    cancel_parked();
  }
  void stop_all() {
    everybody.store(true, std::memory_order_seq_cst);
    cancel_parked();
  }
  // The fiber's half of a park; the other half is the worker's.
  void park() {
    departed.store(true, std::memory_order_seq_cst);
    bed.park();
  }
  template <class Commit>
  void run_commits(const Commit& commit) {
    for (;;) {
      model::wait_until(
          [this] { return departed.load(std::memory_order_seq_cst) || over.load(std::memory_order_seq_cst); });
      if (!departed.exchange(false, std::memory_order_seq_cst)) return;
      const bool announced = stops.announced();
      if (!commit()) {
        if (!bed.unpark()) ++doubles;
        continue;
      }
      ++parks;
      if (announced && stops.missed(everybody) != nullptr) cancel_parked();
    }
  }
  std::string conserved() const {
    if (parks != wakes) return std::to_string(parks) + " parks, " + std::to_string(wakes) + " wakes";
    if (doubles != 0) return "woken twice";
    if (strays != 0) return "a site was used after withdraw";
    return "";
  }
};

}  // namespace weft::testing
