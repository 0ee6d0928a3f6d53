// WEFT_API marks what the shared library exports; everything else is built with hidden visibility.
#pragma once

#define WEFT_API __attribute__((visibility("default")))
