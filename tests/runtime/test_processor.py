"""The processor's name, with the generation that servers hide."""

import pytest

from cpu1.runtime.processor import processor

CPUINFO = """processor\t: 0
vendor_id\t: {vendor}
cpu family\t: {family}
model\t\t: {model}
model name\t: {name}

processor\t: 1
model name\t: another
"""


@pytest.mark.parametrize(
    ("vendor", "family", "model", "name", "wanted"),
    [
        ("AuthenticAMD", 25, 1, "AMD EPYC", "AMD EPYC (Zen 3)"),
        ("AuthenticAMD", 25, 17, "AMD EPYC", "AMD EPYC (Zen 4)"),
        ("AuthenticAMD", 25, 0xA0, "AMD EPYC", "AMD EPYC (Zen 4)"),
        ("AuthenticAMD", 26, 2, "AMD EPYC 9755", "AMD EPYC 9755 (Zen 5)"),
        ("AuthenticAMD", 23, 1, "AMD EPYC 7551", "AMD EPYC 7551"),
        ("GenuineIntel", 6, 143, "Intel(R) Xeon(R) Processor", "Intel(R) Xeon(R) Processor"),
    ],
)
def test_names(tmp_path, vendor, family, model, name, wanted):
    path = tmp_path / "cpuinfo"
    path.write_text(CPUINFO.format(vendor=vendor, family=family, model=model, name=name))
    assert processor(path) == wanted


@pytest.mark.parametrize("text", ["", "Processor : ARM\nBogoMIPS : 5\n", "cpu family : many\nvendor_id : AuthenticAMD"])
def test_systems_without_a_name(tmp_path, text):
    (tmp_path / "cpuinfo").write_text(text)
    assert processor(tmp_path / "cpuinfo")
    assert processor(tmp_path / "missing")
