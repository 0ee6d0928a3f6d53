// Where over-aligned objects are, and so the stage and the channels: at the same addresses in every run, since a select
// takes its locks in the order of addresses.
#pragma once

namespace weft::testing {

// clear_arena begins anew. Until then nothing is used twice, so that what has ended still shows it.
void clear_arena();

}  // namespace weft::testing
