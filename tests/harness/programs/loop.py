# SPDX-License-Identifier: Apache-2.0
"""An event loop with subprocesses, threads and streams, with a deterministic result."""
import asyncio
import hashlib
import sys

ROUNDS = 60
FILTER = "import sys\nfor line in sys.stdin:\n    print(int(line) * 3, flush=True)\n"


def digest(data):
    for _ in range(20000):
        data = hashlib.sha256(data).digest()
    return data.hex()


async def serve(reader, writer):
    while line := await reader.readline():
        writer.write(line[::-1].strip() + b"\n")
        await writer.drain()
    writer.close()


async def tripled(child, number):
    child.stdin.write(b"%d\n" % number)
    await child.stdin.drain()
    return int(await child.stdout.readline())


async def reversed_text(number):
    reader, writer = await asyncio.open_unix_connection("loop.sock")
    writer.write(b"%06d\n" % number)
    writer.write_eof()
    text = (await reader.readline()).decode().strip()
    writer.close()
    return text


async def short_child(number):
    child = await asyncio.create_subprocess_exec("/bin/echo", str(number), stdout=asyncio.subprocess.PIPE)
    out, _ = await child.communicate()
    return int(out), child.returncode


async def main():
    pipe = asyncio.subprocess.PIPE
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", FILTER, stdin=pipe, stdout=pipe)
    server = await asyncio.start_unix_server(serve, "loop.sock")
    with open("loop.txt", "w", encoding="ascii") as out:
        for n in range(ROUNDS):
            data = [asyncio.to_thread(digest, b"%d %d" % (n, k)) for k in range(3)]
            results = await asyncio.gather(tripled(child, n), reversed_text(n), short_child(n), *data)
            await asyncio.sleep(0.01)
            out.write(f"{n} {results}\n")
    server.close()
    child.stdin.close()
    assert await child.wait() == 0


asyncio.run(main())
