"""Checks the manifests on stdin: check.py VARIANT BINARY."""

import re
import subprocess
import sys
import tempfile

import kubernetes_validate
import yaml

SERVICES = ["customers", "orders", "inventory", "billing", "notifications"]
variant, binary = sys.argv[1:]
objects = list(yaml.safe_load_all(sys.stdin))


def named(kind, name=None):
    return [it for it in objects if it["kind"] == kind and name in (None, it["metadata"]["name"])]


def require(is_so, what):
    if not is_so:
        sys.exit(f"{variant}: {what}")


def selects(selector, labels):
    return bool(selector) and selector.items() <= labels.items()


def settings(pod, labels):
    """The environment of the pod's container, as the kubelet makes it."""
    container = pod["containers"][0]
    known = {"metadata.name": "pod-0"} | {f"metadata.labels['{key}']": value for key, value in labels.items()}
    env = {}
    for source in container["envFrom"]:
        (settings,) = named("ConfigMap", source["configMapRef"]["name"])
        env |= settings["data"]
    for entry in container["env"]:
        value = known[entry["valueFrom"]["fieldRef"]["fieldPath"]] if "valueFrom" in entry else entry["value"]
        env[entry["name"]] = re.sub(r"\$\((\w+)\)", lambda it: env[it[1]], value)
    args = [re.sub(r"\$\((\w+)\)", lambda it: env[it[1]], arg) for arg in container["args"]]
    return args, env


def check_by_the_program(service, args, env):
    """The program accepts arguments and environment: it gets as far as looking for files that only a pod has."""
    require(args == ["serve", service], f"{service} runs {args}")
    with tempfile.TemporaryDirectory() as folder:
        env = env | {"ORDERLOG_DATA": folder, "PATH": "/usr/bin:/bin"}
        found = subprocess.run([binary, *args], env=env, capture_output=True, text=True, timeout=60)
    require(found.returncode != 0 and "/run/secrets/orderlog/" in found.stderr, f"{service} is refused: {found.stderr}")


for it in objects:
    try:
        kubernetes_validate.validate(it, "1.36", strict=True)
    except kubernetes_validate.ValidationError as error:
        sys.exit(f"{variant}: {it['kind']} {it['metadata']['name']}: {error.message}")

claims = {it["metadata"]["name"] for it in named("PersistentVolumeClaim")}
for service in SERVICES:
    (stateful,) = named("StatefulSet", f"orderlog-{service}")
    spec, pod = stateful["spec"], stateful["spec"]["template"]["spec"]
    labels = spec["template"]["metadata"]["labels"]
    for selector in (
        spec["selector"]["matchLabels"],
        named("Service", f"orderlog-{service}")[0]["spec"]["selector"],
        named("Service", f"orderlog-pods-{service}")[0]["spec"]["selector"],
        named("PodDisruptionBudget", f"orderlog-{service}")[0]["spec"]["selector"]["matchLabels"],
        pod["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"],
    ):
        require(selects(selector, labels), f"{selector} does not select the pods of {service}")
        require(selector["app.kubernetes.io/component"] == service, f"{selector} selects more than the pods of {service}")
    require(spec["serviceName"] == f"orderlog-pods-{service}", f"{service} is governed by {spec['serviceName']}")
    volumes = {it["name"] for it in pod["volumes"] + spec.get("volumeClaimTemplates", []) for it in [it.get("metadata", it)]}
    mounts = {it["name"]: it["mountPath"] for it in pod["containers"][0]["volumeMounts"]}
    require(mounts.keys() == volumes, f"{service} mounts {sorted(mounts)} of {sorted(volumes)}")
    for volume in pod["volumes"]:
        claim = volume.get("persistentVolumeClaim", {}).get("claimName")
        require(claim is None or claim in claims, f"nothing claims {claim}")
    args, env = settings(pod, labels)
    require(env["ORDERLOG_ADVERTISED_URL"] == f"http://pod-0.{spec['serviceName']}:8080", env["ORDERLOG_ADVERTISED_URL"])
    grace = int(env["ORDERLOG_STOP_DELAY_MS"]) / 1000 + 10
    require(pod["terminationGracePeriodSeconds"] > grace, f"{service} is killed before it has stopped")
    check_by_the_program(service, args, env)

print(f"{variant}: {len(objects)} objects are valid, and the program accepts the settings of each service")
