#include <weft/fiber_local.hpp>

#include <weft/sched/caller_data.hpp>

#include <cstdint>
#include <memory>
#include <utility>

namespace weft::inline v0::detail {

namespace {

// The values of one fiber or thread, the last one made first.
struct local {
  std::uint64_t id;  // the variable's
  void* value;
  void (*destroy)(void* value) noexcept;
  local* next;
};

local* look_for(const sched::caller_data& own, std::uint64_t id) noexcept {
  auto* each = static_cast<local*>(own.locals);
  while (each != nullptr && each->id != id) each = each->next;
  return each;
}

// What a destructor makes anew is destroyed as well.
void dispose(sched::caller_data& own) noexcept {
  while (own.locals != nullptr) {
    const std::unique_ptr<local> last(static_cast<local*>(own.locals));
    own.locals = last->next;
    last->destroy(last->value);
  }
}

}  // namespace

void* look_for_local(std::uint64_t id) noexcept {
  const local* const found = look_for(sched::current_data(), id);
  return found != nullptr ? found->value : nullptr;
}

void* find_local(std::uint64_t id, const void* variable, void* (*make)(const void*), void (*destroy)(void*) noexcept) {
  sched::caller_data& own = sched::current_data();
  if (const local* const found = look_for(own, id)) return found->value;
  auto made = std::make_unique<local>(local{id, nullptr, destroy, nullptr});
  made->value = make(variable);  // it may make others
  made->next = static_cast<local*>(own.locals);
  own.dispose = &dispose;
  own.locals = made.release();
  return static_cast<local*>(own.locals)->value;
}

void dispose_locals() noexcept { dispose(sched::current_data()); }

}  // namespace weft::inline v0::detail
