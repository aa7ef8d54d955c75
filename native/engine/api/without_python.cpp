// Compiled without exceptions (CMakeLists.txt): the C library then comes back from unwinding with a jump, before any frame
// of C++ is asked. Those would need the unwinder of the compiler that made Python, and wheels are made by another one.
#include "api/without_python.h"

#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#include <unistd.h>

#ifdef __EXCEPTIONS
#error "compile this file with -fno-exceptions"
#endif

namespace {

void stay(void *) {
    for (;;) pause();
}

}  // namespace

void cpu1_restore_thread(PyThreadState *state) {
    pthread_cleanup_push(stay, nullptr);
    PyEval_RestoreThread(state);
    pthread_cleanup_pop(0);
}
#else
void cpu1_restore_thread(PyThreadState *state) { PyEval_RestoreThread(state); }
#endif
