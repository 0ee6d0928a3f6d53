// migration: the kind of build in which fibers change threads whenever they can.
#pragma once

namespace weft::inline v0::sched {

// With WEFT_FORCE_MIGRATION every fiber that becomes runnable goes to the global queue, one of the first few there runs next,
// drawn by WEFT_SEED, and a worker waits a little for others to take those that it ran last. It finds what relies on a
// thread, or on an order that nobody promised; the figures of such a build mean nothing.
#ifdef WEFT_FORCE_MIGRATION
inline constexpr bool forced_migration = true;
#else
inline constexpr bool forced_migration = false;
#endif

// migration_seed is what the environment's WEFT_SEED says, or 0.
unsigned migration_seed() noexcept;

}  // namespace weft::inline v0::sched
