"""What machine this is, and how fast it multiplies and moves at best: a benchmark's floor."""

import os
import platform
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp

NUM_TRIES = 50
LIKELY_SETS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")  # that matrix products may use


class Rates(NamedTuple):
    """Measured on all cores, the best of many tries.

    Attributes:
      float32_flops, bfloat16_flops: floating-point operations per second of JAX's product of
        (1024, 512) and (512, 2048) matrices, sums in float32.
      read_bytes: bytes per second of a sum over 256 MiB.
    """

    float32_flops: float
    bfloat16_flops: float
    read_bytes: float


def describe() -> str:
    """Processor, cores, instruction sets, memory and versions, as one line."""
    info = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    model = next((x.split(":")[1].strip() for x in info.splitlines() if "model name" in x), "")
    sets = [name for name in LIKELY_SETS if f" {name} " in info.replace("\n", " ")]
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("jax", "flax", "numpy"))
    return (
        f"{model or platform.processor()}, {os.cpu_count()} cores ({', '.join(sets)}), "
        f"{memory:.0f} GiB, Python {platform.python_version()}, {versions}"
    )


def measure() -> Rates:
    """Measures the rates; takes some seconds."""
    a = jnp.ones((1024, 512))
    b = jnp.ones((512, 2048))
    flops = 2 * 1024 * 512 * 2048
    numbers = jnp.ones(2**26)
    product = jax.jit(lambda a, b: jnp.dot(a, b, preferred_element_type=jnp.float32))
    half = a.astype(jnp.bfloat16), b.astype(jnp.bfloat16)
    return Rates(
        float32_flops=flops / _seconds(lambda: product(a, b)),
        bfloat16_flops=flops / _seconds(lambda: product(*half)),
        read_bytes=numbers.nbytes / _seconds(lambda: jnp.sum(numbers)),
    )


def _seconds(work: Callable[[], jax.Array]) -> float:
    work().block_until_ready()
    times = []
    for _ in range(NUM_TRIES):
        start = time.perf_counter()
        work().block_until_ready()
        times.append(time.perf_counter() - start)
    return min(times)
