// How the primitives say that a wait was stopped, or ran out of time.
#pragma once

#include "io_error.hpp"

#include <weft/sched/clock.hpp>
#include <weft/sched/deadline_link.hpp>
#include <weft/sched/park.hpp>
#include <weft/sched/selection.hpp>

namespace weft::inline v0 {

// done_in_time makes a wait that ends with done or canceled, until a time: true if it was done, false if the time came
// first. Throws canceled_error, which names `what`, if a stop of the caller ended it.
template <class Wait>
bool done_in_time(sched::nanotime until, const char* what, Wait wait) {
  sched::verdict v;
  bool passed = false;
  {
    const sched::deadline_link link(until);
    v = wait();
    passed = link.passed();
  }
  if (v == sched::verdict::done) return true;
  if (!passed || sched::stop_requested()) throw_canceled(what);
  return false;
}

}  // namespace weft::inline v0
