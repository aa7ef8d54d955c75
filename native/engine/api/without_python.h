// Work that needs nothing of Python, while its other threads run.
#pragma once
#include <Python.h>

// PyEval_RestoreThread, for a thread that may come back after the interpreter has ended: it then stays here. Python up
// to 3.13 would unwind it through C++, which ends the process as a crash.
void cpu1_restore_thread(PyThreadState *state);

// Gives Python's lock away until its end.
class WithoutPython {
  public:
    WithoutPython() : state_(PyEval_SaveThread()) {}
    WithoutPython(const WithoutPython &) = delete;
    WithoutPython &operator=(const WithoutPython &) = delete;
    ~WithoutPython() { cpu1_restore_thread(state_); }

  private:
    PyThreadState *state_;
};
