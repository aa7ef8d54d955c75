# The instruction sets that kernels may be compiled for, best first, each with its flags. Nothing is compiled for the
# build machine alone: `runs_<set>` in native/isa/isa.h asks the processor at load.
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  set(instruction_sets avx512vnni avx512 avxvnni avx2 ssse3 portable)
elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "aarch64|arm64|ARM64")
  set(instruction_sets neon armv8 portable)
elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "wasm")
  set(instruction_sets relaxed portable)  # a module with `relaxed` in it loads only where that is known
else()
  set(instruction_sets portable)
endif()
set(flags_portable)
set(flags_ssse3 -mssse3)
set(flags_avx2 -mavx2 -mfma)
set(flags_avxvnni ${flags_avx2} -mavxvnni)
set(flags_avx512 ${flags_avx2} -mavx512f -mavx512bw -mavx512dq -mavx512vl -mprefer-vector-width=512)
set(flags_avx512vnni ${flags_avx512} -mavx512vnni)
set(flags_relaxed -mrelaxed-simd)
set(flags_armv8)
set(flags_neon -march=armv8.2-a+dotprod)

# Leaves out what the compiler does not know, and what nobody asked for.
include(CheckCXXSourceCompiles)
foreach(isa IN LISTS instruction_sets)
  string(REPLACE ";" " " CMAKE_REQUIRED_FLAGS "${flags_${isa}}")
  check_cxx_source_compiles("int main() { return 0; }" compiler_knows_${isa})
  if(NOT compiler_knows_${isa} OR (CPU1_SETS AND NOT isa IN_LIST CPU1_SETS))
    list(REMOVE_ITEM instruction_sets ${isa})
  endif()
endforeach()
unset(CMAKE_REQUIRED_FLAGS)

# Writes a line SET(name) for each set, best first, for a dispatcher to include.
function(write_sets path)
  list(TRANSFORM ARGN REPLACE "(.+)" "SET(\\1)\n" OUTPUT_VARIABLE lines)
  string(CONCAT text ${lines})
  file(CONFIGURE OUTPUT ${path} CONTENT "${text}" @ONLY)
endfunction()
