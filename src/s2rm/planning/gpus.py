"""The GPUs that a plan is made for, by the numbers of their makers' data sheets."""

import difflib
from dataclasses import dataclass

from s2rm.core.errors import UserError

GIB = 2**30


@dataclass(frozen=True)
class GPU:
    """What one GPU offers."""

    name: str
    memory: float
    """GiB."""
    bandwidth: float = 0.0
    """Of its memory, TB/s; 0: unknown."""
    half: float = 0.0
    """Dense matrix products in bfloat16 (float16 where it has no bfloat16), TFLOP/s."""
    single: float = 0.0
    """The same in float32, TFLOP/s."""
    bfloat16: bool = True


# NVIDIA's data sheets of each GPU; products are dense, with sums in float32, without TF32.
GPUS = {
    gpu.name: gpu
    for gpu in (
        GPU("B200", 180, 7.7, 2250, 75),
        GPU("H200", 141, 4.8, 989, 67),
        GPU("H100", 80, 3.35, 989, 67),
        GPU("A100-80GB", 80, 2.04, 312, 19.5),
        GPU("A100-40GB", 40, 1.56, 312, 19.5),
        GPU("L40S", 48, 0.864, 362, 91.6),
        GPU("A6000", 48, 0.768, 155, 38.7),
        GPU("RTX5090", 32, 1.79, 210, 105),
        GPU("RTX4090", 24, 1.01, 165, 82.6),
        GPU("RTX3090", 24, 0.936, 71, 35.6),
        GPU("L4", 24, 0.3, 121, 30.3),
        GPU("V100-32GB", 32, 0.9, 125, 15.7, bfloat16=False),
        GPU("T4", 16, 0.32, 65, 8.1, bfloat16=False),
    )
}


def find_device(name: str, memory: float) -> GPU | None:
    """Return the GPU that CUDA calls `name`, as "NVIDIA H100 80GB HBM3"; None where it is not listed.

    Args:
        name: of the device.
        memory: of the device, in GiB, which tells apart those of one name.
    """
    plain = name.replace(" ", "")
    same = [gpu for gpu in GPUS.values() if gpu.name.split("-")[0] in plain]
    return min(same, key=lambda gpu: abs(gpu.memory - memory), default=None)


def find_gpu(text: str) -> GPU:
    """Return a GPU by its name, in any case; or one with so many GiB of memory and nothing else known.

    Raises:
        UserError: the text is neither.
    """
    known = {name.casefold(): gpu for name, gpu in GPUS.items()}
    if found := known.get(text.casefold()):
        return found
    try:
        memory = float(text)
    except ValueError:
        memory = 0.0
    if not 0 < memory < 10_000:
        name = text.casefold()
        near = [other for other in known if name in other] or difflib.get_close_matches(name, known, 3, 0.5)
        names = ", ".join(known[name].name for name in near) or ", ".join(GPUS)
        raise UserError(f"unknown GPU {text!r}: give its memory in GiB, or one of {names}")
    return GPU(f"{memory:g} GiB", memory)
