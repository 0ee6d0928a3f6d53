// code_names: addresses of code in words, each made once.
#pragma once

#include <weft/sched/symbols.hpp>

#include <string>
#include <unordered_map>

namespace weft::inline v0::debug {

// code_names is used by one thread at a time.
class code_names {
 public:
  // of names the function that a call returns to, and the place in it. Valid as long as this object.
  const std::string& of(const void* return_address);

 private:
  sched::symbolizer symbols_;
  std::unordered_map<const void*, std::string> names_;
};

}  // namespace weft::inline v0::debug
