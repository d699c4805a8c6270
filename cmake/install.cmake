# Every destination is relative: the installed package may be moved.
include(CMakePackageConfigHelpers)

set(package_dir share/cmake/lipgd)
install(TARGETS lipgd EXPORT lipgdTargets FILE_SET HEADERS DESTINATION include)
install(EXPORT lipgdTargets NAMESPACE lipgd:: DESTINATION ${package_dir})
configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/lipgdConfig.cmake.in lipgdConfig.cmake
                              INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(lipgdConfigVersion.cmake COMPATIBILITY SameMinorVersion ARCH_INDEPENDENT)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/lipgdConfig.cmake
              ${CMAKE_CURRENT_BINARY_DIR}/lipgdConfigVersion.cmake DESTINATION ${package_dir})
