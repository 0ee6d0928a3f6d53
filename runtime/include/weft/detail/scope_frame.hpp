// scope_frame: what of a scope those see that are started inside it. Included by scope.hpp and inherited.hpp.
#pragma once

#include <weft/export.hpp>
#include <weft/sched/clock.hpp>

#include <array>
#include <cstdint>
#include <memory>
#include <stop_token>

namespace weft::inline v0::detail {

class inheritance;
enum class takes : unsigned char;

// scope_frame is one of its owner's surroundings: a bound in time, a token, a shield, a value, or all that a fiber has
// inherited. Frames are a chain on the stack of one fiber or thread, innermost first; nobody else sees it. As with
// links, scopes from before an unwinding don't count while it lasts.
class WEFT_API scope_frame {
 public:
  struct shield_t {};
  static constexpr shield_t shield{};

  explicit scope_frame(sched::nanotime deadline) noexcept : deadline_(deadline) { enter(); }
  explicit scope_frame(std::stop_token token) noexcept : token_(static_cast<std::stop_token&&>(token)) { enter(); }
  explicit scope_frame(shield_t) noexcept : shield_(true) { enter(); }
  // `key` is a variable_id's.
  scope_frame(std::uint64_t key, std::shared_ptr<const void> value) noexcept
      : key_(key), value_(static_cast<std::shared_ptr<const void>&&>(value)) {
    enter();
  }
  ~scope_frame();
  scope_frame(const scope_frame&) = delete;
  scope_frame& operator=(const scope_frame&) = delete;

  const std::stop_token& token() const noexcept { return token_; }
  sched::nanotime deadline() const noexcept { return deadline_; }

  // The innermost value of that key that the caller has; null if there is none.
  static const void* find(std::uint64_t key) noexcept;
  // The earliest deadline up to the first shield; never if there is none.
  static sched::nanotime earliest() noexcept;

 private:
  friend class inheritance;
  explicit scope_frame(const inheritance& all) noexcept : inherited_(&all) { enter(); }

  void enter() noexcept;
  inheritance* collect(takes what);
  inheritance* gather(takes what, bool bound) const;

  scope_frame* outer_ = nullptr;
  sched::nanotime deadline_ = sched::never;
  std::stop_token token_;
  bool shield_ = false;
  int unwinding_ = 0;      // std::uncaught_exceptions() at its beginning
  std::uint64_t key_ = 0;  // 0: no value
  std::shared_ptr<const void> value_;
  const inheritance* inherited_ = nullptr;

  // What the children of this very place have taken along, by `takes`, to be used again.
  struct taken {
    bool known = false;
    inheritance* what = nullptr;
  };
  std::array<taken, 2> left_;
};

}  // namespace weft::inline v0::detail
