# The script of the documents that users start from: any percentile of the TTFT, from the lines.
import json
import sys

import numpy as np

ttft_values = []
with open(sys.argv[1] + "/profile_export.jsonl", "r") as f:
    for line in f:
        record = json.loads(line)
        ttft = record["metrics"]["time_to_first_token"]["value"]
        ttft_values.append(ttft)

found = {f"p{q}": np.percentile(ttft_values, q) for q in [1, 5, 10, 25, 50, 75, 90, 95, 99]}
found.update(
    avg=np.mean(ttft_values),
    std=np.std(ttft_values),
    min=np.min(ttft_values),
    max=np.max(ttft_values),
    sum=np.sum(ttft_values),
    count=len(ttft_values),
)
print(json.dumps({name: float(value) for name, value in found.items()}))
