"""The name of this machine's processor, which goes with every speed.

Servers often hide the model ("AMD EPYC"), so AMD's generation is added: speeds differ between them by a factor of two.
Families and models are those of the Linux kernel (arch/x86/kernel/cpu/amd.c, `init_amd_*`).
"""

import platform
from pathlib import Path

ZEN_4 = (*range(0x10, 0x20), *range(0x60, 0xB0))  # models of family 0x19; the others are Zen 3


def processor(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """The processor's name as far as the system knows it, with the generation of AMD's: "AMD EPYC (Zen 4)"."""
    try:
        lines = cpuinfo.read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    facts: dict[str, str] = {}
    for line in lines:
        key, _, value = line.partition(":")
        facts.setdefault(key.strip(), value.strip())
    name = facts.get("model name") or platform.processor() or platform.machine()
    zen = generation(facts.get("vendor_id", ""), number(facts.get("cpu family")), number(facts.get("model")))
    return f"{name} ({zen})" if zen else name


def generation(vendor: str, family: int, model: int) -> str:
    """AMD's generation, empty for what is not known here."""
    if vendor != "AuthenticAMD":
        return ""
    if family == 0x19:
        return "Zen 4" if model in ZEN_4 else "Zen 3"
    return {0x1A: "Zen 5"}.get(family, "")


def number(text: str | None) -> int:
    """-1 where there is none."""
    return int(text) if text and text.isdigit() else -1
