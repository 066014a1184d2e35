# The tables by pandas: lines, slices and the summary, whose sections an empty line parts.
import io
import json
import sys

import pandas as pd

folder = sys.argv[1]

lines = pd.json_normalize(
    pd.read_json(folder + "/profile_export.jsonl", lines=True).to_dict(orient="records")
)
kept = lines[lines["metadata.benchmark_phase"] == "profiling"]
if "error" in kept:
    kept = kept[kept["error"].isna()]
if "error.code" in kept:
    kept = kept[kept["error.code"].isna()]

slices = pd.read_csv(folder + "/profile_export_aiperf_timeslices.csv")
counts = slices[(slices["Metric"] == "Request Count") & (slices["Stat"] == "avg")]
# Two decimals each, as in the summary's CSV.
latency = slices[(slices["Metric"] == "Request Latency") & (slices["Stat"] == "sum")]

# newline="": the file's own line ends.
with open(folder + "/profile_export_aiperf.csv", newline="") as f:
    text = f.read()
sections = [part for part in text.split("\r\n\r\n") if part.strip()]
tables = [pd.read_csv(io.StringIO(part.strip() + "\r\n")) for part in sections]
distributions = tables[0].set_index("Metric")
scalars = tables[1].set_index("Metric")["Value"]
# Or at once: the header is the widest line of the first two sections, the second's cells are in the first two columns.
first = pd.read_csv(folder + "/profile_export_aiperf.csv", nrows=len(distributions))

print(
    json.dumps(
        {
            "lines": len(lines),
            "valid": len(kept),
            "latency_sum": float(kept["metrics.request_latency.value"].sum()),
            "unit": kept["metrics.request_latency.unit"].iloc[0],
            "slice_columns": list(slices.columns),
            "slice_dtypes": [str(kind) for kind in slices.dtypes],
            "in_slices": float(counts["Value"].sum()),
            "latency_in_slices": float(latency["Value"].sum()),
            "slices": len(counts),
            "units_in_slices": sorted(set(slices["Unit"])),
            "columns": list(distributions.columns),
            "numbers_only": all(kind.kind == "f" for kind in distributions.dtypes),
            "ttft": distributions.loc["Time to First Token (ms)"].to_dict(),
            "ttft_again": first.set_index("Metric").loc["Time to First Token (ms)"].to_dict(),
            "scalars": scalars.to_dict(),
            "gpu_columns": list(tables[2].columns[:6]),
        }
    )
)
