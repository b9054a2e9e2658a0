"""Which CPU this is, and what a deployment CPU can do with 8-bit products."""

import platform
from functools import cache
from pathlib import Path


@cache
def host_flags() -> tuple[str, ...]:
    """The vector extensions of this machine that matter to integer and float kernels.

    Empty where the operating system does not tell (only Linux has /proc/cpuinfo).
    """
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ()
    words = {
        word
        for line in text.splitlines()
        if line.startswith(("flags", "Features"))
        for word in line.partition(":")[2].split()
    }
    relevant = ("avx", "fma", "f16c", "amx", "sse4", "asimd", "sve", "i8mm", "bf16")
    return tuple(sorted(word for word in words if word.startswith(relevant)))


@cache
def processor() -> str:
    """The processor's model name, which Linux tells only in /proc/cpuinfo."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return platform.processor() or platform.machine()
    for line in text.splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def has_int8_dot(cpu: str) -> bool:
    """Whether 8-bit products are summed without saturating 16-bit pairs.

    VNNI and the Arm dot product accumulate in 32 bits. AVX2 and plain AVX-512 go through
    VPMADDUBSW, whose pairwise 16-bit sums saturate: full 8-bit weights give wrong results there.

    Args:
        cpu: "host", "vnni", "avx2" or "arm64".
    """
    if cpu != "host":
        return cpu in ("vnni", "arm64")
    if platform.machine().lower() in ("arm64", "aarch64"):
        return True
    return any("vnni" in flag or flag == "amx_int8" for flag in host_flags())
