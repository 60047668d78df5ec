# SPDX-License-Identifier: Apache-2.0
"""A web server with two workers, and clients that keep their connections to it over TCP and over a Unix socket."""
import hashlib
import http.client
import os
import random
import signal
import socket
import subprocess
import threading
import time

CLIENTS, ROUNDS = 4, 700
CONFIG = """
daemon off;
worker_processes 2;
pid {cwd}/nginx.pid;
error_log {cwd}/error.log;
events {{ worker_connections 64; }}
http {{
    access_log off;
    keepalive_requests 1000000;
    client_body_temp_path {cwd}/t1; proxy_temp_path {cwd}/t2; fastcgi_temp_path {cwd}/t3;
    uwsgi_temp_path {cwd}/t4; scgi_temp_path {cwd}/t5;
    server {{ listen 127.0.0.1:{port}; listen unix:{cwd}/n.sock; root {cwd}/www; }}
    server {{ listen unix:{cwd}/p.sock; location / {{ proxy_pass http://127.0.0.1:{port}; }} }}
}}
"""


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost")
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self.path)


def work(number, connection, sums):
    rng = random.Random(number)
    digest = hashlib.sha256()
    for _ in range(ROUNDS):
        connection.request("GET", f"/f{rng.randrange(10)}")
        if number == 0:
            # Its answer waits in the connection now and then.
            time.sleep(0.003)
        answer = connection.getresponse()
        assert answer.status == 200, answer.status
        digest.update(answer.read())
        time.sleep(0.003)
    sums[number] = digest.hexdigest()[:16]


def main():
    cwd = os.getcwd()
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    os.mkdir("www")
    for i in range(10):
        with open(f"www/f{i}", "wb") as f:
            f.write(random.Random(i).randbytes(1 + i * 17000))
    with open("nginx.conf", "w", encoding="ascii") as f:
        f.write(CONFIG.format(cwd=cwd, port=port))
    server = subprocess.Popen(["/usr/sbin/nginx", "-e", f"{cwd}/error.log", "-c", f"{cwd}/nginx.conf"])
    paths = (f"{cwd}/n.sock", f"{cwd}/p.sock")
    while not all(os.path.exists(p) for p in paths):
        time.sleep(0.02)
    clients = [http.client.HTTPConnection("127.0.0.1", port) for _ in range(CLIENTS - 2)]
    clients += [UnixConnection(p) for p in paths]
    sums = [None] * CLIENTS
    threads = [threading.Thread(target=work, args=(n, c, sums)) for n, c in enumerate(clients)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    print("\n".join(sums))
    server.send_signal(signal.SIGQUIT)
    print("server", server.wait())


main()
