# argus_room(NAME SOURCES ... DEPENDS ... LIBRARIES ...): one static library a room, alias argus::NAME, include root = repository root.
# argus_test(ROOM SOURCES ... [LIBRARIES ...]): the room's unit tests, one binary, registered with CTest.
include_guard(GLOBAL)

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
find_package(Threads REQUIRED)

# A compiler cache is used when there is one, and never needed.
find_program(ARGUS_CCACHE ccache)
mark_as_advanced(ARGUS_CCACHE)
if(ARGUS_CCACHE AND PROJECT_IS_TOP_LEVEL AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${ARGUS_CCACHE})
endif()

add_library(argus_flags INTERFACE)
# Decisions must be the same bits from GCC and Clang, at any optimisation: no fused multiply-add, no reassociation.
target_compile_options(argus_flags INTERFACE -ffp-contract=off -Wall -Wextra -Wpedantic -Wshadow -Wnon-virtual-dtor -Wold-style-cast)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # GCC 12 reports impossible overlaps inside std::string::insert and replace (GCC bug 105651), and strings of nested
  # aggregates with default initializers as uninitialized (bug 105562); Clang and the sanitizers look for the latter too.
  target_compile_options(argus_flags INTERFACE -Wno-restrict -Wno-maybe-uninitialized)
endif()
if(ARGUS_WERROR)
  target_compile_options(argus_flags INTERFACE -Werror)
endif()
if(ARGUS_SANITIZE)
  target_compile_options(argus_flags INTERFACE -fsanitize=${ARGUS_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  target_link_options(argus_flags INTERFACE -fsanitize=${ARGUS_SANITIZE})
endif()

if(ARGUS_TESTS)
  find_package(GTest REQUIRED)
  include(GoogleTest)
  enable_testing()
endif()

function(argus_room name)
  cmake_parse_arguments(ROOM "" "" "SOURCES;DEPENDS;LIBRARIES" ${ARGN})
  add_library(argus_${name} STATIC ${ROOM_SOURCES})
  add_library(argus::${name} ALIAS argus_${name})
  target_include_directories(argus_${name} PUBLIC ${PROJECT_SOURCE_DIR})
  target_link_libraries(argus_${name} PUBLIC ${ROOM_DEPENDS} PRIVATE argus_flags ${ROOM_LIBRARIES})
endfunction()

function(argus_test room)
  if(NOT ARGUS_TESTS)
    return()
  endif()
  cmake_parse_arguments(TEST "" "" "SOURCES;LIBRARIES" ${ARGN})
  add_executable(argus_${room}_test ${TEST_SOURCES})
  target_link_libraries(argus_${room}_test PRIVATE argus::${room} argus_flags GTest::gtest_main ${TEST_LIBRARIES})
  gtest_discover_tests(argus_${room}_test DISCOVERY_MODE PRE_TEST DISCOVERY_TIMEOUT 60)
endfunction()
