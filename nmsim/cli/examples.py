"""Examples of every command, as ``--help`` shows them."""

from collections.abc import Mapping

__all__ = ["EXAMPLES"]

EXAMPLES: Mapping[str, tuple[str, ...]] = {
    "simulate": (
        "nmsim simulate resnet50 --recipe asp",
        "nmsim simulate bert-large --recipe asp --hardware a100-sxm4-80gb --top 10",
        "nmsim simulate resnet18 --recipe fst --sort -speedup --phase forward",
        "nmsim simulate gemm:512x512x4096 --recipe asp --set rows=32 --set cols=32",
        "nmsim simulate vit-b16 --recipe fst --totals --out vit",
    ),
    "explain": (
        "nmsim explain resnet50 --recipe asp --layer layer3.1.conv2",
        "nmsim explain gemm:4096x4096x64 --recipe asp --hardware a100-sxm4-80gb",
    ),
    "memory": (
        "nmsim memory resnet50 --recipe fst --batch 256 --optimizer adam",
        "nmsim memory llama-2-7b --recipe asp --scenario decode --context 4096",
    ),
    "cost": (
        "nmsim cost systolic-128x128-2to4",
        "nmsim cost systolic-128x128-2to4 --technology 7nm --set rows=32 --set cols=32",
        "nmsim cost systolic-128x128-flexible --verilog rtl",
    ),
    "serve": (
        "nmsim serve llama-3-8b --tokens 512 --generate 64 --recipe asp \\",
        "  --hardware a100-sxm4-80gb --fidelity analytical",
    ),
    "sweep": (
        "nmsim sweep experiment.yaml --workers 2 --out buffers",
        "nmsim sweep experiment.yaml --sort speedup --top 10",
        "nmsim show schema experiment          # what EXPERIMENT.yaml may say",
    ),
    "train": (
        "nmsim train resnet18 --recipe sr-ste --epochs 90 --samples 1281167",
        "nmsim train vit-b16 --recipe sdgf-stepwise --pattern 1:8 --steps 100000 \\",
        "  --hardware systolic-128x128-flexible --out run",
    ),
    "report": (
        "nmsim report run",
        "nmsim report run --images pdf --width 88.9 --points 8",
    ),
    "validate": (
        "nmsim validate",
        "nmsim validate --hardware a100-sxm4-80gb --by dtype_in",
        "nmsim validate measured.csv --predictions predicted.csv --out errors",
        "nmsim validate --steps",
    ),
    "compare": (
        "nmsim compare bert-base trace.json --batch 8",
        "nmsim compare run kernels.csv --format csv",
    ),
    "calibrate": (
        "nmsim calibrate measured.csv --hardware a100-sxm4-80gb --out mine.yaml",
        "nmsim calibrate --hardware mine.yaml --residual",
    ),
    "measure": (
        "nmsim measure --out measured.csv",
        "nmsim measure --gpu 1 --dtype bf16 --dtype fp16 --library cublas",
    ),
    "import": (
        "nmsim import model.onnx --bind batch=1 --out model.yaml",
        "nmsim import topology.csv --as scale-sim --out model.yaml",
    ),
    "export": (
        "nmsim export run --format parquet --out rows.parquet",
        "nmsim export run --format scale-sim --out reports",
    ),
    "timeline": (
        "nmsim timeline gemm:4096x4096x1024 --out tile.json",
        "nmsim timeline resnet18 --layer fc --phase forward --recipe asp \\",
        "  --hardware systolic-128x128-2to4 --out folds.json",
    ),
    "list": (
        "nmsim list",
        "nmsim list hardware",
    ),
    "show": (
        "nmsim show hardware scale-sim",
        "nmsim show models resnet50",
        "nmsim show schema recipe",
    ),
    "trace record": ("nmsim trace record resnet18 --recipe asp --out r18.safetensors",),
    "trace info": ("nmsim trace info r18.safetensors",),
    "trace check": ("nmsim trace check r18.safetensors",),
}
"""By command; a line that ends in a backslash goes on in the next."""
