//! The tables of what servers and GPUs said of themselves.

use super::table::{Align, Table, metric_table, style};
use super::words::{PRODUCT, number};
use crate::report::Report;
use pinfire_scrape::files::short_url;
use pinfire_scrape::gpu::GpuTelemetry;
use pinfire_scrape::server_kinds::Levels;
use pinfire_scrape::{ServerMetrics, Watched};

impl Report {
    /// Tables of the GPUs and of the servers, each with its line feeds before it.
    pub(super) fn external_tables(&self, width: usize, colour: bool) -> String {
        let mut text = String::new();
        let section = "\n\n";
        if let Some(gpu) = &self.external.gpu {
            let given = !gpu.configured.is_empty();
            if gpu.is_empty() && given {
                text += &format!(
                    "{section}No GPU telemetry was collected: {}.\n",
                    gpu.failures.join("; ")
                );
            }
            if !gpu.is_empty() {
                text += section;
                text += &style("GPU Telemetry Platform: NVIDIA (DCGM)", "1", colour);
                text += "\n";
                if !self.external.energy.is_empty() {
                    let head = [("Metric", Align::Right), ("avg", Align::Right)];
                    let title = format!("{PRODUCT} | GPU Power Efficiency (NVIDIA)");
                    let mut table = Table::new(title, &head, 0);
                    for metric in &self.external.energy {
                        let name = format!("{} ({})", metric.name, metric.unit);
                        table.row(vec![name, large(Some(metric.value))]);
                    }
                    text += &table.render(width, colour);
                }
                text += &gpu_tables(gpu, width, colour);
            }
        }
        if let Some(server) = &self.external.server {
            for endpoint in server.endpoints.iter().filter(|e| e.server.is_some()) {
                text += section;
                text += &panel(server, endpoint).render(width, colour);
            }
            let warnings = server.warnings();
            const SHOWN: usize = 8;
            for warning in warnings.iter().take(SHOWN) {
                text += &(style(&format!("Server metrics: {warning}."), "33", colour) + "\n");
            }
            if warnings.len() > SHOWN {
                text += &format!("{} more in the JSON.\n", warnings.len() - SHOWN);
            }
        }
        text
    }
}

/// The known metrics of one server.
fn panel(server: &ServerMetrics, endpoint: &Watched) -> Table {
    let names = [
        "Metric",
        "avg",
        "min",
        "max",
        "at the end",
        "total",
        "per second",
    ];
    let kind = endpoint.server.as_deref().unwrap_or_default();
    let title = format!(
        "{PRODUCT} | Server Metrics | {} | {kind}",
        short_url(&endpoint.url)
    );
    let mut table = Table::new(title, &names.map(|name| (name, Align::Right)), 0)
        .without_if_narrow(&[2, 3, 6, 1])
        .at_last_without(4);
    let window = server.window;
    let inside = |from: pinfire_base::clock::Stamp, to| {
        let levels = endpoint.levels.iter();
        levels
            .filter(move |(at, _)| *at >= from && *at <= to)
            .map(|(_, levels)| levels)
    };
    type Of = fn(&Levels) -> Option<f64>;
    let gauges: [(&str, Of, f64); 3] = [
        ("Requests Running", |levels| levels.running, 1.0),
        ("Requests Waiting", |levels| levels.waiting, 1.0),
        ("KV Cache Used (%)", |levels| levels.kv_used, 100.0),
    ];
    for (name, of, factor) in gauges {
        let values: Vec<f64> = inside(window.start, window.end)
            .filter_map(of)
            .map(|value| value * factor)
            .collect();
        let end = inside(window.start, window.until)
            .filter_map(of)
            .next_back();
        let Some(end) = end else { continue };
        let [avg, _] = pinfire_scrape::reduce::mean_and_deviation(&values);
        let seen = |value: f64| Some(value).filter(|_| !values.is_empty());
        table.row(vec![
            name.to_owned(),
            number(seen(avg)),
            number(values.iter().copied().reduce(f64::min)),
            number(values.iter().copied().reduce(f64::max)),
            number(Some(end * factor)),
            String::new(),
            String::new(),
        ]);
    }
    let ends = endpoint.ends(window);
    let counters: [(&str, Of); 6] = [
        ("Requests Completed", |levels| levels.completed),
        ("Requests Aborted (estimate)", |levels| levels.aborted),
        ("Requests Aborted (its counter)", |levels| {
            levels.abort_counter
        }),
        ("Preemptions", |levels| levels.preemptions),
        ("Prompt Tokens", |levels| levels.prompt_tokens),
        ("Output Tokens", |levels| levels.output_tokens),
    ];
    for (name, of) in counters {
        let Some(total) = ends.and_then(|ends| ends.grown(of)) else {
            continue;
        };
        let seconds = window.seconds();
        // vLLM's counter stays 0 for clients that leave: a 0 there is no finding.
        let silent = total == 0.0 && name.contains("its counter");
        let mut row = vec![name.to_owned()];
        row.extend(std::iter::repeat_n(String::new(), 4));
        row.push(if silent {
            "none reported".to_owned()
        } else {
            number(Some(total))
        });
        row.push(match seconds > 0.0 && !silent {
            true => number(Some(total / seconds)),
            false => String::new(),
        });
        table.row(row);
    }
    table
}

fn gpu_tables(gpu: &GpuTelemetry, width: usize, colour: bool) -> String {
    let mut text = format!(
        "{}\n{}/{} telemetry sources reachable\n",
        style("GPU Telemetry Summary", "1", colour),
        gpu.exporters.len(),
        gpu.configured.len().max(gpu.exporters.len()),
    );
    for exporter in &gpu.exporters {
        text += &format!("  ✔ {}\n", short_url(&exporter.url));
    }
    for failure in &gpu.failures {
        text += &format!("  ✘ {failure}\n");
    }
    for (title, rows) in gpu.tables() {
        let mut table = metric_table(title);
        for (name, values) in rows {
            let mut row = vec![name];
            row.extend(values.map(large));
            table.row(row);
        }
        text += &table.render(width, colour);
    }
    text
}

/// Two decimals; very large and very small ones as powers of ten.
fn large(value: Option<f64>) -> String {
    match value {
        Some(value) if value.abs() >= 1e6 => format!("{value:.2e}"),
        Some(value) if value != 0.0 && value.abs() < 0.01 => format!("{value:.2e}"),
        value => number(value),
    }
}
