# SPDX-License-Identifier: Apache-2.0
"""A pool of processes that work on shared memory, with a lock, a counter and queues, with a deterministic result."""
import hashlib
import multiprocessing
from multiprocessing import shared_memory

ROUNDS, PARTS, SIZE = 40, 8, 1 << 20


def setup(counter_, name):
    global counter, memory
    counter, memory = counter_, shared_memory.SharedMemory(name)


def work(job):
    round_no, part = job
    step = SIZE // PARTS
    data = bytes(memory.buf[part * step : (part + 1) * step])
    for _ in range(12):
        data = b"".join(hashlib.sha512(data[i : i + 4096] + b"%d" % round_no).digest() * 64 for i in range(0, step, 4096))
    memory.buf[part * step : (part + 1) * step] = data
    with counter.get_lock():
        counter.value += 1
    return part, hashlib.sha256(data).hexdigest()


def echo(inbox, outbox):
    for item in iter(inbox.get, None):
        outbox.put(item * 2)


def main():
    tally = multiprocessing.Value("q", 0)
    shared = shared_memory.SharedMemory(create=True, size=SIZE)
    inbox, outbox = multiprocessing.Queue(), multiprocessing.Queue()
    helper = multiprocessing.Process(target=echo, args=(inbox, outbox))
    helper.start()
    try:
        with multiprocessing.Pool(3, setup, (tally, shared.name)) as pool, open("pool.txt", "w", encoding="ascii") as out:
            for round_no in range(ROUNDS):
                results = sorted(pool.imap_unordered(work, [(round_no, part) for part in range(PARTS)]))
                inbox.put(round_no)
                assert outbox.get() == round_no * 2
                out.write(f"{round_no} {tally.value} {results}\n")
        inbox.put(None)
        helper.join()
        assert helper.exitcode == 0
    finally:
        shared.close()
        shared.unlink()


if __name__ == "__main__":
    multiprocessing.set_start_method("fork")
    main()
