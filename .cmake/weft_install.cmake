# cmake --install: the library, its headers, a CMake package (find_package(weft CONFIG)), weft.pc and what gdb needs.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set(WEFT_CMAKE_DIR ${CMAKE_INSTALL_LIBDIR}/cmake/weft)
install(TARGETS weft EXPORT weft_targets
  ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR}
  LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
  FILE_SET HEADERS DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(EXPORT weft_targets FILE weft-targets.cmake NAMESPACE weft:: DESTINATION ${WEFT_CMAKE_DIR})

set(add_ons)
foreach(add_on IN ITEMS lock_check resolver)
  if(TARGET weft_${add_on})
    list(APPEND add_ons ${add_on})
    install(TARGETS weft_${add_on} EXPORT weft_${add_on}_targets
      ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR}
      LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
    install(EXPORT weft_${add_on}_targets FILE weft-${add_on}-targets.cmake NAMESPACE weft::
      DESTINATION ${WEFT_CMAKE_DIR})
  endif()
endforeach()

get_target_property(WEFT_TYPE weft TYPE)
configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/weft-config.cmake.in
  ${PROJECT_BINARY_DIR}/weft-config.cmake INSTALL_DESTINATION ${WEFT_CMAKE_DIR} NO_SET_AND_CHECK_MACRO)
write_basic_package_version_file(${PROJECT_BINARY_DIR}/weft-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/weft-config.cmake ${PROJECT_BINARY_DIR}/weft-config-version.cmake
  DESTINATION ${WEFT_CMAKE_DIR})

# gdb's script: for programs that were stripped of it; and of a shared library under its file's full name, where a gdb of the
# same prefix loads it unasked.
set(WEFT_GDB_SCRIPT ${PROJECT_SOURCE_DIR}/runtime/gdb/weft-gdb.py)
install(FILES ${WEFT_GDB_SCRIPT} DESTINATION ${CMAKE_INSTALL_DATADIR}/weft)
if(WEFT_TYPE STREQUAL "SHARED_LIBRARY")
  install(CODE "
    cmake_path(ABSOLUTE_PATH CMAKE_INSTALL_PREFIX NORMALIZE OUTPUT_VARIABLE prefix)
    cmake_path(APPEND prefix \"${CMAKE_INSTALL_LIBDIR}\" OUTPUT_VARIABLE libdir)
    file(INSTALL \"${WEFT_GDB_SCRIPT}\"
      DESTINATION \"\${CMAKE_INSTALL_PREFIX}/${CMAKE_INSTALL_DATADIR}/gdb/auto-load\${libdir}\"
      RENAME \"$<TARGET_FILE_NAME:weft>-gdb.py\")")
endif()

# Boost's directory is named only if the linker doesn't look there by itself.
get_target_property(WEFT_PC_BOOST Boost::context LOCATION)
cmake_path(GET WEFT_PC_BOOST PARENT_PATH WEFT_PC_BOOST_DIR)
set(WEFT_PC_PRIVATE "-lboost_context -pthread")
if(NOT WEFT_PC_BOOST_DIR IN_LIST CMAKE_CXX_IMPLICIT_LINK_DIRECTORIES)
  string(PREPEND WEFT_PC_PRIVATE "-L${WEFT_PC_BOOST_DIR} ")
endif()
cmake_path(ABSOLUTE_PATH CMAKE_INSTALL_LIBDIR BASE_DIRECTORY "\${prefix}" OUTPUT_VARIABLE WEFT_PC_LIBDIR)
cmake_path(ABSOLUTE_PATH CMAKE_INSTALL_INCLUDEDIR BASE_DIRECTORY "\${prefix}" OUTPUT_VARIABLE WEFT_PC_INCLUDEDIR)
set(WEFT_PC_AT "@")
set(packages weft)
foreach(add_on IN LISTS add_ons)
  list(APPEND packages weft-${add_on})
endforeach()
foreach(package IN LISTS packages)
  set(pc ${PROJECT_BINARY_DIR}/${package}.pc)
  configure_file(${CMAKE_CURRENT_LIST_DIR}/${package}.pc.in ${pc}.configured @ONLY)
  # The prefix is known only when installing (cmake --install --prefix).
  install(CODE "
    set(WEFT_PC_PREFIX \"\${CMAKE_INSTALL_PREFIX}\")
    configure_file(\"${pc}.configured\" \"${pc}\" @ONLY)")
  install(FILES ${pc} DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
endforeach()
