"""The command line, `python -m jaxtemp`.

Without a command it runs the main job: it trains a small classifier on real data,
learns its temperature and reports what that changed. `calibrate` does the same for a
file of logits and labels. `info` prints what a bug report needs.
"""

from .main import main as main
