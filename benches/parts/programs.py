"""Starting what is measured, each on a free port and in a folder of its own, and ending it."""

import os
import pathlib
import pwd
import shutil
import signal
import socket
import subprocess
import time

from .http import Http

ROOT = pathlib.Path(__file__).resolve().parents[2]
POSTGRES = "/usr/lib/postgresql/*/bin"
PATIENCE_S = 120


def free_port():
    with socket.socket() as it:
        it.bind(("127.0.0.1", 0))
        return it.getsockname()[1]


class Program:
    """A running process that answers GET /readyz; ended by `stop` or by leaving the block."""

    def __init__(self, command, port, work, **options):
        self.out = work / f"{port}.out"
        with open(self.out, "wb") as out:
            self.process = subprocess.Popen(command, stdout=out, stderr=out, start_new_session=True, **options)
        self.http = Http(port)
        try:
            until = time.monotonic() + PATIENCE_S
            while not self.http.is_ready():
                self.check()
                if time.monotonic() > until:
                    raise RuntimeError(f"{command[0]} is not ready after {PATIENCE_S} s: {self.said()}")
                time.sleep(0.05)
        except BaseException:
            self.stop()
            raise

    def said(self):
        return self.out.read_text(errors="replace")[-4000:]

    def check(self):
        """Fail if it has ended by itself."""
        if self.process.poll() is not None:
            raise RuntimeError(f"it ended by itself with {self.process.returncode}: {self.said()}")

    def memory_mb(self, what="VmRSS"):
        for line in pathlib.Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith(what):
                return int(line.split()[1]) * 1024 / 1e6
        raise RuntimeError(f"no {what}")

    def cpu_s(self):
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, failure, *_):
        if failure is None:
            self.check()
        self.stop()


class Programs:
    """What was built, and where it keeps its things. Left at the end, with everything that it started."""

    def __init__(self, work, profile):
        self.work, self.profile = work, profile
        target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
        self.binaries, self.peers = target / profile, target / "peers" / "release"
        self.kafka, self.ends, self.n = os.environ.get("KAFKA"), [], 0

    def build(self, with_peers):
        # All of them: a selection would have other features of the dependencies, and compile those anew.
        subprocess.run(["cargo", "build", "--quiet", "--workspace", "--bins", "--release"], cwd=ROOT, check=True)
        if with_peers:
            command = ["cargo", "build", "--quiet", "--release", "--target-dir", self.peers.parent]
            subprocess.run(command, cwd=ROOT / "benches/peers", check=True)

    def folder(self, name):
        self.n += 1
        folder = self.work / f"{self.n}-{name}"
        folder.mkdir()
        return folder

    def orderlog(self, services, data, log="embedded"):
        port = free_port()
        prefix = f"bench-{data.name}-{os.getpid()}."
        on_kafka = ["--log", f"kafka://{self.kafka}", "--topic-prefix", prefix, "--development-hash-key"]
        command = [self.binaries / "orderlog", "serve", services, "--data", data, "--listen", f"127.0.0.1:{port}"]
        command += ["--log-filter", "warn", *(on_kafka if log == "kafka" else [])]
        return Program(command, port, self.work)

    def orderlog_on_kafka(self, prefix, name, services=(), port=None, **options):
        """An instance with a data folder of its own, on the topics of `prefix`, reached by the others at its port."""
        port = port or free_port()
        options |= {"log": f"kafka://{self.kafka}", "topic_prefix": f"bench-{prefix}-{os.getpid()}.",
                    "data": self.work / prefix / name, "listen": f"127.0.0.1:{port}",
                    "advertised_url": f"http://127.0.0.1:{port}"}
        given = [f"--{option.replace('_', '-')}={value}" for option, value in options.items()]
        return Program([self.binaries / "orderlog", "serve", *services, "--development-hash-key", *given], port, self.work)

    def ceiling(self):
        port = free_port()
        return Program([self.binaries / "orderlog-ceiling", f"127.0.0.1:{port}"], port, self.work)

    def fastapi(self):
        port, folder, venv = free_port(), self.folder("fastapi"), self.venv("fastapi")
        environment = {**os.environ, "DATABASE": str(folder / "orders.sqlite"), "KAFKA": self.kafka, "TOPIC": folder.name}
        command = [venv / "bin/uvicorn", "app:app", "--port", str(port), "--workers", "2", "--no-access-log"]
        return Program(command + ["--log-level", "warning"], port, self.work, cwd=ROOT / "benches/peers/fastapi",
                       env=environment)

    def peer(self, name):
        """A peer on a database of its own."""
        port, self.n = free_port(), self.n + 1
        database = f"peer_{self.n}"
        self.psql("postgres", f"create database {database}")
        url = f"postgres://bench@127.0.0.1:{self.postgres}/{database}"
        return Program([self.peers / f"peer-{name}", f"127.0.0.1:{port}", url], port, self.work)

    def venv(self, name):
        venv = ROOT / "tests/.cache" / f"{name}-venv"
        wanted = (ROOT / "benches/peers" / name / "requirements.txt").read_text()
        if not (venv / "installed").exists() or (venv / "installed").read_text() != wanted:
            shutil.rmtree(venv, ignore_errors=True)
            subprocess.run(["python3", "-m", "venv", venv], check=True)
            wanted_file = ROOT / "benches/peers" / name / "requirements.txt"
            subprocess.run([venv / "bin/pip", "install", "--quiet", "-r", wanted_file], check=True)
            (venv / "installed").write_text(wanted)
        return venv

    def start_kafka(self):
        if self.kafka:
            return
        folder = self.work / "kafka"
        started = subprocess.run([ROOT / "tests/kafka/start", folder], check=True, stdout=subprocess.PIPE, text=True)
        self.kafka = started.stdout.strip()
        self.ends.append(lambda: subprocess.run([ROOT / "tests/kafka/stop", folder], check=False))

    def start_postgres(self):
        """PostgreSQL as it comes, but for memory and how often it makes checkpoints. It refuses to be root."""
        tools = sorted(pathlib.Path("/").glob(POSTGRES[1:]))
        if not tools:
            raise RuntimeError("PostgreSQL is missing: install Debian's package postgresql")
        self.postgres, folder = free_port(), self.work / "postgres"
        user = {}
        if os.getuid() == 0:
            who = pwd.getpwnam("postgres")
            user = {"user": who.pw_uid, "group": who.pw_gid, "extra_groups": []}
            self.work.chmod(0o755)
            folder.mkdir()
            os.chown(folder, who.pw_uid, who.pw_gid)
        data = folder / "data"
        make = [tools[-1] / "initdb", "-D", data, "-U", "bench", "--auth", "trust", "--no-instructions", "-E", "UTF8"]
        subprocess.run(make, check=True, stdout=subprocess.DEVNULL, cwd="/", **user)
        settings = {"port": self.postgres, "listen_addresses": "127.0.0.1", "unix_socket_directories": "", "shared_buffers": "1GB",
                    "max_wal_size": "4GB", "max_connections": "200"}
        command = [tools[-1] / "postgres", "-D", data] + [f"--{name}={value}" for name, value in settings.items()]
        out = open(self.work / "postgres.out", "wb")
        process = subprocess.Popen(command, stdout=out, stderr=out, cwd="/", start_new_session=True, **user)
        self.ends.append(lambda: (process.send_signal(signal.SIGINT), process.wait(60)))
        until = time.monotonic() + PATIENCE_S
        while subprocess.run(["pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.postgres)]).returncode != 0:
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError((self.work / "postgres.out").read_text()[-4000:])
            time.sleep(0.1)

    def psql(self, database, text):
        address = ["-h", "127.0.0.1", "-p", str(self.postgres), "-U", "bench", database]
        subprocess.run(["psql", "-q", *address, "-c", text], check=True)

    def end(self):
        while self.ends:
            self.ends.pop()()
