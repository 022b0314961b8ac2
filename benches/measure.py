"""Runs commands and measures them: wall time, CPU, peak memory, bytes written to storage.

Each runs under time(1): the kernel's own peak of a program's memory, which needs no looking at it while it runs, is that of whoever forked
it at least, and time is small. It is looked at after it has ended and before it is reaped, so that /proc still knows what was written.
"""

import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass


@dataclass
class Usage:
    """What a command took: of a line of shell, the memory is that of its largest program."""

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


def run(command, cwd=None, env=None):
    """Runs one command to its end; a list is a program with arguments, a text is bash's."""
    if isinstance(command, str):
        command = ["bash", "-euo", "pipefail", "-c", command]
    # in memory, so that what a program says does not count as written
    with open(os.memfd_create("out"), "w+b") as out:
        peak = os.memfd_create("peak")
        timed = ["time", "--quiet", "--format=%M", f"--output=/dev/fd/{peak}", *map(str, command)]
        started = time.perf_counter()
        child = subprocess.Popen(timed, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.PIPE, pass_fds=[peak])
        complaint = child.stderr.read()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        wall = time.perf_counter() - started
        written = _written(child.pid)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        output = out.read().decode(errors="replace")
        os.lseek(peak, 0, os.SEEK_SET)
        most = int(os.read(peak, 20) or 0) * 1024
        os.close(peak)
    if child.returncode != 0:
        sys.exit(
            f"failed ({child.returncode}): {' '.join(map(str, command))}\n"
            f"{output[-3000:]}{complaint.decode(errors='replace')[-3000:]}"
        )
    return Usage(wall, usage.ru_utime + usage.ru_stime, most, written, output)


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
