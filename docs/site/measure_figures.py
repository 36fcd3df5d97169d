"""Measure every figure that pages state, and put them in: ``python docs/site/measure_figures.py``.

Half a minute of CPU time. The figures are of the tables that ship, by the closed forms and by the
residuals as they are now. ``--pages`` puts in those of ``docs/figures.json`` and measures nothing.
"""

import argparse
import json
import re
from collections import Counter
from typing import Any

import pandas as pd
from figures import FIGURES, Figures, read_figures, restated, stating

from nmsim.cli.listings import LISTINGS
from nmsim.machines import HARDWARE, load_hardware
from nmsim.measured.accuracy import errors, unmeasured
from nmsim.measured.attention.predict import predict_attention
from nmsim.measured.attention.tables import shipped_attention
from nmsim.measured.evidence.earned import earned, earned_attention
from nmsim.measured.predict import predict, shipped
from nmsim.measured.steps.predict import predict_steps, summarize_steps
from nmsim.measured.steps.tables import shipped_steps
from nmsim.measured.tables import read_shipped

__all__ = ["attention", "evidence", "fitted", "measure", "of_table", "steps"]


def _percent(of: dict[str, Any]) -> dict[str, Any]:
    names = {"mape": "mape", "median_ape": "median", "p90_ape": "p90", "bias": "bias"}
    return {"rows": of["rows"]} | {
        name: round(100 * of[key], 1) for key, name in names.items() if key in of
    }


def _side(rows: pd.DataFrame) -> dict[str, Any]:
    """Errors of rows, and with the residual where all of them have one."""
    found = _percent(errors((rows["physics_us"] / rows["measured_us"]).to_numpy()))
    if rows["residual_us"].notna().all():
        corrected = errors((rows["residual_us"] / rows["measured_us"]).to_numpy())
        found["residual"] = round(100 * corrected["mape"], 1)
    return found


def of_table(name: str) -> dict[str, Any]:
    """Errors of a shipped table of GEMMs: of all rows, and of each side of the hold-out."""
    table = predict([read_shipped(name)]).table
    found = {**_percent(errors(table["ratio"].to_numpy())), "machine": table["machine"].iloc[0]}
    for side, rows in table.groupby("shapes"):
        found[str(side).replace(" ", "_")] = _side(rows)
    libraries = {str(one): _side(rows) for one, rows in table.groupby("library")}
    if len(libraries) > 1:
        found["libraries"] = libraries
    found["from_10_us"] = _side(table[table["measured_us"] >= 10])
    return found


def attention() -> list[dict[str, Any]]:
    """Errors of fused attention by machine, library and kind, heads held out and seen."""
    table = predict_attention(shipped_attention()).table
    rows = table[table["judged"]]
    found = []
    for (machine, library, kind), own in rows.groupby(["machine", "library", "kind"], sort=False):
        parts = {str(part).replace(" ", "_"): _side(each.assign(physics_us=each["predicted_us"]))
                 for part, each in own.groupby("part")}  # fmt: skip
        if len(parts) < 2:
            continue  # FlashAttention: read off charts, all of it seen
        heads = own.groupby(["heads", "kv_heads", "head_dim"])["ratio"]
        worst = max(float(abs(each - 1).mean()) for _, each in heads)
        about = {"machine": machine, "library": library, "kind": kind}
        told = {"worst_heads": round(100 * worst, 1), "fitted": machine != "h200"}
        found.append({**about, **parts, **told})
    order = ["a100-sxm4-80gb", "h100-sxm", "h200"], ["vllm", "sglang", "tensorrt-llm"]
    known = [one for one in found if one["machine"] in order[0]]
    return sorted(known, key=lambda one: (
        order[0].index(one["machine"]), one["kind"] == "decode",
        order[1].index(one["library"]) if one["library"] in order[1] else 9))  # fmt: skip


def steps() -> dict[str, Any]:
    """Errors of the measured steps of whole networks that ship."""
    table = shipped_steps()
    told = summarize_steps(table, predict_steps(table))
    groups = {one["group"]: _percent(one) for one in told["groups"]}
    return {**_percent(told), "groups": groups}


def evidence() -> list[dict[str, Any]]:
    """Errors of what is left out in turn, by where it then stands among the rest."""
    files, _ = shipped()
    machines = predict(files).machines
    told = [row for machine in machines.values() for row in earned(machine, files)]
    told += earned_attention(predict_attention(shipped_attention()).table, machines)
    for row in told:
        row["left_out"] = re.sub(r"\.csv(\.gz)?", "", row["left_out"])
        for place in ("near", "within", "beyond"):
            one = row[place]
            rounded = {key: round(100 * one[key], 1) for key in ("mape", "error") if one["rows"]}
            row[place] = {"rows": one["rows"], **rounded}
    return told


def fitted() -> dict[str, dict[str, int]]:
    """How many constants of each machine a fit may set: of its timing, its cycle model, libraries.

    Those of a machine's own file alone count: what it takes over from another was fitted there.
    """
    found = {}
    for name in HARDWARE:
        names = getattr(load_hardware(name), "fitted", ())
        counts = Counter(each.partition(".")[0] for each in names)
        if counts:
            found[name] = dict(counts)
    return found


def measure() -> Figures:
    """All figures."""
    names = [one.removesuffix(".csv") for one in LISTINGS["measured"].names()]
    return {
        "tables": {name: of_table(name) for name in names},
        "attention": attention(),
        "steps": steps(),
        "evidence": evidence(),
        "fitted": fitted(),
        "unmeasured": unmeasured(predict(shipped()[0])),
        "catalog": {
            name: len(list(LISTINGS[name].names()))
            for name in ("models", "hardware", "recipes", "pruners")
        },
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Measure the figures that pages state.")
    parser.add_argument("--pages", action="store_true", help="put in what was measured last")
    if not parser.parse_args().pages:
        text = json.dumps(measure(), indent=1, ensure_ascii=False)
        FIGURES.write_text(text + "\n", encoding="utf-8")
    known = read_figures()
    for page in list(stating()):
        page.write_text(restated(page.read_text(encoding="utf-8"), known), encoding="utf-8")
        print(page)
