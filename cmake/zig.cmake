# Builds for another machine or C library than this one's: the presets linux-*.
#   SHIMMY_TARGET  what `zig cc -target` takes: aarch64-linux-gnu.2.17, x86_64-linux-musl, …
#   SHIMMY_ZIG     folder with the programs cc, c++ and ar that call it
set(CMAKE_TRY_COMPILE_PLATFORM_VARIABLES SHIMMY_TARGET SHIMMY_ZIG)
set(CMAKE_SYSTEM_NAME Linux)
string(REGEX MATCH "^[^-]+" CMAKE_SYSTEM_PROCESSOR "${SHIMMY_TARGET}")
set(CMAKE_C_COMPILER "${SHIMMY_ZIG}/cc")
set(CMAKE_CXX_COMPILER "${SHIMMY_ZIG}/c++")
set(CMAKE_C_COMPILER_TARGET "${SHIMMY_TARGET}")
set(CMAKE_CXX_COMPILER_TARGET "${SHIMMY_TARGET}")
set(CMAKE_AR "${SHIMMY_ZIG}/ar" CACHE FILEPATH "")
set(CMAKE_RANLIB "${SHIMMY_ZIG}/ranlib" CACHE FILEPATH "")
# Nobody has a debugger for it.
set(CMAKE_MODULE_LINKER_FLAGS_INIT "-s")
set(CMAKE_SHARED_LINKER_FLAGS_INIT "-s")
set(CMAKE_EXE_LINKER_FLAGS_INIT "-s")
