// Which interpreters a module may be imported in.
#pragma once
#include <nanobind/nanobind.h>

// Call first: a subinterpreter is refused in words, also where Python itself would let it in (up to 3.11, and "legacy"
// ones later). Types of C++ are the process's, not an interpreter's.
inline void refuse_subinterpreters() {
    if (PyInterpreterState_GetID(PyInterpreterState_Get()) != 0)
        throw nanobind::import_error("cpu1 does not run in subinterpreters; use threads or processes");
}
