# Builds for another system, or for older versions of this one, by zig's C++ compiler (`pip install ziglang`):
#     cmake -S native -B build/windows -DCMAKE_TOOLCHAIN_FILE=cmake/toolchain-zig.cmake -DCPU1_TARGET=x86_64-windows-gnu
# CPU1_TARGET is zig's name of a system: aarch64-linux-gnu.2.17, x86_64-linux-musl, aarch64-macos, x86_64-windows-gnu.
# ZIG is the command, a list: by default `zig` if there is one, else the module of the Python that is found first.
list(APPEND CMAKE_TRY_COMPILE_PLATFORM_VARIABLES CPU1_TARGET ZIG)
if(NOT CPU1_TARGET)
  set(CPU1_TARGET $ENV{CPU1_TARGET})
endif()
if(NOT ZIG)
  find_program(zig_program zig)
  find_program(zig_python NAMES python3 python)
  if(zig_program)
    set(ZIG ${zig_program})
  else()
    set(ZIG ${zig_python} -m ziglang)
  endif()
endif()

string(REPLACE "-" ";" parts "${CPU1_TARGET}")
list(GET parts 0 CMAKE_SYSTEM_PROCESSOR)
list(GET parts 1 system)
set(CMAKE_SYSTEM_NAME Linux)
if(system STREQUAL "windows")
  set(CMAKE_SYSTEM_NAME Windows)
elseif(system MATCHES "^macos")
  set(CMAKE_SYSTEM_NAME Darwin)
  set(CMAKE_INSTALL_NAME_TOOL install_name_tool)  # which CMake wants to find, and only an installation needs
elseif(system STREQUAL "wasi")
  set(CMAKE_SYSTEM_NAME Generic)
endif()

# CMake's ar and ranlib are one program each, so they get a script each.
set(scripts ${CMAKE_BINARY_DIR}/zig)
foreach(tool ar ranlib)
  if(NOT EXISTS ${scripts}/${tool})
    string(REPLACE ";" "\" \"" command "${ZIG}")
    file(WRITE ${scripts}/${tool} "#!/bin/sh\nexec \"${command}\" ${tool} \"$@\"\n")
    execute_process(COMMAND chmod +x ${scripts}/${tool})
  endif()
endforeach()
set(CMAKE_AR ${scripts}/ar)
set(CMAKE_RANLIB ${scripts}/ranlib)
set(CMAKE_C_COMPILER ${ZIG} cc -target ${CPU1_TARGET})
set(CMAKE_CXX_COMPILER ${ZIG} c++ -target ${CPU1_TARGET})
# Checks only compile: zig would build its C++ library again for the flags of each check that links.
set(CMAKE_TRY_COMPILE_TARGET_TYPE STATIC_LIBRARY)
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
