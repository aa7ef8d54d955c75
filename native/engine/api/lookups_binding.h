// Adds the lookups to the Python module (lookups_binding.cpp).
#pragma once
#include <nanobind/nanobind.h>

void bind_lookups(nanobind::module_ &m);
