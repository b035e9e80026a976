"""The copy floor: what moving the same bytes costs without any arithmetic. No torch.

Positional reads of every source and positional writes of the output in reused buffers, sha256 of the output in its order, fsync.
Prints one JSON object: wall and CPU seconds. `--direct` writes past the page cache, as the merge does, which the floor of the
promises does not.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import mmap
import os
import threading
import time
from pathlib import Path


def copy(sources: list[Path], output: Path, size: int, block: int, threads: int, direct: bool) -> tuple[float, float]:
    """(wall, CPU) seconds of reading all of `sources` and writing `size` bytes to `output`; whole blocks when `direct`."""
    wall, cpu = time.perf_counter(), time.process_time()
    descriptors = [os.open(path, os.O_RDONLY) for path in sources]
    sizes = [os.fstat(descriptor).st_size for descriptor in descriptors]
    target = os.open(output, os.O_RDWR | os.O_CREAT | os.O_TRUNC | (os.O_DIRECT if direct else 0))
    os.ftruncate(target, size)
    count = -(-size // block)
    digest, turn, state = hashlib.sha256(), threading.Condition(), {"next": 0, "hashed": 0}

    def work() -> None:
        buffers = [memoryview(mmap.mmap(-1, max(block, -(-total * block // size) + 1))) for total in sizes]
        while True:
            with turn:
                number, state["next"] = state["next"], state["next"] + 1
            if number >= count:
                return
            for descriptor, total, buffer in zip(descriptors, sizes, buffers, strict=True):
                start, end = total * number // count, total * (number + 1) // count
                os.preadv(descriptor, [buffer[: end - start]], start)
            data = buffers[0][: block if direct else min(block, size - number * block)]
            with turn:
                turn.wait_for(lambda number=number: state["hashed"] == number)
            digest.update(data)
            with turn:
                state["hashed"] += 1
                turn.notify_all()
            os.pwrite(target, data, number * block)

    workers = [threading.Thread(target=work) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    os.fsync(target)
    for descriptor in (*descriptors, target):
        os.close(descriptor)
    return time.perf_counter() - wall, time.process_time() - cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sources", nargs="+", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--size", type=int, required=True, help="bytes of the output")
    parser.add_argument("--block", type=int, required=True, help="bytes")
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--direct", action="store_true", help="write past the page cache")
    options = parser.parse_args()
    wall, cpu = copy(options.sources, options.output, options.size, options.block, options.threads, options.direct)
    options.output.unlink()
    print(json.dumps({"wall": wall, "cpu": cpu}))


if __name__ == "__main__":
    main()
