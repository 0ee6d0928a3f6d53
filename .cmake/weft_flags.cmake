# The flags of our own code. All of them are PRIVATE: a consumer of weft inherits none.

if(PROJECT_IS_TOP_LEVEL AND NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
  set(CMAKE_BUILD_TYPE RelWithDebInfo CACHE STRING "Build type" FORCE)
endif()

if(PROJECT_IS_TOP_LEVEL AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  find_program(WEFT_CCACHE ccache)
  mark_as_advanced(WEFT_CCACHE)
  if(WEFT_CCACHE)
    set(CMAKE_CXX_COMPILER_LAUNCHER ${WEFT_CCACHE})
    set(CMAKE_C_COMPILER_LAUNCHER ${WEFT_CCACHE})
  endif()
endif()

# A sanitizer covers a whole program, so it is set for the directory: tests and examples get it too.
if(WEFT_SANITIZE)
  add_compile_options(-fsanitize=${WEFT_SANITIZE} -fno-omit-frame-pointer)
  add_link_options(-fsanitize=${WEFT_SANITIZE})
  if(WEFT_SANITIZE MATCHES "undefined")
    # Not vptr: it probes memory through a pipe that it opens, so that a process without a free descriptor, which tests make
    # on purpose, is reported for its very first virtual call.
    add_compile_options(-fno-sanitize-recover=all -fno-sanitize=vptr)
    # Checked code confuses g++'s flow analysis: it warns of variables that are set.
    add_compile_options($<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>)
  endif()
endif()

# weft_set_warnings(<target>): the warnings that our code is free of.
function(weft_set_warnings target)
  target_compile_options(${target} PRIVATE -Wall -Wextra -Wshadow $<$<BOOL:${WEFT_WERROR}>:-Werror>)
endfunction()

# weft_set_flags(<target>): the flags of the library's own code.
#
# Stack clash protection touches every page of a large frame in turn, so that an overflowing fiber meets its guard.
function(weft_set_flags target)
  weft_set_warnings(${target})
  target_compile_options(${target} PRIVATE -fstack-clash-protection -fstack-protector-strong -fno-plt)
  if(NOT WEFT_SANITIZE)
    target_compile_options(${target} PRIVATE
      $<$<CONFIG:Release,RelWithDebInfo,MinSizeRel>:-U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2>)
  endif()
  target_compile_definitions(${target} PRIVATE 
    $<$<BOOL:${WEFT_DEBUG}>:WEFT_DEBUG=1> $<$<BOOL:${WEFT_FORCE_MIGRATION}>:WEFT_FORCE_MIGRATION=1>
    $<$<BOOL:${WEFT_PORTABLE_SWITCH}>:WEFT_PORTABLE_SWITCH=1>)
  set_target_properties(${target} PROPERTIES
    CXX_EXTENSIONS OFF
    CXX_VISIBILITY_PRESET hidden
    VISIBILITY_INLINES_HIDDEN ON
    POSITION_INDEPENDENT_CODE ON)
endfunction()
