"""Networks, as ``nmsim list models`` and ``nmsim show models NAME`` tell of them."""

from nmsim.network.catalog import MODELS, load_model
from nmsim.registry import Facts, Listing

__all__ = ["LISTING"]


def _facts(name: str) -> Facts:
    network = load_model(name)
    forward = [gemm for gemm in network.gemms(1) if gemm.phase == "forward"]
    facts = [
        ("name", network.name),
        ("summary", network.summary),
        ("source", network.source),
        ("implementation", network.implementation or "no other than the source's"),
        ("also called", ", ".join(network.aliases) or "nothing else"),
        ("layers", str(len(network.layers))),
        ("weights", f"{network.weights:,} elements, tables of embeddings too"),
        ("forward MACs", f"{sum(gemm.macs for gemm in forward):,} per sample"),
    ]
    if network.published is not None:
        published = network.published
        facts.append(("published parameters", f"{published.parameters:,}"))
        if published.macs is not None:
            within = f"within {100 * published.macs_tolerance:.2g}%"
            facts.append(("published MACs", f"{published.macs:,} ({within})"))
        facts.append(("published by", published.source))
        facts += [("parameters elsewhere", f"{e.count:,}: {e.what}") for e in published.elsewhere]
    for gemm in forward:
        copies = f" x {gemm.count * gemm.repeat}" if gemm.count * gemm.repeat > 1 else ""
        facts.append((gemm.layer, f"{gemm.kind} {gemm.m} x {gemm.n} x {gemm.k}{copies}"))
    return facts


LISTING = Listing(lambda: MODELS, MODELS.summary, _facts)
