//! What the client adds on this machine, for the terminal.

use pinfire_artifacts::{
    calibration::{Calibration, Cost, Limits, Step},
    summary::Lateness,
};

use crate::export::table::{Align, Table, wrap};

/// The tables of a calibration.
pub fn console(of: &Calibration, width: usize, colour: bool) -> String {
    let mut text = format!("\n{}\n\n", about(of));
    text += &added(of).render(width, colour);
    text += "\n";
    text += &cost(&of.cost).render(width, colour);
    text += "\n";
    if !of.limits.steps.is_empty() {
        text += &steps(&of.limits).render(width, colour);
    }
    for line in wrap(&limits(&of.limits), width) {
        text += &line;
        text += "\n";
    }
    let verdict = match &of.reasons[..] {
        [] => "With this load the client stayed within its bounds.".to_owned(),
        reasons => format!(
            "With this load the client was the bottleneck: {}.",
            reasons.join("; ")
        ),
    };
    for line in wrap(&verdict, width) {
        text += &line;
        text += "\n";
    }
    text
}

/// What a calibration says beside the figures of a run.
pub fn beside(of: &Calibration) -> String {
    let median = |of: &Lateness| match (of.p50, of.p99) {
        (Some(p50), Some(p99)) => format!("{p50:.0} µs (p99 {p99:.0})"),
        _ => "not measured".to_owned(),
    };
    let mut text = format!(
        "By the calibration ({}; {:.0} in flight) the client adds {} to TTFT and {} to ITL",
        of.shape.load,
        of.shape.in_flight,
        median(&of.adds.ttft),
        median(&of.adds.itl),
    );
    if of.adds.cancel_closed.count > 0 {
        text += &format!(", and cancels {} late", median(&of.adds.cancel_closed));
    }
    text + "."
}

fn about(of: &Calibration) -> String {
    let shape = &of.shape;
    let cpus: Vec<String> = shape.engine_cpus.iter().map(usize::to_string).collect();
    format!(
        "{} on {}, {} CPUs, Linux {}\n\
         {}: {} requests, {:.1} in flight; {} tokens, {} ms to the first, then {} ms apart, events of about {} bytes{}\n\
         engine on CPU {} ({}), timestamps of received data: {}",
        of.tool_version,
        of.machine.cpu,
        of.machine.cpus,
        of.machine.kernel,
        shape.load,
        shape.requests,
        shape.in_flight,
        shape.osl,
        shape.server_ttft_ms,
        shape.server_itl_ms,
        shape.event_bytes,
        if shape.tls { ", TLS" } else { "" },
        cpus.join(", "),
        shape.driver,
        shape.receive_stamps,
    )
}

const SPREAD: [(&str, Align); 5] = [
    ("µs", Align::Left),
    ("p50", Align::Right),
    ("p99", Align::Right),
    ("max", Align::Right),
    ("of", Align::Right),
];

fn added(of: &Calibration) -> Table {
    let mut table = Table::new("What the client adds".to_owned(), &SPREAD, 0);
    let adds = &of.adds;
    let rows = [
        ("Time to first token, over the server's", &adds.ttft),
        ("Time between tokens, over the server's", &adds.itl),
        ("First token received, after its write", &adds.first_token),
        ("Last token received, after its write", &adds.last_token),
        ("Cancel: system call, after it was due", &adds.cancel_asked),
        ("Cancel: over, after it was due", &adds.cancel_closed),
        ("Cancel: server noticed, after that", &adds.cancel_noticed),
    ];
    let sent = of.sent.iter().flat_map(|sent| {
        [
            ("Before the send of a request, from «sent»", &sent.asked),
            ("Queued to the device, from «sent»", &sent.scheduled),
            ("Handed to the device, from «sent»", &sent.left),
            ("Acknowledged by the peer, from «sent»", &sent.acknowledged),
        ]
    });
    for (name, spread) in rows.into_iter().chain(sent) {
        if spread.count > 0 {
            // Without the sign of a zero.
            let tenths = |us: f64| format!("{:.1}", (us * 10.0).round() / 10.0 + 0.0);
            let number = |value: Option<f64>| value.map_or("–".to_owned(), tenths);
            table.row(vec![
                name.to_owned(),
                number(spread.p50),
                number(spread.p99),
                number(spread.max),
                spread.count.to_string(),
            ]);
        }
    }
    table
}

fn cost(cost: &Cost) -> Table {
    let head = [
        ("CPU time, µs", Align::Left),
        ("pinfire", Align::Right),
        ("bare loop", Align::Right),
    ];
    let mut table = Table::new("What it costs".to_owned(), &head, 0);
    let number = |value: Option<f64>| value.map_or("–".to_owned(), |us| format!("{us:.2}"));
    table.row(vec![
        "for each event".to_owned(),
        number(cost.cpu_us_per_event),
        number(cost.bare_cpu_us_per_event),
    ]);
    table.row(vec![
        "for each request".to_owned(),
        number(Some(cost.cpu_us_per_request)),
        number(cost.bare_cpu_us_per_request),
    ]);
    table
}

fn steps(limits: &Limits) -> Table {
    let head = [
        ("Load", Align::Left),
        ("in flight", Align::Right),
        ("events/s", Align::Right),
        ("requests/s", Align::Right),
        ("engine busy", Align::Right),
        ("server late p99, ms", Align::Right),
        ("client", Align::Left),
    ];
    let mut table = Table::new("More of the same, by core".to_owned(), &head, 6);
    for Step {
        times,
        in_flight,
        events_per_sec,
        requests_per_sec,
        busy,
        server_late,
        client_was_bottleneck,
    } in &limits.steps
    {
        table.row(vec![
            format!("{times} ×"),
            format!("{in_flight:.0}"),
            format!("{events_per_sec:.0}"),
            format!("{requests_per_sec:.0}"),
            format!("{:.0} %", busy * 100.0),
            server_late
                .p99
                .map_or("–".to_owned(), |us| format!("{:.2}", us / 1e3)),
            if *client_was_bottleneck {
                "bottleneck"
            } else {
                "within its bounds"
            }
            .to_owned(),
        ]);
    }
    table
}

fn limits(limits: &Limits) -> String {
    let mut text = match limits.gave_way.as_str() {
        "client" => "The client gave way first. ",
        "server" => "The server gave way first, so this machine does not show the client's limit. ",
        _ => "",
    }
    .to_owned();
    text += "By its CPU time one core carries ";
    if let (Some(events), Some(streams)) = (limits.events_per_sec_by_cpu, limits.streams_by_cpu) {
        text += &format!("{events:.0} events/s ({streams:.0} such streams) or ");
    }
    text + &format!("{:.0} such requests/s.", limits.requests_per_sec_by_cpu)
}

#[cfg(test)]
mod tests {
    use super::*;
    use pinfire_artifacts::calibration::{Adds, SentStamps};

    #[test]
    fn what_was_not_measured_has_no_row() {
        let us = |values: &[f64]| Lateness::of_us(values.to_vec());
        let mut of = Calibration {
            adds: Adds {
                ttft: us(&[3.0, 1.0, 2.0]),
                ..Adds::default()
            },
            ..Calibration::default()
        };
        let text = console(&of, 100, false);
        assert!(text.contains("Time to first token"), "{text}");
        assert!(!text.contains("Cancel"), "{text}");
        assert!(!text.contains("«sent»"), "{text}");
        assert!(beside(&of).contains("2 µs (p99 3) to TTFT and not measured to ITL."));
        of.sent = Some(SentStamps {
            left: us(&[-9.0, -8.0]),
            ..SentStamps::default()
        });
        let text = console(&of, 100, false);
        assert!(text.contains("Handed to the device"), "{text}");
        assert!(text.contains("-8.0"), "{text}");
    }
}
