"""Set-up that has to happen before JAX starts, and an option for a shorter run."""

import collections
import os

# Sharding is tested on eight simulated devices.
_FLAG = "--xla_force_host_platform_device_count"
if _FLAG not in os.environ.get("XLA_FLAGS", ""):
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {_FLAG}=8".strip()


def pytest_addoption(parser):
    parser.addoption("--cases", type=int, help="run so many cases of each test at most")


def pytest_collection_modifyitems(config, items):
    """Keep every test, but of its cases only some, evenly spread."""
    most = config.getoption("--cases")
    if most is None:
        return
    tests = collections.defaultdict(list)
    for item in items:
        tests[item.nodeid.split("[")[0]].append(item)
    kept = {
        case for cases in tests.values() for case in cases[:: -(-len(cases) // most)]
    }
    config.hook.pytest_deselected(items=[item for item in items if item not in kept])
    items[:] = [item for item in items if item in kept]
