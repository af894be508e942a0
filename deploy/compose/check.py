"""Checks docker-compose.yml without Docker: check.py BINARY. Needs haproxy."""

import os
import pathlib
import subprocess
import sys
import tempfile

import yaml

binary = pathlib.Path(sys.argv[1]).resolve()
services = yaml.safe_load(pathlib.Path("docker-compose.yml").read_text())["services"]
config = pathlib.Path("deploy/compose/gateway.cfg").read_text()


def require(is_so, what):
    if not is_so:
        sys.exit(f"docker-compose.yml: {what}")


def check_scales(name, service):
    """Several containers of the service can run: none has a name, port or folder that only one can have."""
    require(not {"container_name", "hostname", "ports"} & service.keys(), f"only one {name} can run")
    require(service["volumes"] == ["keys:/keys:ro"], f"the containers of {name} share {service['volumes']}")
    require(f" {name}:8080\n" in config, f"the gateway does not know {name}")


def check_by_the_program(name, service):
    """The program gets as far as looking for the keys, with the name of its container as its own address."""
    with tempfile.TemporaryDirectory() as folder:
        script = pathlib.Path(folder, "orderlog")
        script.write_text(f'#!/bin/sh\necho "$@" >&2\nexec {binary} "$@"\n')
        script.chmod(0o755)
        env = service["environment"] | {"HOSTNAME": "4f1c", "ORDERLOG_DATA": folder, "PATH": f"{folder}:{os.environ['PATH']}"}
        command = [word.replace("$$", "$") for word in service["entrypoint"] + service["command"]]
        found = subprocess.run(command, env={it: str(env[it]) for it in env}, capture_output=True, text=True, timeout=60)
    require(f"serve {name} --advertised-url http://4f1c:8080\n" in found.stderr, f"{name} runs {found.stderr}")
    require(found.returncode != 0 and "/keys/" in found.stderr, f"{name} is refused: {found.stderr}")


for name, service in services.items():
    require("mem_limit" in service, f"{name} may take all memory")
    if service.get("command", [""])[0] == "serve":
        check_scales(name, service)
        check_by_the_program(name, service)
# The names of the services are known only within Docker's network, and `init-addr none` lets the gateway start without.
subprocess.run(["haproxy", "-q", "-c", "-f", "deploy/compose/gateway.cfg"], check=True)
print("docker-compose.yml: the program accepts the settings of each service, and each can be scaled")
