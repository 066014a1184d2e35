//! `server_metrics_export.parquet`: long format, one row per value and look, Snappy.
//!
//! Gauges as they were; counters and histograms as their growth since the window's begin.

use std::collections::BTreeSet;
use std::sync::Arc;

use parquet::basic::{Compression, ConvertedType, Repetition, Type as Physical};
use parquet::data_type::{ByteArray, ByteArrayType, DoubleType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::Type;
use pinfire_artifacts::json_line;
use pinfire_base::clock::Stamp;
use pinfire_guard::hidden;

use super::{MAX_LABEL_COLUMNS, ServerMetrics, Watched, shown_name};
use crate::Run;
use crate::history::{Metric, Points, Series};
use crate::reduce::{bucket_growth, growth};
use crate::text::{Kind, Labels};
use crate::units;

/// Rows of one group.
const GROUP: usize = 100_000;

/// The columns that are always there; a label of such a name is left out.
const FIXED: [&str; 11] = [
    "endpoint_url",
    "metric_name",
    "metric_type",
    "unit",
    "description",
    "timestamp_ns",
    "value",
    "sum",
    "count",
    "bucket_le",
    "bucket_count",
];

/// A column being filled. Texts and numbers may be missing in a row, instants never.
enum Column {
    Text(Vec<Option<ByteArray>>),
    Number(Vec<Option<f64>>),
    Instant(Vec<i64>),
}

/// What a row says besides whose it is.
#[derive(Default)]
struct Cells {
    value: Option<f64>,
    sum: Option<f64>,
    count: Option<f64>,
    le: Option<ByteArray>,
    bucket: Option<f64>,
}

struct Table {
    names: Vec<String>,
    labels: Vec<String>,
    columns: Vec<Column>,
    rows: usize,
    writer: SerializedFileWriter<Vec<u8>>,
}

/// Whose rows are being written.
struct Owner {
    before: Vec<Option<ByteArray>>,
    labels: Vec<Option<ByteArray>>,
}

impl ServerMetrics {
    /// The file; `None` if it would have no rows.
    ///
    /// # Errors
    /// The library refuses what it is given, which is a defect.
    pub fn parquet(&self, run: &Run) -> Result<Option<Vec<u8>>, ParquetError> {
        let labels = self.label_names().into_iter();
        let labels = labels.filter(|label| !FIXED.contains(label));
        let labels: Vec<String> = labels.take(MAX_LABEL_COLUMNS).map(str::to_owned).collect();
        let mut table = Table::new(labels, self.metadata(run))?;
        let names = self.names();
        let mut written = 0;
        for (endpoint, name, metric, set, series) in self.all_series() {
            let owner = Owner::new(
                endpoint,
                &shown_name(name, metric, &names),
                metric,
                units::of(name, &metric.help),
                set,
                &table.labels,
            );
            written += self.rows_of(endpoint, metric, series, |at, cells| {
                let unix = i64::try_from(run.anchor.unix_nanos(at)).unwrap_or(i64::MAX);
                table.add(&owner, unix, cells)
            })?;
        }
        table.flush()?;
        let bytes = table.writer.into_inner()?;
        Ok((written > 0).then_some(bytes))
    }

    fn all_series(&self) -> impl Iterator<Item = (&Watched, &str, &Metric, &Labels, &Series)> {
        self.endpoints.iter().flat_map(|endpoint| {
            endpoint
                .history
                .metrics
                .iter()
                .flat_map(move |(name, metric)| {
                    let series = metric.series.iter();
                    series.map(move |(labels, series)| {
                        (endpoint, name.as_str(), metric, labels, series)
                    })
                })
        })
    }

    fn rows_of(
        &self,
        endpoint: &Watched,
        metric: &Metric,
        series: &Series,
        mut row: impl FnMut(Stamp, Cells) -> Result<(), ParquetError>,
    ) -> Result<usize, ParquetError> {
        let window = self.window;
        let inside = |at: Stamp| at >= window.start && at <= window.until;
        // Every scrape since the series was first seen, with the value that held then.
        let scrapes = endpoint.history.scrapes.iter().map(|scrape| scrape.at);
        let scrapes = scrapes.filter(|at| inside(*at) && *at <= series.last_seen);
        let mut rows = 0;
        match (&series.points, metric.kind) {
            (Points::Scalar(points), Kind::Counter) => {
                let first = points.first().map(|(at, _)| *at);
                let growth = growth(&endpoint.history, points, window);
                for at in scrapes.filter(|at| first.is_some_and(|first| first <= *at)) {
                    let value = growth.by(at).copied();
                    row(
                        at,
                        Cells {
                            value,
                            ..Cells::default()
                        },
                    )?;
                    rows += 1;
                }
            }
            (Points::Scalar(points), _) => {
                for &(at, value) in points.iter().filter(|(at, _)| inside(*at)) {
                    let value = Some(value);
                    row(
                        at,
                        Cells {
                            value,
                            ..Cells::default()
                        },
                    )?;
                    rows += 1;
                }
            }
            (Points::Buckets(buckets), _) => {
                let first = buckets.points.first().map(|point| point.at);
                let growth = bucket_growth(&endpoint.history, buckets, window);
                for at in scrapes.filter(|at| first.is_some_and(|first| first <= *at)) {
                    let Some(grown) = growth.by(at) else { continue };
                    for (le, count) in buckets.les.iter().zip(&grown.buckets) {
                        row(
                            at,
                            Cells {
                                value: None,
                                sum: Some(grown.sum),
                                count: Some(grown.count),
                                le: Some(ByteArray::from(le.as_str())),
                                bucket: Some(*count),
                            },
                        )?;
                        rows += 1;
                    }
                }
            }
        }
        Ok(rows)
    }

    fn metadata(&self, run: &Run) -> Vec<(String, String)> {
        let unix = |at| run.anchor.unix_nanos(at).to_string();
        let window = self.window;
        let mut kinds = [
            (Kind::Gauge, 0),
            (Kind::Counter, 0),
            (Kind::Histogram, 0),
            (Kind::Unknown, 0),
        ];
        let mut labels = BTreeSet::new();
        for (_, _, metric, set, _) in self.all_series() {
            for (kind, count) in &mut kinds {
                *count += usize::from(*kind == metric.kind);
            }
            labels.extend(set.iter().map(|(name, _)| name.as_str()));
        }
        let series: usize = kinds.iter().map(|(_, count)| count).sum();
        let kinds: serde_json::Map<String, serde_json::Value> = kinds
            .iter()
            .filter(|(_, count)| *count > 0)
            .map(|(kind, count)| (kind.name().to_owned(), (*count).into()))
            .collect();
        let json = |value: serde_json::Value| value.to_string();
        let urls: Vec<&str> = self.endpoints.iter().map(|e| e.url.as_str()).collect();
        let labels: Vec<&str> = labels.into_iter().collect();
        let length = window.end.since(window.start);
        let written = jiff::Timestamp::from_nanosecond(run.anchor.unix_nanos(window.end).into());
        let written = written.map(|time| time.to_string()).unwrap_or_default();
        let hostname = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let mut pairs =
            vec![
            ("schema_version", "1.0".to_owned()),
            ("version", run.version.clone()),
            ("benchmark_id", run.benchmark_id.clone()),
            ("export_timestamp_utc", written),
            ("exporter", "pinfire".to_owned()),
            ("hostname", hostname.trim().to_owned()),
            ("time_filter_start_ns", unix(window.start)),
            ("time_filter_end_ns", unix(window.end)),
            ("profiling_duration_ns", length.nanos().to_string()),
            ("profiling_duration_seconds", length.as_secs_f64().to_string()),
            ("input_config", json_line(&run.input_config)),
            ("model_names", json(run.models.clone().into())),
            ("endpoint_urls", json(urls.into())),
            ("endpoint_count", self.endpoints.len().to_string()),
            ("label_columns", json(labels.clone().into())),
            ("label_count", labels.len().to_string()),
            ("metric_count", series.to_string()),
            ("metric_type_counts", json(kinds.into())),
            (
                "schema_note",
                "gauges as they were; counters and histograms as growth since the window's begin"
                    .to_owned(),
            ),
        ];
        let concurrency = run
            .concurrency
            .map(|slots| ("concurrency", slots.to_string()));
        let rate = run.rate.map(|rate| ("request_rate", rate.to_string()));
        pairs.extend(concurrency.into_iter().chain(rate));
        let pairs = pairs.into_iter();
        pairs
            .map(|(key, value)| (format!("aiperf.{key}"), hidden(&value).into_owned()))
            .collect()
    }
}

impl Owner {
    fn new(
        endpoint: &Watched,
        name: &str,
        metric: &Metric,
        unit: Option<&str>,
        set: &Labels,
        columns: &[String],
    ) -> Self {
        let text = |text: &str| Some(ByteArray::from(&*hidden(text)));
        let help = Some(metric.help.as_str()).filter(|help| !help.is_empty());
        Self {
            before: vec![
                text(&endpoint.url),
                text(name),
                text(metric.kind.name()),
                unit.and_then(text),
                help.and_then(text),
            ],
            labels: columns
                .iter()
                .map(|column| {
                    let found = set.iter().find(|(name, _)| name == column);
                    found.and_then(|(_, value)| text(value))
                })
                .collect(),
        }
    }
}

impl Table {
    fn new(labels: Vec<String>, metadata: Vec<(String, String)>) -> Result<Self, ParquetError> {
        let (before, after) = FIXED.split_at(6);
        let names = before.iter().map(|name| (*name).to_owned());
        let names = names.chain(labels.iter().cloned());
        let names: Vec<String> = names
            .chain(after.iter().map(|name| (*name).to_owned()))
            .collect();
        let fields = names.iter().map(|name| {
            let (physical, text) = match name.as_str() {
                "timestamp_ns" => (Physical::INT64, false),
                "value" | "sum" | "count" | "bucket_count" => (Physical::DOUBLE, false),
                _ => (Physical::BYTE_ARRAY, true),
            };
            let mut builder = Type::primitive_type_builder(name, physical);
            builder = builder.with_repetition(match physical {
                Physical::INT64 => Repetition::REQUIRED,
                _ => Repetition::OPTIONAL,
            });
            if text {
                builder = builder.with_converted_type(ConvertedType::UTF8);
            }
            builder.build().map(Arc::new)
        });
        let fields = fields.collect::<Result<Vec<_>, _>>()?;
        let schema = Type::group_type_builder("schema")
            .with_fields(fields)
            .build()?;
        let pairs = metadata
            .into_iter()
            .map(|(key, value)| KeyValue::new(key, value));
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .set_key_value_metadata(Some(pairs.collect()))
            .set_created_by(format!("pinfire {}", env!("CARGO_PKG_VERSION")))
            .build();
        let writer = SerializedFileWriter::new(Vec::new(), Arc::new(schema), Arc::new(properties))?;
        let mut table = Self {
            names,
            labels,
            columns: Vec::new(),
            rows: 0,
            writer,
        };
        table.empty();
        Ok(table)
    }

    fn empty(&mut self) {
        let kind = |name: &String| match name.as_str() {
            "timestamp_ns" => Column::Instant(Vec::new()),
            "value" | "sum" | "count" | "bucket_count" => Column::Number(Vec::new()),
            _ => Column::Text(Vec::new()),
        };
        self.columns = self.names.iter().map(kind).collect();
        self.rows = 0;
    }

    fn add(&mut self, owner: &Owner, unix: i64, cells: Cells) -> Result<(), ParquetError> {
        let mut texts = owner
            .before
            .iter()
            .chain(&owner.labels)
            .cloned()
            .chain([cells.le]);
        let mut numbers = [cells.value, cells.sum, cells.count, cells.bucket].into_iter();
        for column in &mut self.columns {
            match column {
                Column::Text(values) => values.push(texts.next().flatten()),
                Column::Number(values) => values.push(numbers.next().flatten()),
                Column::Instant(values) => values.push(unix),
            }
        }
        self.rows += 1;
        if self.rows >= GROUP {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), ParquetError> {
        if self.rows == 0 {
            return Ok(());
        }
        let mut group = self.writer.next_row_group()?;
        for column in &self.columns {
            let Some(mut writer) = group.next_column()? else {
                break;
            };
            match column {
                Column::Text(values) => {
                    let levels: Vec<i16> = values.iter().map(|v| i16::from(v.is_some())).collect();
                    let values: Vec<ByteArray> = values.iter().flatten().cloned().collect();
                    let typed = writer.typed::<ByteArrayType>();
                    typed.write_batch(&values, Some(&levels), None)?;
                }
                Column::Number(values) => {
                    let levels: Vec<i16> = values.iter().map(|v| i16::from(v.is_some())).collect();
                    let values: Vec<f64> = values.iter().flatten().copied().collect();
                    writer
                        .typed::<DoubleType>()
                        .write_batch(&values, Some(&levels), None)?;
                }
                Column::Instant(values) => {
                    writer
                        .typed::<Int64Type>()
                        .write_batch(values, None, None)?;
                }
            }
            writer.close()?;
        }
        group.close()?;
        self.empty();
        Ok(())
    }
}
