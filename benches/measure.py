"""Runs commands and measures them: wall time, CPU, peak memory, bytes written to storage.

A child is looked at after it has ended and before it is reaped, so that /proc still knows what it wrote.
"""

import os
import statistics
import subprocess
import sys
import threading
import time
from dataclasses import dataclass


@dataclass
class Usage:
    """What a command took: of a line of shell, the memory is the shell's alone."""

    wall: float = 0.0
    cpu: float = 0.0
    rss: int = 0
    written: int = 0
    output: str = ""


def _written(pid):
    try:
        with open(f"/proc/{pid}/io") as file:
            for line in file:
                if line.startswith("write_bytes:"):
                    return int(line.split()[1])
    except OSError:
        pass
    return 0


def _watch(pid, ended, most):
    """Keeps the most memory a program had. What wait4 says begins with what this process had when it forked.

    It looks often at first, for programs that are soon over, and then less: a look takes a core from whom it looks at.
    """
    pause = 0.003
    while not ended.wait(pause):
        pause = min(pause * 1.2, 0.01)
        try:
            with open(f"/proc/{pid}/status") as file:
                found = next((int(line.split()[1]) for line in file if line.startswith("VmHWM:")), 0)
        except OSError:
            return
        most[0] = max(most[0], found * 1024)


def run(command, cwd=None, env=None):
    """Runs one command to its end; a list is a program with arguments, a text is bash's."""
    if isinstance(command, str):
        command = ["bash", "-euo", "pipefail", "-c", command]
    # in memory, so that what a program says does not count as written
    with open(os.memfd_create("out"), "w+b") as out:
        started = time.perf_counter()
        child = subprocess.Popen(
            [str(word) for word in command], cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.PIPE)
        ended, most = threading.Event(), [0]
        watch = threading.Thread(target=_watch, args=(child.pid, ended, most))
        watch.start()
        complaint = child.stderr.read()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        wall = time.perf_counter() - started
        ended.set()
        watch.join()
        written = _written(child.pid)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        output = out.read().decode(errors="replace")
    if child.returncode != 0:
        sys.exit(
            f"failed ({child.returncode}): {' '.join(map(str, command))}\n"
            f"{output[-3000:]}{complaint.decode(errors='replace')[-3000:]}"
        )
    return Usage(wall, usage.ru_utime + usage.ru_stime, most[0], written, output)


def interleaved(times, *sides):
    """Runs the sides in turn, each so often, beginning with another side each time; returns each side's usages."""
    found = [[] for _ in sides]
    for repetition in range(times):
        order = list(range(len(sides)))
        if repetition % 2:
            order.reverse()
        for side in order:
            found[side].append(sides[side]())
    return found


def median(usages, key="wall"):
    return statistics.median(getattr(usage, key) for usage in usages)


def summary(usages):
    """What of a side goes into the report."""
    return {
        "wall": round(median(usages), 4),
        "walls": [round(usage.wall, 4) for usage in usages],
        "cpu": round(median(usages, "cpu"), 3),
        "cpus": [round(usage.cpu, 3) for usage in usages],
        "peakRss": max(usage.rss for usage in usages),
        "written": max(usage.written for usage in usages),
    }
