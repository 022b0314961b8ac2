"""Runs a program and notes the most memory it had: `noted.py NOTES PROGRAM ARGUMENTS…`. Signals reach the program, its status is returned."""

import json
import os
import signal
import sys

child = os.fork()
if child == 0:
    os.execv(sys.argv[2], sys.argv[2:])
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, lambda number, _: os.kill(child, number))
_, status, usage = os.wait4(child, 0)
with open(sys.argv[1], "a") as notes:
    notes.write(json.dumps({"command": sys.argv[3] if len(sys.argv) > 3 else "", "rss": usage.ru_maxrss * 1024}) + "\n")
sys.exit(os.waitstatus_to_exitcode(status) if not os.WIFSIGNALED(status) else 128 + os.WTERMSIG(status))
