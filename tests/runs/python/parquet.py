# The metrics of the servers by pyarrow and pandas.
import json
import sys

import pandas as pd
import pyarrow.parquet as pq

path = sys.argv[1] + "/server_metrics_export.parquet"
file = pq.ParquetFile(path)
frame = pd.read_parquet(path)
counters = frame[frame["metric_type"] == "counter"]
fixed = {"description", "timestamp_ns", "value", "sum", "count", "bucket_count"}
series = frame.groupby([name for name in frame if name not in fixed], dropna=False)
last = counters.groupby(["endpoint_url", "metric_name"])["value"].max()
print(
    json.dumps(
        {
            "columns": file.schema_arrow.names,
            "types": {f.name: str(f.type) for f in file.schema_arrow},
            "codec": file.metadata.row_group(0).column(0).compression,
            "meta": {k.decode(): v.decode() for k, v in file.schema_arrow.metadata.items()},
            "rows": len(frame),
            "series": series.ngroups,
            "in_time": bool(series["timestamp_ns"].apply(lambda t: t.is_monotonic_increasing).all()),
            "totals": {name: float(value) for (_, name), value in last.items()},
        }
    )
)
