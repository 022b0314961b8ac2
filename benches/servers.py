"""Servers on loopback that a benchmark talks to: registries, a download site, sshd. Each ends with its `with` block."""

import contextlib
import http.server
import os
import shutil
import socket
import subprocess
import threading
import time
from pathlib import Path


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(port, process):
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"{process.args[0]} ended at once")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.02)
    raise RuntimeError(f"{process.args[0]} does not answer")


@contextlib.contextmanager
def program(words, port):
    process = subprocess.Popen(
        ["setpriv", "--pdeathsig", "KILL", *map(str, words)],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(port, process)
        yield process
    finally:
        process.terminate()
        process.wait()


@contextlib.contextmanager
def registry(folder, data, certificate=None):
    """Debian's registry over a folder; yields its port."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    tls = f", tls: {{certificate: {certificate}.pem, key: {certificate}.key}}" if certificate else ""
    config = folder / "config.yml"
    config.write_text(
        "version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\n"
        f"storage: {{cache: {{blobdescriptor: inmemory}}, filesystem: {{rootdirectory: {data}}}, delete: {{enabled: true}}}}\n"
        f"http: {{addr: \"127.0.0.1:{port}\", secret: placeholder{tls}}}\nvalidation: {{disabled: true}}\n")
    with program(["docker-registry", "serve", config], port):
        yield port


@contextlib.contextmanager
def empty_registry(folder, certificate):
    """A registry that holds nothing yet; what it was given is removed at the end."""
    data = Path(folder) / "data"
    shutil.rmtree(data, ignore_errors=True)
    data.mkdir(parents=True)
    with registry(folder, data, certificate) as port:
        yield port
    shutil.rmtree(data, ignore_errors=True)


@contextlib.contextmanager
def downloads(folder):
    """A download site over a folder; yields its port."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments):
            super().__init__(*arguments, directory=str(folder))

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()


def certificate(folder):
    """A certificate for localhost by an authority of its own.

    Returns the path of certificate and key without the ending, the authority's certificate, and a folder to trust it by.
    """
    stem, authority = Path(folder) / "site", Path(folder) / "authority"
    new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    extensions = Path(folder) / "extensions"
    extensions.write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\nbasicConstraints=CA:FALSE\n")
    for words in (
        ["req", "-x509", *new_key, "-days", "30", "-subj", "/CN=bench", "-keyout", f"{authority}.key", "-out", f"{authority}.pem"],
        ["req", *new_key, "-subj", "/CN=localhost", "-keyout", f"{stem}.key", "-out", f"{stem}.csr"],
        ["x509", "-req", "-in", f"{stem}.csr", "-CA", f"{authority}.pem", "-CAkey", f"{authority}.key", "-CAcreateserial",
         "-days", "30", "-extfile", extensions, "-out", f"{stem}.pem"],
    ):
        subprocess.run(["openssl", *words], check=True, stderr=subprocess.DEVNULL)
    trusted = Path(folder) / "certs"
    trusted.mkdir(exist_ok=True)
    shutil.copy(f"{authority}.pem", trusted / "ca.crt")
    return stem, f"{authority}.pem", trusted


@contextlib.contextmanager
def sshds(folder, count):
    """So many SSH servers with a key of their own each; yields their ports."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    os.makedirs("/run/sshd", exist_ok=True)
    for name in ("client", "host"):
        for old in folder.glob(f"{name}*"):
            old.unlink()
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
    (folder / "authorized").write_bytes((folder / "client.pub").read_bytes())
    with contextlib.ExitStack() as stack:
        ports = []
        for _ in range(count):
            port = free_port()
            stack.enter_context(program(
                ["/usr/sbin/sshd", "-D", "-e", "-f", "/dev/null", "-p", port, "-h", folder / "host",
                 "-o", "ListenAddress=127.0.0.1", "-o", f"AuthorizedKeysFile={folder}/authorized", "-o", "StrictModes=no",
                 "-o", "PidFile=none", "-o", "UsePAM=no", "-o", "PermitRootLogin=prohibit-password",
                 "-o", "MaxStartups=100"], port))
            ports.append(port)
        yield ports


def inventory(folder, ports):
    """Writes known_hosts and hosts.yaml for servers made by `sshds`, as they are reached; returns the path of hosts.yaml."""
    key = " ".join((Path(folder) / "host.pub").read_text().split()[:2])
    (Path(folder) / "known_hosts").write_text("".join(f"[127.0.0.1]:{port} {key}\n" for port in ports))
    hosts = "".join(
        f"  - {{name: n{number}, role: {'agent' if number else 'server'}, ssh: {{address: 127.0.0.1, port: {port}, user: root, "
        f"keyPath: {folder}/client, knownHosts: {folder}/known_hosts}}}}\n" for number, port in enumerate(ports))
    path = Path(folder) / "hosts.yaml"
    path.write_text(
        "apiVersion: airgap/v1\nkind: Inventory\nmetadata: {name: bench}\nsite: onprem\ndomain: bench.test\n"
        "registry:\n  endpoint: localhost\n  project: airgap\n  push: {username: {env: NOBODY}, password: {env: NOBODY}}\n"
        f"hosts:\n{hosts}")
    return path
