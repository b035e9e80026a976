"""Messages on the console."""

import sys
import traceback


def report(message: str, *, exc_info: bool = False) -> None:
    print(message, file=sys.stderr)
    if exc_info:
        traceback.print_exc()


def display(e: Exception, task, *, full_traceback=False):
    print(f"{task}: {type(e).__name__}: {e}", file=sys.stderr)
