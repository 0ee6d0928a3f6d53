# weft_component(<name> [USES <lower component>...] [LIBRARIES <target>...] HEADERS <file>... SOURCES <file>...)
#
# Makes the object library weft_<name> and puts it into libweft. HEADERS, relative to include/, are installed; SOURCES are
# relative to src/. The include path holds the public headers of this component and of those it uses, and its own src/:
# an include against the direction of the floor plan does not compile.
function(weft_component name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "USES;LIBRARIES;HEADERS;SOURCES")
  list(TRANSFORM arg_HEADERS PREPEND include/)
  list(TRANSFORM arg_SOURCES PREPEND src/)
  list(TRANSFORM arg_USES PREPEND weft_)

  add_library(weft_${name} OBJECT ${arg_SOURCES})
  weft_set_flags(weft_${name})
  target_compile_features(weft_${name} PUBLIC cxx_std_20)
  target_include_directories(weft_${name} PUBLIC include PRIVATE src)
  target_link_libraries(weft_${name} PUBLIC ${arg_USES} PRIVATE ${arg_LIBRARIES})

  target_sources(weft PRIVATE $<TARGET_OBJECTS:weft_${name}>)
  target_sources(weft PUBLIC FILE_SET HEADERS BASE_DIRS include FILES ${arg_HEADERS})
endfunction()

# weft_add_on(<name> SYMBOL <symbol> [LIBRARIES <file>...] [INCLUDES <dir>...] SOURCES <file>...)
#
# Makes libweft-<name>, as the target weft::<name>, which links libweft and registers itself with it before main. Nobody
# calls into it, so the linker would leave it out: of a static one, whoever links it refers to SYMBOL, a C function.
function(weft_add_on name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "SYMBOL" "LIBRARIES;INCLUDES;SOURCES")
  list(TRANSFORM arg_SOURCES PREPEND src/)

  add_library(weft_${name} ${arg_SOURCES})
  add_library(weft::${name} ALIAS weft_${name})
  weft_set_flags(weft_${name})
  target_include_directories(weft_${name} PRIVATE src)
  target_include_directories(weft_${name} SYSTEM PRIVATE ${arg_INCLUDES})
  target_link_libraries(weft_${name} PUBLIC weft PRIVATE ${arg_LIBRARIES})
  target_link_options(weft_${name} PRIVATE -Wl,-z,relro,-z,now)
  get_target_property(type weft_${name} TYPE)
  if(type STREQUAL SHARED_LIBRARY)
    # -u is no reference in the eyes of --as-needed, which some compilers pass by themselves.
    target_link_options(weft_${name} INTERFACE
      "SHELL:-Wl,--push-state,--no-as-needed $<TARGET_FILE:$<TARGET_NAME:weft_${name}>> -Wl,--pop-state")
  else()
    target_link_options(weft_${name} INTERFACE "LINKER:-u,${arg_SYMBOL}")
  endif()
  set_target_properties(weft_${name} PROPERTIES
    EXPORT_NAME ${name} OUTPUT_NAME weft-${name}
    VERSION ${PROJECT_VERSION} SOVERSION ${PROJECT_VERSION_MAJOR}.${PROJECT_VERSION_MINOR})
endfunction()
