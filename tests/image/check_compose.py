#!/usr/bin/env python3
"""Whether a compose file hangs together: what it names is there, what it declares is used. No engine is asked.

Usage: check_compose.py docker-compose.yml   prints what is wrong, a line each; exit status 1 if anything is
"""

import sys
from pathlib import Path

import yaml

SERVICE = {"build", "image", "environment", "secrets", "volumes", "healthcheck", "restart", "ports", "depends_on", "command"}
CREATED_BY_USER = ".txt"  # secrets, which the file's own instructions have made


def problems(path):
    compose = yaml.safe_load(path.read_text())
    folder = path.parent
    services, volumes, secrets = compose["services"], compose.get("volumes") or {}, compose.get("secrets") or {}
    used = {"volumes": set(), "secrets": set()}
    for name, service in services.items():
        yield from (f"{name}: unknown key {key}" for key in service.keys() - SERVICE)
        if ("build" in service) == ("image" in service):
            yield f"{name}: either build or image"
        if "build" in service and not (folder / service["build"] / "Dockerfile").is_file():
            yield f"{name}: no Dockerfile in {service['build']}"
        if "image" in service and (":" not in service["image"] or service["image"].endswith(":latest")):
            yield f"{name}: the image has no version"
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("."):
                if not (folder / source).is_file():
                    yield f"{name}: there is no {source}"
            else:
                used["volumes"].add(source)
        used["secrets"].update(service.get("secrets", []))
        for key, value in service.get("environment", {}).items():
            if str(value).startswith("/run/secrets/") and value.rsplit("/", 1)[1] not in service.get("secrets", []):
                yield f"{name}: {key} names a secret that the service is not given"
            if "billing" in str(value).split(",") and key == "PGRST_DB_SCHEMAS":
                yield f"{name}: schema billing must not be exposed"
        yield from (f"{name}: depends on {other}, which is not there" for other in service.get("depends_on", {}) if other not in services)
        for other, how in service.get("depends_on", {}).items():
            if how["condition"] == "service_healthy" and "healthcheck" not in services.get(other, {}):
                yield f"{name}: waits for {other}, which has no healthcheck"
    for kind, declared in (("volumes", volumes), ("secrets", secrets)):
        yield from (f"{kind}: {name} is declared by nobody" for name in used[kind] - declared.keys())
        yield from (f"{kind}: {name} is used by nobody" for name in declared.keys() - used[kind])
    for name, secret in secrets.items():
        if not secret["file"].endswith(CREATED_BY_USER) or secret["file"].removeprefix("./") not in path.read_text().split("\nname:")[0]:
            yield f"secrets: nothing is said of how {name} is made"


def main(arguments):
    wrong = list(problems(Path(arguments[0]).resolve()))
    print("".join(f"{line}\n" for line in wrong), end="")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
