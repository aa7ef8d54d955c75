// Work that needs nothing of Python, while its other threads run.
#pragma once
#include <Python.h>

#include <chrono>
#include <thread>

#ifdef __GLIBC__
#include <cxxabi.h>
#endif

// Gives Python's lock away. A thread that comes back for it after the interpreter has ended stays here: Python up to
// 3.13 would unwind it through C++, which ends the process as a crash.
class WithoutPython {
  public:
    WithoutPython() : state_(PyEval_SaveThread()) {}
    WithoutPython(const WithoutPython &) = delete;
    WithoutPython &operator=(const WithoutPython &) = delete;
    ~WithoutPython() {
#ifdef __GLIBC__
        try {
            PyEval_RestoreThread(state_);
        } catch (abi::__forced_unwind &) {
            for (;;) std::this_thread::sleep_for(std::chrono::hours(1));
        }
#else
        PyEval_RestoreThread(state_);
#endif
    }

  private:
    PyThreadState *state_;
};
