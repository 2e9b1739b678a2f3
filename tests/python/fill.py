"""Writes 20,000 points of 20 metrics, NaN and infinities among them."""

import math

import pyarrow as pa

from stepwell import ingest

STEPS = 1_000
for metric in range(20):
    value = [math.nan if step == 500 else math.inf if step == 501 else metric + 1.0 / (step + 1) for step in range(STEPS)]
    ingest(
        pa.table(
            {
                "run_id": ["r"] * STEPS,
                "metric": [f"layer{metric:02}/w"] * STEPS,
                "step": range(STEPS),
                "timestamp": pa.array([1_790_000_000_000_000 + 1_000 * step for step in range(STEPS)], pa.timestamp("us", "UTC")),
                "value": value,
            }
        )
    )
print("20000 points")
