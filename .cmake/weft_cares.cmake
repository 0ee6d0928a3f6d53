# WEFT_RESOLVER_FOUND: whether weft::resolver is built, and WEFT_CARES_INCLUDE_DIR and WEFT_CARES_LIBRARY if so.
#
# Debian's c-ares 1.18 has no CMake package. 1.16 is the first with ares_getaddrinfo.
set(WEFT_RESOLVER AUTO CACHE STRING "Build weft::resolver, for which c-ares is needed: ON, OFF, or AUTO if it is there")
set_property(CACHE WEFT_RESOLVER PROPERTY STRINGS AUTO ON OFF)
set(WEFT_RESOLVER_FOUND OFF)
if(WEFT_RESOLVER)
  find_path(WEFT_CARES_INCLUDE_DIR ares.h)
  find_library(WEFT_CARES_LIBRARY cares)
  mark_as_advanced(WEFT_CARES_INCLUDE_DIR WEFT_CARES_LIBRARY)
  if(WEFT_CARES_INCLUDE_DIR AND WEFT_CARES_LIBRARY)
    set(WEFT_RESOLVER_FOUND ON)
  elseif(NOT WEFT_RESOLVER STREQUAL "AUTO")
    message(FATAL_ERROR "WEFT_RESOLVER=${WEFT_RESOLVER}: c-ares is missing (Debian: libc-ares-dev)")
  endif()
endif()
