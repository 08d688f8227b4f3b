"""What a command cannot go on from."""


class CommandError(Exception):
    """Ends a command with one line on standard error and exit status 1."""
