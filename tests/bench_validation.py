"""What `nmsim validate` costs: warm, one process, reading the file and writing predictions."""

import numpy as np

from nmsim.measured.accuracy import summarize
from nmsim.measured.predict import predict
from nmsim.measured.tables import COLUMNS, read_measured, with_predictions

ROWS = 20_000


def test_twenty_thousand_rows_a_second(benchmark, tmp_path):
    rng = np.random.default_rng(0)
    sizes, times = rng.integers(1, 9000, (ROWS, 3)), rng.uniform(2, 9000, ROWS)
    routines = ("cublas,dense,,bf16", "cusparselt,2:4,B,fp16", "cublas,dense,,fp16")
    lines = [
        f"me,A100,SXM4-80GB,{routines[i % 3]},fp32,{m},{n},{k},1,{time:.4f}"
        for i, ((m, n, k), time) in enumerate(zip(sizes, times, strict=True))
    ]
    path = tmp_path / "measured.csv"
    path.write_text("\n".join([",".join(COLUMNS), *lines, ""]))

    def validate():
        files = [read_measured(path)]
        found = predict(files)
        return summarize(found), with_predictions(files, found.times)

    summary, text = benchmark.pedantic(validate, rounds=3, warmup_rounds=1)
    assert summary["rows"] == text.count("\n") - 1 == ROWS
    assert benchmark.stats.stats.min < 1
