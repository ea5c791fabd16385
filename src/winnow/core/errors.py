"""The one exception whose text is meant for the person at the keyboard."""


class Refused(Exception):
    """What was asked cannot be done; the message says in one sentence what, why, and what would work.

    The command line prints the message alone, without a traceback, and exits with status 2.
    """
