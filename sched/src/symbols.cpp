#include <weft/sched/symbols.hpp>

#include "code_module.hpp"
#include "demangler.hpp"
#include "symbol_file.hpp"
#include "text_buffer.hpp"

#include <weft/sched/sys.hpp>

#include <algorithm>
#include <new>
#include <string>
#include <unordered_map>
#include <vector>

namespace weft::inline v0::sched {

namespace {

constexpr std::size_t longest_module = 64;
constexpr std::size_t longest_function = 512;

std::uintptr_t to_look_up(const void* address, code_address kind) noexcept {
  const auto a = reinterpret_cast<std::uintptr_t>(address);
  return kind == code_address::return_address ? a - 1 : a;
}

// short_name writes the name of a module into at most longest_module characters.
std::string_view short_name(const code_module& module, std::span<char> room) noexcept {
  text_buffer name(room.first(std::min(room.size(), longest_module)));
  name.append(module_name(module));
  return name.text();
}

// append_name appends the name of a function in C++. Not inlined: the buffer would add to the stack of its caller.
[[gnu::noinline]] void append_name(const symbol_file& file, const function_symbol& function, demangler& names,
                                   text_buffer& out) noexcept {
  char name[demangler::longest_name + 2];
  const bool whole = file.name(function, name).size() < sizeof name - 1;
  names.append(name, out);
  if (!whole && !out.is_cut()) out.cut();
}

}  // namespace

code_location locate(const void* address, code_address kind, std::span<char> names) noexcept {
  const keep_errno errno_as_it_was;
  code_location found;
  found.address = reinterpret_cast<std::uintptr_t>(address);
  const std::uintptr_t wanted = to_look_up(address, kind);
  code_module module;
  if (!find_module(wanted, module)) return found;
  found.module = short_name(module, names);
  found.module_offset = found.address - module.bias;

  const symbol_file file(open_module(module));
  function_symbol function;
  if (!file.find(wanted - module.bias, function)) return found;
  text_buffer function_text(names.subspan(found.module.size()));
  demangler demangled(demangler::allocation::forbidden);
  append_name(file, function, demangled, function_text);
  found.function = function_text.text();
  found.function_offset = found.module_offset - function.start;
  return found;
}

std::string_view print_location(const code_location& location, std::span<char> room) noexcept {
  char tail[longest_module + 64];
  text_buffer end(tail);
  if (location.module.empty()) {
    end.append_hex(location.address);
  } else if (location.function.empty()) {
    end.append(location.module);
    end.append("+");
    end.append_hex(location.module_offset);
  } else {
    end.append("+");
    end.append_hex(location.function_offset);
    end.append(" (");
    end.append(location.module);
    end.append("+");
    end.append_hex(location.module_offset);
    end.append(")");
  }
  // What is cut is the function, not what stands behind it.
  text_buffer begin(room.first(room.size() - std::min(end.text().size(), room.size())));
  begin.append(location.function);
  text_buffer rest(room.subspan(begin.text().size()));
  rest.append(end.text());
  return {room.data(), begin.text().size() + rest.text().size()};
}

namespace {

struct loaded_module {
  explicit loaded_module(const code_module& m) : start(m.start), bias(m.bias), file(open_module(m)) {
    name = short_name(m, name_room);
    symbol_file::cursor all(file);
    for (function_symbol f; all.next(f);) functions.push_back(f);
    // Of those that begin together the one that hides the others, as symbol_file::find has it.
    std::stable_sort(functions.begin(), functions.end(), [](const auto& a, const auto& b) {
      return a.start != b.start ? a.start < b.start : a.hides(b);
    });
    functions.erase(std::unique(functions.begin(), functions.end(),
                                [](const auto& a, const auto& b) { return a.start == b.start; }),
                    functions.end());
  }

  const function_symbol* find(std::uintptr_t address) const noexcept {
    const auto behind = std::upper_bound(functions.begin(), functions.end(), address,
                                         [](std::uintptr_t a, const function_symbol& f) { return a < f.start; });
    if (behind == functions.begin() || !(behind - 1)->covers(address)) return nullptr;
    return &*(behind - 1);
  }

  const void* const start;
  const std::uintptr_t bias;
  std::string_view name;
  char name_room[longest_module];
  const symbol_file file;
  std::vector<function_symbol> functions;
};

// place is what is remembered of an address.
struct place {
  std::string_view module;
  std::uintptr_t bias = 0;
  std::string function;
  std::uintptr_t function_start = 0;
};

}  // namespace

struct symbolizer::state {
  const loaded_module& module_of(const code_module& m) {
    for (const auto& known : modules) {
      if (known->start == m.start) return *known;
    }
    modules.push_back(std::make_unique<loaded_module>(m));
    return *modules.back();
  }

  const place& place_of(std::uintptr_t address) {
    if (const auto known = places.find(address); known != places.end()) return known->second;
    const keep_errno errno_as_it_was;
    place p;
    if (code_module m; find_module(address, m)) {
      const loaded_module& module = module_of(m);
      p.module = module.name;
      p.bias = module.bias;
      if (const function_symbol* f = module.find(address - module.bias)) {
        text_buffer name(text);
        append_name(module.file, *f, names, name);
        p.function = name.text();
        p.function_start = f->start;
      }
    }
    return places.emplace(address, std::move(p)).first->second;
  }

  std::vector<std::unique_ptr<loaded_module>> modules;
  std::unordered_map<std::uintptr_t, place> places;
  demangler names{demangler::allocation::allowed};
  char text[longest_function];
};

symbolizer::symbolizer() noexcept : state_(new (std::nothrow) state) {}
symbolizer::~symbolizer() = default;

code_location symbolizer::locate(const void* address, code_address kind) noexcept {
  code_location found;
  found.address = reinterpret_cast<std::uintptr_t>(address);
  if (state_ == nullptr) return found;
  try {
    const place& p = state_->place_of(to_look_up(address, kind));
    if (p.module.empty()) return found;
    found.module = p.module;
    found.module_offset = found.address - p.bias;
    if (p.function.empty()) return found;
    found.function = p.function;
    found.function_offset = found.module_offset - p.function_start;
  } catch (const std::bad_alloc&) {
  }
  return found;
}

}  // namespace weft::inline v0::sched
