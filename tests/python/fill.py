"""Writes 20,000 points of 20 metrics, NaN and infinities among them."""

import math
import random

import pyarrow as pa

from stepwell import ingest

STEPS = 1_000
# A clock that jitters, and that all metrics share.
clock = random.Random(7)
TIMES = [1_790_000_000_000_000 + 5_000 * step + clock.randrange(4_000) for step in range(STEPS)]
for metric in range(20):
    value = [math.nan if step == 500 else math.inf if step == 501 else metric + 1.0 / (step + 1) for step in range(STEPS)]
    ingest(
        pa.table(
            {
                "run_id": ["r"] * STEPS,
                "metric": [f"layer{metric:02}/w"] * STEPS,
                "step": range(STEPS),
                "timestamp": pa.array(TIMES, pa.timestamp("us", "UTC")),
                "value": value,
            }
        )
    )
print("20000 points")
