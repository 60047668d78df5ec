"""Generators, dictionaries, big integers, threads, files and a child, with a deterministic result."""
import hashlib
import os
import subprocess
import threading


def primes(limit):
    composite = bytearray(limit)
    for n in range(2, limit):
        if not composite[n]:
            yield n
            composite[n * n :: n] = b"\1" * len(range(n * n, limit, n))


def background(done, box):
    total = 0
    while not done.wait(0.02):
        total += 1
    box.append(total)


def main():
    digest = hashlib.sha256()
    words = {}
    done, box = threading.Event(), []
    thread = threading.Thread(target=background, args=(done, box), daemon=True)
    thread.start()
    fibonacci, nxt = 0, 1
    with open("work.txt", "w", encoding="ascii") as out, open(__file__, "rb") as source:
        for round_no in range(900):
            for p in primes(20000):
                words[p % 997] = words.get(p % 997, 0) + round_no
            for _ in range(200):
                fibonacci, nxt = nxt, (fibonacci + nxt) % (1 << 4096)
            source.seek(round_no)
            digest.update(source.read(64) + b"%x" % fibonacci + repr(sorted(words.items())).encode())
            out.write(f"{round_no} {digest.hexdigest()}\n")
            if round_no % 40 == 11:
                child = subprocess.run(["/bin/echo", str(round_no)], stdout=subprocess.PIPE, check=True)
                digest.update(child.stdout)
    done.set()
    thread.join()
    assert box and box[0] > 0
    print(digest.hexdigest(), os.path.getsize("work.txt"))


main()
