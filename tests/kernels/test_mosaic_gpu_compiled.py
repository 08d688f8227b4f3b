"""Every Mosaic GPU kernel compiled for an H200, where NVIDIA's compiler is installed.

No GPU is needed, but `jax[cuda13]`, which is several gigabytes. A kernel that ptxas had
to give more than some memory for its registers fails.
"""

import importlib.util
import os
import re
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("jax_cuda13_plugin") is None,
    reason="compiling for an H200 without one needs jax[cuda13]",
)

H200 = """
gpu_device_info {
  threads_per_block_limit: 1024  threads_per_warp: 32  threads_per_core_limit: 2048
  shared_memory_per_block: 49152  shared_memory_per_core: 233472
  shared_memory_per_block_optin: 232448  core_count: 132  fpus_per_core: 128
  registers_per_core_limit: 65536  registers_per_block_limit: 65536
  block_dim_limit_x: 2147483647  block_dim_limit_y: 65535  block_dim_limit_z: 65535
  memory_bandwidth: 4800000000000  l2_cache_size: 52428800  clock_rate_ghz: 1.98
  device_memory_size: 143771000000
  cuda_compute_capability { major: 9 minor: 0 }
}
platform_name: "CUDA"
dnn_version_info { major: 9 minor: 8 }
runtime_version { major: 13 }
device_description_str: "NVIDIA H200"
"""

# A process of its own: ptxas writes past Python, to the process's standard output.
PROGRAM = f"""
import jax
import jaxtemp
from jax.experimental import topologies
from jax.sharding import SingleDeviceSharding
from jaxtemp.losses import cross_entropy

topology = topologies.get_topology_desc(
    platform="cuda",
    topology_name="h200:1",
    topology="1x1x1",
    target_config='''{H200}''',
)
on_chip = SingleDeviceSharding(topology.devices[0])


def array(*shape, dtype="float32"):
    return jax.ShapeDtypeStruct(shape, dtype, sharding=on_chip)


def pull(op):
    return lambda z, tau, g: jax.vjp(op, z, tau)[1](g)


def draw(z, tau):
    return jaxtemp.categorical(jax.random.key(0), z, tau)


def draw_largest(z, tau):
    return jaxtemp.categorical(jax.random.key(0), z, 0)


def draw_kept(z, tau):
    return jaxtemp.sample(jax.random.key(0), z, tau, top_p=0.9, min_p=0.1)


def draw_own_top_k(z, tau, k):
    return jaxtemp.sample(jax.random.key(0), z, tau, top_k=k)


def loss_and_slope(z, labels, tau):
    return jax.value_and_grad(lambda z: cross_entropy(z, labels, tau).sum())(z)


count = 0
for rows, classes in SIZES:
    z, tau = array(rows, classes, dtype=DTYPE), array(rows)
    labels = array(rows, dtype="int32")
    programs = [
        (jaxtemp.softmax, (z, tau)),
        (jaxtemp.log_softmax, (z, tau)),
        (jaxtemp.entropy, (z, tau)),
        (pull(jaxtemp.softmax), (z, tau, z)),
        (pull(jaxtemp.log_softmax), (z, tau, z)),
        (loss_and_slope, (z, labels, tau)),
        (draw, (z, tau)),
        (draw_largest, (z, tau)),
        (draw_kept, (z, tau)),
        (draw_own_top_k, (z, tau, labels)),
    ]
    for program, arguments in programs:
        jax.jit(program).lower(*arguments).compile()
        count += 1
print("compiled", count)
"""


# Blocks share the few rows.
SIZES = [(512, 1000), (512, 32_000), (512, 131_072), (512, 262_144)]
SIZES += [(8, 131_072), (8, 1_000_000)]


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_every_kernel_compiles_and_spills_few_registers(dtype):
    program = f"SIZES, DTYPE = {SIZES}, {dtype!r}\n{PROGRAM}"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"JAX_PLATFORMS": "cpu", "MOSAIC_GPU_DUMP_PTXAS": "1"},
        capture_output=True,
        check=False,
    )
    output = (done.stdout + done.stderr).decode(errors="replace")
    assert done.returncode == 0, output[-2000:]
    assert "compiled 60" in output
    spilled = [int(n) for n in re.findall(r"(\d+) bytes spill stores, \d+", output)]
    # Ten programs of each size. The loss is two kernels, the draw of what is kept
    # three, of which one may be that of all draws; two lengths have a search. For few
    # rows softmax, its logarithm and their Jacobians are two each.
    assert len(spilled) >= 6 * 12 + 2 + 2 * 4
    # 35 of the 128 registers of a thread, once a row, in the first cache.
    assert max(spilled) <= 160
