"""The one exception that carries a message for a person."""


class UserError(Exception):
    """Bad input or a bad state that a person can mend. The text names the thing, its value and the remedy.

    The command line prints it without a traceback and exits with status 2.
    """
