"""The one exception that is meant for people."""

__all__ = ["StripeError"]


class StripeError(Exception):
    """Something the user can mend: the message says what was wrong, where, and what to do.

    The command line prints the message alone and exits with 1; a traceback means a bug of ours.
    """
