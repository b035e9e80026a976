"""One at a time, in the order of asking; who holds the queue and asks again waits for ever, here for ten seconds."""

import functools
import threading

PATIENCE_SECONDS = 10


class Queue:
    def __init__(self):
        self._lock = threading.Lock()

    def acquire(self, blocking=True):
        if not blocking:
            return self._lock.acquire(False)
        if not self._lock.acquire(timeout=PATIENCE_SECONDS):
            raise RuntimeError("the queue is held by somebody who waits for it")
        return True

    def release(self):
        self._lock.release()

    def __enter__(self):
        return self.acquire()

    def __exit__(self, t, v, tb):
        self.release()


queue_lock = Queue()


def wrap_queued_call(func):
    """The same function, that waits for its turn."""

    @functools.wraps(func)
    def in_turn(*given, **more):
        queue_lock.acquire()
        try:
            return func(*given, **more)
        finally:
            queue_lock.release()

    return in_turn
