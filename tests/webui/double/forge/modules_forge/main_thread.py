"""The one thread that loads models; what fails there is printed, and has no result."""

import queue
import threading
import traceback

_tasks = queue.Queue()


def loop():
    while True:
        work, done, found = _tasks.get()
        try:
            found.append(work())
        except Exception:
            traceback.print_exc()
        done.set()


def run_and_wait_result(func, *args, **kwargs):
    done, found = threading.Event(), []
    _tasks.put((lambda: func(*args, **kwargs), done, found))
    done.wait()
    return found[0] if found else None


threading.Thread(target=loop, daemon=True).start()
