# SPDX-License-Identifier: Apache-2.0
"""A Redis server with clients over TCP and over a Unix socket, each with keys of its own, so that what the server
holds in the end does not depend on who came first."""
import os
import random
import socket
import subprocess
import threading
import time

CLIENTS, ROUNDS = 4, 700


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Client:
    def __init__(self, address):
        family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
        self.sock = socket.socket(family)
        self.sock.connect(address)
        self.file = self.sock.makefile("rb")

    def reply(self):
        line = self.file.readline()
        kind, rest = line[:1], line[1:-2]
        if kind == b"$":
            return self.file.read(int(rest) + 2)[:-2] if rest != b"-1" else None
        if kind == b"*":
            return [self.reply() for _ in range(int(rest))]
        assert kind in (b"+", b":"), line
        return rest

    def call(self, *commands):
        """Sends them all, then reads all answers."""
        out = []
        for words in commands:
            out.append(b"*%d\r\n" % len(words))
            for word in words:
                data = word if isinstance(word, bytes) else str(word).encode()
                out.append(b"$%d\r\n%s\r\n" % (len(data), data))
        self.sock.sendall(b"".join(out))
        return [self.reply() for _ in commands]


def work(number, address, sums):
    rng = random.Random(number)
    client = Client(address)
    total = 0
    for i in range(ROUNDS):
        key = rng.randrange(50)
        answers = client.call(
            ("INCRBY", f"{number}:n", i),
            ("SET", f"{number}:s{key}", rng.randbytes(rng.randrange(3000))),
            ("RPUSH", f"{number}:l", key),
            ("ZADD", f"{number}:z", i, f"m{key}"),
            ("HSET", f"{number}:h", key, i),
            ("GET", f"{number}:n"),
        )
        assert int(answers[5]) == i * (i + 1) // 2, answers[5]
        # With a deadline that is never reached, so that the server waits for time too.
        assert client.call(("BLPOP", f"{number}:l", 30))[0][1] == b"%d" % key
        total += int(client.call(("STRLEN", f"{number}:s{key}"))[0])
        time.sleep(0.002)
    sums[number] = total


def connect(address):
    for _ in range(1000):
        try:
            return Client(address)
        except OSError:
            time.sleep(0.02)
    raise SystemExit("the server does not come")


def main():
    port, path = free_port(), os.path.join(os.getcwd(), "r.sock")
    options = ["--bind", "127.0.0.1", "--save", "", "--enable-debug-command", "local", "--logfile", "redis.log"]
    # In the package that has no service: the program is what it is called.
    server = subprocess.Popen(["redis-server", "--port", str(port), "--unixsocket", path, *options], executable="/usr/bin/redis-check-rdb")
    control = connect(path)
    connect(("127.0.0.1", port))
    sums = [0] * CLIENTS
    addresses = [path if n % 2 else ("127.0.0.1", port) for n in range(CLIENTS)]
    threads = [threading.Thread(target=work, args=(n, addresses[n], sums)) for n in range(CLIENTS)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    print(control.call(("DEBUG", "DIGEST"))[0].decode(), control.call(("DBSIZE",))[0].decode(), sums)
    control.sock.sendall(b"*2\r\n$8\r\nSHUTDOWN\r\n$6\r\nNOSAVE\r\n")
    print("server", server.wait())


main()
