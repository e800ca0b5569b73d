"""Compile the paper's training steps for a CUDA card that need not be present.

    pip install '.[cuda]' && python benchmarks/compiled.py [--memory_gib=11]

XLA compiles for a description of a card (compute capability 8.0 here) and reports on
the program: the memory of a step with the paper's batch sizes, plain, with
rematerialization and with microbatches; its FLOPs; the kernels that it starts, and the
bytes that they read and write, if each reads all of its arguments; the share of the
state that it updates in place; and the operations that wait for the host. This runs on
any machine and times nothing but the compilation.
"""

import functools
import math
import os
import re
import time
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any
from unittest import mock

os.environ["JAX_PLATFORMS"] = "cpu"

import common
import jax
import numpy as np
from jax.experimental import topologies
from jax.sharding import Mesh, PartitionSpec
from ml_collections import ConfigDict

from mi_classifier import parallel
from mi_classifier.data.images import blank_dataset
from mi_classifier.progress import tracked
from mi_classifier.training import dry_run

CARD = """
gpu_device_info {{
  cuda_compute_capability {{ major: 8 }}
  core_count: 108
  fpus_per_core: 64
  clock_rate_ghz: 1.41
  memory_bandwidth: 1555000000000
  device_memory_size: {memory}
  l2_cache_size: 41943040
  threads_per_warp: 32
  threads_per_block_limit: 1024
  threads_per_core_limit: 2048
  shared_memory_per_block: 49152
  shared_memory_per_block_optin: 166912
  shared_memory_per_core: 167936
  registers_per_block_limit: 65536
  registers_per_core_limit: 65536
  block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535
  block_dim_limit_z: 65535
  thread_dim_limit_x: 1024
  thread_dim_limit_y: 1024
  thread_dim_limit_z: 64
}}
dnn_version_info {{ major: 9 minor: 8 }}
platform_name: "CUDA"
device_description_str: "a card of {memory} bytes"
"""
# Two ways to save memory: rematerialization and microbatches.
SAVINGS = {
    "plain": (),
    "remat": ("remat",),
    "microbatches": ("microbatches",),
    "both": ("remat", "microbatches"),
}
# Operations by which a running program talks to the host.
HOST_OPERATIONS = (
    r"\b(infeed|outfeed|send|recv|xla_python_\w*callback|xla_ffi_\w*callback)\b"
)
# Operations of a compiled program for which no kernel is started.
FREE = {
    *("parameter", "constant", "tuple", "get-tuple-element", "bitcast"),
    *("opt-barrier", "after-all", "partition-id"),
}
BYTES = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "s32": 4, "u32": 4, "f32": 4}


def card(memory_gib: float) -> jax.Device:
    """Returns a device for which programs can be compiled, but not run."""
    jax.devices()  # loads the CUDA plugin
    text = CARD.format(memory=int(memory_gib * 2**30))
    return topologies.get_topology_desc(
        "", "cuda", topology="1x1x1", target_config=text
    ).devices[0]


def on_devices(
    device: jax.Device,
    function: Callable[..., Any],
    in_axes: Sequence[Any],
    out_axes: Any,
    donate_argnums: Sequence[int],
) -> Callable[..., Any]:
    """Replaces `parallel.on_devices` for one device that is not present."""
    del out_axes  # everything that a step returns is replicated

    def each(function: Callable[[Any, Any], Any], *trees: Any) -> Any:
        return jax.tree.map(function, *trees, is_leaf=lambda axis: axis is None)

    def share(*arguments: Any) -> Any:
        own = each(
            lambda axis, tree: (
                tree if axis is None else jax.tree.map(itemgetter(0), tree)
            ),
            tuple(in_axes),
            arguments,
        )
        return function(*own)

    specs = each(
        lambda axis: PartitionSpec() if axis is None else PartitionSpec(parallel.AXIS),
        tuple(in_axes),
    )
    mesh = Mesh(np.array([device]), (parallel.AXIS,))
    mapped = jax.shard_map(
        share, mesh=mesh, in_specs=specs, out_specs=PartitionSpec(), check_vma=False
    )
    return jax.jit(mapped, donate_argnums=donate_argnums)


def lower_step(config: ConfigDict, device: jax.Device) -> jax.stages.Lowered:
    """Lowers one training step of a config for a device that is not present."""
    data = {"side": config.data.side, "normalization": config.data.normalization}
    stored = config.data.get("stored_side", config.data.side)
    dataset = blank_dataset(**data, stored_side=stored, num_classes=200)
    with (
        mock.patch.object(
            parallel, "on_devices", functools.partial(on_devices, device)
        ),
        mock.patch.object(parallel, "replicate", lambda tree: tree),
        mock.patch.object(jax, "default_backend", lambda: "gpu"),
    ):
        step, state, batches = dry_run.abstract_step(config, dataset)
        key = jax.eval_shape(lambda: jax.random.key(0))
        return step.func.lower(key, state, batches)


def bytes_of(kind: str) -> int:
    """Returns the bytes of an array or a tuple, such as "(f32[2,3]{1,0}, s32[])"."""
    return sum(
        BYTES.get(dtype, 8) * math.prod(int(n) for n in shape.split(",") if n)
        for dtype, shape in re.findall(r"(\w+)\[([\d,]*)\]", kind)
    )


def kernels_of(text: str) -> tuple[int, int]:
    """Returns the kernels of a compiled program, and the bytes that they move.

    Images are not counted: a kernel reads few of the whole split that is its argument.
    """
    computations, entry = {}, ""
    for line in text.splitlines():
        if head := re.match(r"(ENTRY )?%?([\w.\-]+) \(.*\{$", line):
            operations = computations[head[2]] = []
            entry = head[2] if head[1] else entry
        elif found := re.match(
            r"\s+(?:ROOT )?%?([\w.\-]+) = (.*?) ([\w\-]+)\((.*)$", line
        ):
            operations.append(found.groups())

    def count(name: str) -> tuple[int, int]:
        kinds = {name: kind for name, kind, _, _ in computations[name]}
        kernels, moved = 0, 0
        for _, kind, operation, rest in computations[name]:
            inner = re.findall(r"(?:body|to_apply|branch_\d+)=%?([\w.\-]+)", rest)
            if operation in ("while", "call", "conditional") and inner:
                parts = [count(each) for each in inner]
                kernels += sum(k for k, _ in parts)
                moved += sum(b for _, b in parts)
            elif operation not in FREE:
                given = re.findall(r"%([\w.\-]+)", rest.split("), ")[0])
                read = [kinds[n] for n in given if n in kinds]
                kernels += 1
                moved += bytes_of(kind)
                moved += sum(bytes_of(k) for k in read if not k.startswith("u8"))
        return kernels, moved

    return count(entry)


def analyze(config: ConfigDict, device: jax.Device) -> dict[str, float]:
    """Returns what XLA reports on a config's training step."""
    started = time.perf_counter()
    compiled = lower_step(config, device).compile()
    seconds = time.perf_counter() - started
    # XLA counts FLOPs only for a device that is present, so the CPU stands in.
    lowered = lower_step(config, jax.devices()[0])
    cost = lowered.cost_analysis() or lowered.compile().cost_analysis()
    memory, text = compiled.memory_analysis(), compiled.as_text()
    gib = 2**30
    kernels, moved = kernels_of(text)
    return {
        "temporary_gib": memory.temp_size_in_bytes / gib,
        "arguments_gib": memory.argument_size_in_bytes / gib,
        "in_place": memory.alias_size_in_bytes / memory.output_size_in_bytes,
        "total_gib": (memory.temp_size_in_bytes + memory.argument_size_in_bytes) / gib,
        "tera_flops": cost["flops"] / 1e12,
        "kernels": kernels,
        "gigabytes_moved": moved / 1e9,
        "compile_seconds": seconds,
        "host_calls": len(re.findall(HOST_OPERATIONS, text)),
    }


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--memory_gib", type=float, default=11)
    parser.add_argument("--batch_size", type=int, default=0, help="the paper's")
    parser.add_argument("--only", default="", help="nets whose name contains this")
    arguments = parser.parse_args()
    device = card(arguments.memory_gib)
    columns = ["compiled", "dtype", "remat", "batch", "GiB", "TFLOP", "in place"]
    columns += ["kernels", "GB moved", "host calls", "compiled in"]
    rows, results = [], []
    cases = [
        (backbone, data, dtype, saving)
        for data in ("cub200", "tiny_imagenet")
        for backbone in ("vgg16_gap", "resnet50")
        for dtype in ("float32", "bfloat16")
        for saving in (SAVINGS if dtype == "float32" else ("plain",))
        if arguments.only in f"{backbone} {data} {dtype} {saving}"
    ]
    for backbone, data, dtype, saving in tracked(cases, "compiling"):
        config = common.localization_config(backbone, data)
        config.model.dtype = dtype
        config.batch_size = arguments.batch_size or config.batch_size
        config.model.remat = "remat" in SAVINGS[saving]
        if "microbatches" in SAVINGS[saving]:
            config.microbatches = 5 if config.batch_size % 8 else 8
        case = {
            "net": f"{backbone}, {data}",
            "dtype": dtype,
            "remat": config.model.remat,
            "batch_size": config.batch_size,
            "microbatches": config.microbatches,
        }
        batch = f"{config.batch_size} / {config.microbatches}".removesuffix(" / 1")
        cells = [case["net"], dtype, "yes" if config.model.remat else "", batch]
        try:
            found = analyze(config, device)
            cells += [
                f"{found['total_gib']:.2f}",
                f"{found['tera_flops']:.2f}",
                f"{found['in_place']:.1%}",
                str(found["kernels"]),
                f"{found['gigabytes_moved']:.1f}",
                str(found["host_calls"]),
                f"{found['compile_seconds']:.0f} s",
            ]
        except jax.errors.JaxRuntimeError as error:
            found = {"error": " ".join(str(error).split())[:300]}
            cells.append(found["error"][:40])
        results.append(case | found)
        rows.append(cells + [""] * (len(columns) - len(cells)))
    title = f"one training step, for a card of {arguments.memory_gib:g} GiB"
    common.report(title, columns, rows, results, arguments.json)


if __name__ == "__main__":
    main()
