# SPDX-License-Identifier: Apache-2.0
"""A PostgreSQL server with its data in the working directory, under load from pgbench over a Unix socket. What is
compared are sums that must agree whatever the order of the transactions was."""
import glob
import os
import subprocess
import time

CLIENTS, TRANSACTIONS = 4, 1500
BIN = sorted(glob.glob("/usr/lib/postgresql/*/bin"))[-1]


def run(name, *args):
    done = subprocess.run([f"{BIN}/{name}", *args], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        raise SystemExit(f"{name}: {done.stdout.decode()}")
    return done.stdout.decode()


def ask(cwd, query):
    return run("psql", "-h", cwd, "-AtX", "-c", query, "postgres").strip()


def main():
    cwd = os.getcwd()
    run("initdb", "-D", f"{cwd}/data", "-A", "trust", "-U", "postgres", "--no-sync", "--locale=C")
    os.environ["PGUSER"] = "postgres"
    with open("server.log", "wb") as log:
        options = ["-k", cwd, "-c", "listen_addresses=", "-c", "fsync=off", "-c", "max_connections=20"]
        server = subprocess.Popen([f"{BIN}/postgres", "-D", f"{cwd}/data", *options], stdout=log, stderr=log)
    while subprocess.run([f"{BIN}/pg_isready", "-q", "-h", cwd], check=False).returncode:
        time.sleep(0.05)
    run("pgbench", "-h", cwd, "-i", "-q", "-s", "1", "postgres")
    run("pgbench", "-h", cwd, "-c", str(CLIENTS), "-t", str(TRANSACTIONS), "-n", "postgres")
    sums = [f"sum(abalance) from pgbench_accounts", "sum(tbalance) from pgbench_tellers", "sum(bbalance) from pgbench_branches"]
    found = {ask(cwd, f"select {s}") for s in [*sums, "sum(delta) from pgbench_history"]}
    print("sums agree" if len(found) == 1 else f"sums differ: {found}")
    print("transactions", ask(cwd, "select count(*) from pgbench_history"))
    server.terminate()
    print("server", server.wait())


main()
