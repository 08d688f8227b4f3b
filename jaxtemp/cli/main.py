"""From the command line's words to the part that does the work."""

import sys
from collections.abc import Sequence

from .arguments import parse
from .errors import CommandError


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        argv: the words after `python -m jaxtemp`, those of this process if `None`.

    Returns:
        The exit status: 0 if all went well, 1 if the job failed, its two temperatures
        do not agree or `calibrate` found none, 130 if it was interrupted. Wrong
        arguments exit with 2.
    """
    arguments = parse(argv)
    try:
        # Imported here so that `info` and `--help` need no extra and no time.
        if arguments.command == "info":
            from .info import run_info

            return run_info()
        if arguments.command == "calibrate":
            from .calibrate import run_calibrate

            return run_calibrate(
                arguments.files, seed=arguments.seed or 0, out=arguments.out
            )
        from .job import run_job

        return run_job(seed=arguments.seed or 0, out=arguments.out)
    except CommandError as error:
        print(f"jaxtemp: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("jaxtemp: interrupted", file=sys.stderr)
        return 130
