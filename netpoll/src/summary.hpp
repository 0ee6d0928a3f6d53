// summary: all that a lock-free reader needs to know of a poll_desc, in one word. Go's atomicInfo, widened.
#pragma once

#include <atomic>
#include <cstdint>

namespace weft::inline v0::poll {

// basic_summary mirrors the locked fields of a poll_desc and holds what the poller noted of its events.
// Thread-safe. Lifetime: its poll_desc's.
//
// The summary word
// States     bit 0     closing          mirror of the locked field
//            bit 1     event error      the system reported a bare error: the file cannot be polled
//            bit 2, 3  read, write deadline expired: mirrors of rd < 0, wd < 0
//            bit 4     unusual          hang-up, error or urgent data was reported once; until the next open
//            32..63    generation       fdseq of the current use of the slot
//            mirrors and generation: publish, under the poll_desc's lock; bits 1 and 4: the poller, with no lock
// Ownership  publish keeps bits 1 and 4; note changes nothing else, and only while the generation is its own, so that a
//            late poller cannot mark the next user of the slot
// Invariants I1 a reason to wake is published before the gates are unblocked and before the lock is dropped
//            I2 the generation never moves back while a poller compares it (32 bits against one delayed thread)
// Orderings  O1 publish, then the gate's load || the gate's CAS to pdWait, then load: the gate's O1, seq_cst
//            O2 note, then the edge || reset or consumption of the edge, then load: the gate's O3
// Not here   the deadlines' times, whether anybody waits
template <template <class> class Atomic = std::atomic>
class basic_summary {
 public:
  static constexpr std::uint64_t closing = 1;
  static constexpr std::uint64_t event_error = 2;
  static constexpr std::uint64_t read_expired = 4;
  static constexpr std::uint64_t write_expired = 8;
  static constexpr std::uint64_t unusual = 16;
  static constexpr std::uint64_t noted = event_error | unusual;
  static constexpr unsigned generation_shift = 32;

  std::uint64_t load() const noexcept { return word_.load(std::memory_order_seq_cst); }  // O1, O2

  static constexpr std::uint32_t generation(std::uint64_t value) noexcept {
    return static_cast<std::uint32_t>(value >> generation_shift);
  }

  // publish stores the mirrors and the generation. REQUIRES: the poll_desc's lock is held.
  void publish(std::uint64_t mirrors, std::uint32_t fdseq) noexcept {
    const std::uint64_t fresh = mirrors | (std::uint64_t{fdseq} << generation_shift);
    std::uint64_t old = word_.load(std::memory_order_relaxed);                                  // corrected by the CAS
    while (!word_.compare_exchange_weak(old, fresh | (old & noted), std::memory_order_seq_cst,  // O1
                                        std::memory_order_relaxed)) {
    }
  }

  // note sets and clears bits of `noted`, if fdseq is the current generation, or 0: any. Any thread.
  void note(std::uint64_t set, std::uint64_t clear, std::uint32_t fdseq) noexcept {
    std::uint64_t old = word_.load(std::memory_order_seq_cst);
    for (;;) {
      if (fdseq != 0 && generation(old) != fdseq) return;
      const std::uint64_t fresh = (old & ~clear) | set;
      if (fresh == old) return;  // the usual event costs no store
      if (word_.compare_exchange_weak(old, fresh, std::memory_order_seq_cst, std::memory_order_seq_cst)) return;  // O2
    }
  }

  // note_event notes what an event with that generation says: whether it was a bare error, and whether it was unusual.
  void note_event(bool bare_error, bool is_unusual, std::uint32_t fdseq) noexcept {
    note((bare_error ? event_error : 0) | (is_unusual ? unusual : 0), bare_error ? 0 : event_error, fdseq);
  }

 private:
  Atomic<std::uint64_t> word_{0};
};

using summary = basic_summary<>;

}  // namespace weft::inline v0::poll
