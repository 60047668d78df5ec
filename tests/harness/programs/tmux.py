# SPDX-License-Identifier: Apache-2.0
"""A tmux server with two panes: one writes by itself, the other is typed to. What they show in the end is compared."""
import os
import subprocess
import time

ROUNDS = 60


def tmux(*words):
    done = subprocess.run(["tmux", "-S", "t.sock", *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=True)
    return done.stdout.decode()


def wait_for(condition):
    for _ in range(2000):
        if condition():
            return
        time.sleep(0.02)
    raise SystemExit("it takes too long")


def main():
    os.environ.update(TERM="xterm", SHELL="/bin/sh")
    server = subprocess.Popen(["tmux", "-D", "-f", "/dev/null", "-S", "t.sock"])
    wait_for(lambda: os.path.exists("t.sock"))
    counting = f"i=0; while [ $i -lt {ROUNDS} ]; do echo line $i; i=$((i + 1)); sleep 0.05; done; stty size; tty >tty; exec cat"
    tmux("new-session", "-d", "-x", "90", "-y", "30", counting)
    tmux("split-window", "-d", "cat")
    for i in range(ROUNDS):
        tmux("send-keys", "-t", "0.1", f"typed {i}", "Enter")
        # The terminal says it once, and cat again.
        wait_for(lambda i=i: tmux("capture-pane", "-p", "-S", "-", "-t", "0.1").count(f"typed {i}\n") == 2)
    wait_for(lambda: os.path.exists("tty"))
    print(tmux("capture-pane", "-p", "-S", "-", "-t", "0.0"))
    print(tmux("capture-pane", "-p", "-S", "-", "-t", "0.1"))
    tmux("kill-server")
    print("server", server.wait())


main()
