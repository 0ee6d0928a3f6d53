#include "current.hpp"

#include "thread_record.hpp"

#include <utility>

namespace weft::inline v0::sched {

namespace {

struct record_owner {
  thread_record* record = nullptr;
  ~record_owner() {
    if (record == nullptr) return;
    if (record->data.dispose != nullptr) record->data.dispose(record->data);  // it may use the record
    release_record(std::exchange(record, nullptr));
  }
};

constinit thread_local worker* this_worker = nullptr;
constinit thread_local scheduler* this_entered = nullptr;
thread_local record_owner this_record;

}  // namespace

worker* current_worker() noexcept {
  worker* w = this_worker;
  asm volatile("" ::: "memory");
  return w;
}

void set_current_worker(worker* w) noexcept {
  this_worker = w;
  asm volatile("" ::: "memory");
}

thread_record* current_record() noexcept {
  if (this_record.record == nullptr) this_record.record = acquire_record();
  thread_record* r = this_record.record;
  asm volatile("" ::: "memory");
  return r;
}

scheduler* entered_scheduler() noexcept {
  scheduler* s = this_entered;
  asm volatile("" ::: "memory");
  return s;
}

scheduler* exchange_entered_scheduler(scheduler* s) noexcept {
  scheduler* before = std::exchange(this_entered, s);
  asm volatile("" ::: "memory");
  return before;
}

}  // namespace weft::inline v0::sched
