// What the parts of the Python module share: arrays as they come in, and refusals.
#pragma once
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <stdint.h>

template <class Value, int... Sizes>
using Array = nanobind::ndarray<Value, nanobind::shape<Sizes...>, nanobind::c_contig, nanobind::device::cpu>;

inline void require(bool holds, const char *what) {
    if (!holds) throw nanobind::value_error(what);
}
inline int64_t length(size_t n) { return static_cast<int64_t>(n); }
