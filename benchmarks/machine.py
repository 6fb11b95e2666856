"""The machine and the programs that a benchmark ran on, for the head of its table."""

import importlib.metadata
import os
import pathlib
import platform
import subprocess
from typing import Any

_PACKAGES = ("tfface", "tensorflow", "keras", "numpy", "scipy", "tensorflow-datasets", "trimesh", "libigl", "embreex")


def processor() -> str:
    """Name of the processor, as the system knows it."""
    listing = pathlib.Path("/proc/cpuinfo")
    if listing.is_file():
        for line in listing.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory_gib() -> float:
    """Memory of the machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return versions


def _commit() -> str:
    """The commit of the sources, or that they are not under version control."""
    root = pathlib.Path(__file__).parents[1]
    command = ["git", "-C", os.fspath(root), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "not a git checkout"


def describe() -> dict[str, Any]:
    """Processor, cores, memory, load, system and versions, of JSON types."""
    return {
        "processor": processor(),
        "cores": cores(),
        "memory_gib": round(memory_gib(), 1),
        "load_average": [round(load, 1) for load in os.getloadavg()],
        "system": platform.platform(),
        "commit": _commit(),
        "versions": _versions(),
    }


def line(described: dict[str, Any]) -> str:
    """What `describe` says, in two sentences."""
    versions = ", ".join(f"{name} {version}" for name, version in described["versions"].items())
    loads = ", ".join(f"{load:g}" for load in described["load_average"])
    hardware = f"{described['processor']}, {described['cores']} cores, {described['memory_gib']:g} GiB"
    system = f"{described['system']}; load average {loads} at the start"
    return f"{hardware}, {system}. Commit {described['commit']}; {versions}."
