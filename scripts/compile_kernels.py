"""Compile the sleep kernels ahead of time for GPUs that need not be here, and report what the machine code uses.

    python scripts/compile_kernels.py [--arch 80 90 100] [--all] [--out FOLDER]

One line per kernel: registers per thread, bytes spilled, shared memory, size. `--all` adds inhibition, biases, recording
and widths that are no multiple of 16 to the everyday kernels. `--out` keeps the table (`resources.csv`) and the sm_90
listings, PTX and SASS. Exits with 1 when a kernel spills.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path

os.environ.pop("TRITON_INTERPRET", None)  # read when a kernel is defined: an interpreted kernel cannot be compiled

import pandas as pd
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, CompiledKernel

from src_lab.sleep import triton_device
from src_lab.sleep.rules import RULES
from src_lab.sleep.triton_kernel import BLOCKS, LAUNCH, PARAMETERS

ARCHITECTURES = (80, 90, 100)
LISTED = 90
WEIGHT_TYPES = {"float32": "fp32", "float64": "fp64"}
POINTED = {"impulse_sum": "fp64", **dict.fromkeys(("count", "pre_count", "diverged"), "i32")}
POINTED |= dict.fromkeys(("spike", "pre_spike"), "u8")
"""Types behind the pointers that do not point to numbers of the weights' dtype."""


@dataclass(frozen=True)
class Variant:
    """A kernel with its compile-time constants, as the backend launches it; `aligned`: n_in is a multiple of 16."""

    kernel: str
    dtype: str
    rule: str = "none"
    inhibited: bool = False
    biased: bool = False
    recording: bool = False
    aligned: bool = True

    @property
    def name(self) -> str:
        marks = [mark for mark in ("inhibited", "biased", "recording", "aligned") if getattr(self, mark)]
        return "-".join([self.kernel, self.dtype, self.rule, *marks])

    def compile(self, arch: int) -> CompiledKernel:
        kernel = getattr(triton_device, self.kernel)
        known = BLOCKS | {
            "PARAMETERS": PARAMETERS,
            "RULE": self.rule,
            "INHIBITED": self.inhibited,
            "BIASED": self.biased,
            "RECORD": self.recording,
        }
        constants = {name: known[name] for name in kernel.arg_names if name in known}
        signature = {name: "constexpr" if name in constants else self._type(name) for name in kernel.arg_names}
        multiples = [name for name in signature if name.endswith("_ptr") or (name == "n_in" and self.aligned)]
        divisible = {(kernel.arg_names.index(name),): [["tt.divisibility", 16]] for name in multiples}
        source = ASTSource(kernel, signature, constexprs=constants, attrs=divisible)
        return triton.compile(source, target=GPUTarget("cuda", arch, 32), options=LAUNCH)

    def _type(self, argument: str) -> str:
        if not argument.endswith("_ptr"):
            return "i32"
        return "*" + POINTED.get(argument.removesuffix("_ptr"), WEIGHT_TYPES[self.dtype])


def variants(everything: bool) -> Iterator[Variant]:
    """The kernels of a sleep without inhibition, biases or records at widths that are multiples of 16, or all kernels."""
    choices = (False, True) if everything else (False,)
    for dtype, unaligned in product(WEIGHT_TYPES, choices):
        if everything:
            yield Variant("sum_impulses", dtype, aligned=not unaligned)
        for rule, inhibited, biased, recording in product(RULES, choices, choices, choices):
            yield Variant("step", dtype, rule, inhibited, biased, recording, aligned=not unaligned)


def measure(variant: Variant, arch: int, out: Path | None) -> dict[str, object]:
    """Compile one kernel for one GPU architecture: a row of the table. With `out`, write its listing."""
    compiled = variant.compile(arch)
    with tempfile.NamedTemporaryFile(suffix=".cubin") as cubin:
        cubin.write(compiled.asm["cubin"])
        cubin.flush()
        usage = _tool("cuobjdump", "-res-usage", cubin.name)
        if out is not None and arch == LISTED:
            (out / f"{variant.name}-sm_{arch}.ptx").write_text(compiled.asm["ptx"])
            (out / f"{variant.name}-sm_{arch}.sass").write_text(_tool("cuobjdump", "-sass", cubin.name))
    # Spilled registers live on the stack, and nothing else does: the kernels have no arrays of their own.
    registers, stack = (int(re.search(rf"{key}:(\d+)", usage)[1]) for key in ("REG", "STACK"))
    return {
        "arch": f"sm_{arch}",
        **asdict(variant),
        "registers": registers,
        "spilled_bytes": stack,
        "shared_bytes": compiled.metadata.shared,
        "code_bytes": len(compiled.asm["cubin"]),
    }


def _tool(name: str, *arguments: str) -> str:
    """Output of one of the CUDA tools that Triton ships."""
    path = getattr(triton.knobs.nvidia, name).path
    return subprocess.run([path, *arguments], check=True, capture_output=True, text=True).stdout


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", type=int, nargs="+", default=ARCHITECTURES, help="compute capabilities, e.g. 80 90")
    parser.add_argument("--all", action="store_true", help="every kernel the backend may launch, not the everyday ones")
    parser.add_argument("--out", type=Path, help="folder for the table and the listings")
    arguments = parser.parse_args()
    if arguments.out is not None:
        arguments.out.mkdir(parents=True, exist_ok=True)
    table = pd.DataFrame([measure(v, arch, arguments.out) for arch in arguments.arch for v in variants(arguments.all)])
    print(table.to_string(index=False))
    if arguments.out is not None:
        table.to_csv(arguments.out / "resources.csv", index=False)
    spilling = table[table.spilled_bytes > 0]
    if len(spilling):
        print(f"{len(spilling)} of {len(table)} kernels spill: lower BLOCKS in src_lab/sleep/triton_kernel.py")
    return int(len(spilling) > 0)


if __name__ == "__main__":
    sys.exit(main())
