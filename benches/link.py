"""A distant link on loopback: every byte waits for its turn on a line of so many bits a second, and for the way there.

Both directions have a line of their own, shared by all connections in pieces of 16 KiB, as packets of several streams would share it. A new
connection waits one round trip first, as its handshake would. What a kernel's own congestion control adds to that is left out.
"""

import asyncio
import contextlib
import threading
import time

PIECE = 16 * 1024
# what a line's buffers hold, in seconds; whoever sends more waits
DEPTH = 0.1


class Line:
    """One direction: pieces leave one after the other, and arrive later by the latency."""

    def __init__(self, bits, latency):
        self.bytes_a_second, self.latency, self.free = bits / 8, latency, 0.0

    def leaves(self, size):
        self.free = max(self.free, time.monotonic()) + size / self.bytes_a_second
        return self.free


async def _carry(reader, writer, line):
    """Reads pieces as the line has room for them, and delivers each when it has arrived."""
    travelling = asyncio.Queue()

    async def deliver():
        while (item := await travelling.get()) is not None:
            arrives, piece = item
            await asyncio.sleep(max(0.0, arrives - time.monotonic()))
            writer.write(piece)
            await writer.drain()
        with contextlib.suppress(OSError):
            writer.write_eof()

    delivery = asyncio.create_task(deliver())
    try:
        while piece := await reader.read(PIECE):
            leaves = line.leaves(len(piece))
            travelling.put_nowait((leaves + line.latency, piece))
            await asyncio.sleep(max(0.0, leaves - time.monotonic() - DEPTH))
    except OSError:
        pass
    travelling.put_nowait(None)
    with contextlib.suppress(OSError):
        await delivery


@contextlib.contextmanager
def link(ports, bits=100_000_000, round_trip=0.020):
    """Puts the same distant link before every port; yields the ports to connect to instead."""
    loop = asyncio.new_event_loop()
    lines = Line(bits, round_trip / 2), Line(bits, round_trip / 2)

    def accept(port):
        async def connected(reader, writer):
            await asyncio.sleep(round_trip)
            # whatever ends the one side ends the other
            with contextlib.suppress(OSError, asyncio.CancelledError):
                far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
                await asyncio.gather(_carry(reader, far_writer, lines[0]), _carry(far_reader, writer, lines[1]))
                far_writer.close()
            writer.close()
        return connected

    async def listen():
        servers = [await asyncio.start_server(accept(port), "127.0.0.1", 0) for port in ports]
        return [server.sockets[0].getsockname()[1] for server in servers]

    async def end():
        carrying = asyncio.all_tasks() - {asyncio.current_task()}
        for task in carrying:
            task.cancel()
        await asyncio.gather(*carrying, return_exceptions=True)

    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield asyncio.run_coroutine_threadsafe(listen(), loop).result(10)
    finally:
        asyncio.run_coroutine_threadsafe(end(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
