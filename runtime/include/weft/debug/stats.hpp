// Statistics in the form that Prometheus reads.
#pragma once

#include <weft/export.hpp>
#include <weft/runtime.hpp>

#include <string>
#include <string_view>

namespace weft::inline v0::debug {

// current_stats returns the figures of the runtime of the calling fiber or entered thread. Throws errc::no_runtime without
// one, and std::bad_alloc.
[[nodiscard]] WEFT_API runtime_stats current_stats();

// prometheus_text writes figures in Prometheus's text format, version 0.0.4: metrics named weft_*, with the label
// processor where they are of one, and `labels` (`job="a",instance="b"`, as they stand) on each. How it is served is the
// caller's affair. Throws std::bad_alloc.
[[nodiscard]] WEFT_API std::string prometheus_text(const runtime_stats& stats, std::string_view labels = {});

}  // namespace weft::inline v0::debug
