"""What a stored result must say to be reproduced."""

from importlib.metadata import version
from typing import Any

from nmsim.gemm import PHASES
from nmsim.machines import load_hardware
from nmsim.recipes.recipe import load_recipe
from nmsim.run.experiment import Experiment
from nmsim.run.point import Point
from nmsim.run.workload import Workload, load_workload
from nmsim.step.masks import basis

__all__ = ["manifest", "sweep_manifest"]

Row = dict[str, Any]


def manifest(point: Point, command: str) -> dict[str, Any]:
    """What a stored run must say to be reproduced."""
    workload, setting, machine = load_workload(point.model), point.setting, point.machine
    return {
        **_origin("simulate", command),
        "model": workload.name,
        "hardware": machine.name,
        "recipe": setting.recipe.name,
        "pattern": str(setting.pattern),
        "batch": point.batch,
        "fidelity": point.fidelity,
        "seed": point.seed,
        "sample": point.sample,
        "phases": list(point.phases) or list(PHASES),
        "layers": point.layers,
        "machine": machine.model_dump(mode="json"),
        "model_source": workload.source,
        "recipe_source": setting.recipe.source,
        "tensors": setting.tensors.name,
        "elementwise": point.elementwise,
        "compare": point.compare,
        "mask_basis": "a trace does not say how its masks came about"
        if workload.trace
        else basis(machine),
        **_recorded(workload),
    }


def _recorded(workload: Workload) -> Row:
    """Where a trace's masks come from: what recorded it, not what is asked of it now."""
    if workload.trace is None:
        return {}
    kept = ("recipe", "pattern", "batch", "seed", "tensors", "recipe_source")
    provenance = workload.trace.provenance
    return {
        "trace": dict(provenance),
        **{name: provenance[name] for name in kept if name in provenance},
    }


def sweep_manifest(experiment: Experiment, command: str) -> dict[str, Any]:
    """What a stored sweep must say to be reproduced."""
    points = experiment.points()
    machines = map(load_hardware, dict.fromkeys(point.hardware for point in points))
    workloads = map(load_workload, dict.fromkeys(point.model for point in points))
    recipes = map(load_recipe, dict.fromkeys(point.recipe for point in points))
    return {
        **_origin("sweep", command),
        **experiment.model_dump(mode="json"),
        "machines": {machine.name: machine.model_dump(mode="json") for machine in machines},
        "model_sources": {workload.name: workload.source for workload in workloads},
        "recipe_sources": {recipe.name: recipe.source for recipe in recipes},
        "tensors": points[0].setting.tensors.name,
    }


def _origin(kind: str, command: str) -> Row:
    return {"kind": kind, "nmsim": version("nmsim"), "schema": 1, "command": command}
