"""The Benchmarks page: what its blocks print. Each file draws one kind of picture."""

import sys
from pathlib import Path

# The pictures share code with the benchmarks, and their truth with the tests.
sys.path.append(str(Path(__file__).resolve().parents[3]))
