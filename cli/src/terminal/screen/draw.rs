//! One picture of the run.

use pinfire_analysis::{
    collect::STAGES,
    live::{Percentiles, Quantity, Snapshot, Stretch},
};
use pinfire_base::clock::Stamp;
use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::{Color, Modifier, Style},
    text::{Line, Span as Text},
    widgets::{Block, Cell, Gauge, Paragraph, Row, Sparkline, Table},
};

use super::usage::Usage;
use crate::terminal::progress::Stage;

/// What there is to see.
pub struct View<'a> {
    pub title: &'a str,
    pub stage: Option<Stage>,
    pub figures: Option<Snapshot>,
    pub backlog: u64,
    pub usage: Option<&'a Usage>,
    /// Answers per second, one point a second.
    pub answered: &'a [u64],
    pub messages: Vec<String>,
    pub now: Stamp,
}

const DIM: Style = Style::new().fg(Color::DarkGray);
const STRONG: Style = Style::new().add_modifier(Modifier::BOLD);

/// Draws it; 80 × 24 is enough for all of it.
pub fn draw(frame: &mut Frame<'_>, view: &View<'_>) {
    let [head, progress, load, latency, outcomes, foot] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(2),
        Constraint::Length(6),
        Constraint::Length(9),
        Constraint::Min(5),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    frame.render_widget(Paragraph::new(view.title).style(STRONG), head);
    draw_progress(frame, progress, view);
    let halves = Layout::horizontal([Constraint::Percentage(50), Constraint::Percentage(50)]);
    let [left, right] = halves.areas(load);
    draw_load(frame, left, view);
    draw_throughput(frame, right, view);
    draw_latency(frame, latency, view.figures.as_ref());
    let [left, right] = halves.areas(outcomes);
    draw_outcomes(frame, left, view);
    draw_health(frame, right, view);
    let foot_text = match view.messages.last() {
        Some(message) => Line::from(message.as_str()).style(Color::Yellow),
        None => Line::from("Ctrl-C: stop here and write the results").style(DIM),
    };
    frame.render_widget(Paragraph::new(foot_text), foot);
}

fn draw_progress(frame: &mut Frame<'_>, area: Rect, view: &View<'_>) {
    let [text, bar] = Layout::vertical([Constraint::Length(1), Constraint::Length(1)]).areas(area);
    let Some(stage) = &view.stage else {
        frame.render_widget(Paragraph::new("Getting ready").style(DIM), text);
        return;
    };
    let elapsed = view.now.since(stage.begun).as_secs_f64();
    let share = stage.share(view.now);
    let mut said = format!("{}  {} requests ended", stage.name, grouped(stage.ended()));
    if let Some(requests) = stage.requests {
        said.push_str(&format!(" of {}", grouped(requests)));
    }
    said.push_str(&format!("  {}", clock(elapsed)));
    if let Some(duration) = stage.duration {
        let over = elapsed - duration.as_secs_f64();
        said.push_str(&format!(" of {}", clock(duration.as_secs_f64())));
        if over > 0.0 {
            said.push_str(&format!("  grace period since {}", clock(over)));
        }
    }
    if share > 0.01 && share < 1.0 {
        said.push_str(&format!(
            "  about {} left",
            clock(elapsed / share - elapsed)
        ));
    }
    frame.render_widget(Paragraph::new(said), text);
    let colour = if stage.name == "Warmup" {
        Color::Yellow
    } else {
        Color::Green
    };
    let gauge = Gauge::default()
        .ratio(share)
        .gauge_style(Style::new().fg(colour));
    frame.render_widget(gauge, bar);
}

fn draw_load(frame: &mut Frame<'_>, area: Rect, view: &View<'_>) {
    let Some(stage) = &view.stage else {
        frame.render_widget(Block::bordered().title(" Load "), area);
        return;
    };
    let held = match stage.concurrency {
        Some(limit) => format!("{} of {}", grouped(stage.in_flight()), grouped(limit)),
        None => grouped(stage.in_flight()),
    };
    let counts = &stage.counts;
    let lines = vec![
        pair("In flight", held),
        pair("Begun", grouped(counts.due)),
        pair("Answered", grouped(counts.finished)),
        pair(
            "Dropped",
            if counts.dropped > 0 {
                grouped(counts.dropped)
            } else {
                "none".to_owned()
            },
        ),
    ];
    frame.render_widget(
        Paragraph::new(lines).block(Block::bordered().title(" Load ")),
        area,
    );
}

fn draw_throughput(frame: &mut Frame<'_>, area: Rect, view: &View<'_>) {
    let block = Block::bordered().title(" Throughput: last 10 s, run ");
    let inner = block.inner(area);
    frame.render_widget(block, area);
    let Some(figures) = &view.figures else { return };
    let [text, curve] = Layout::vertical([Constraint::Length(3), Constraint::Min(0)]).areas(inner);
    let both = |count: fn(&Stretch) -> u64| {
        let of = |stretch: &Stretch| short(stretch.per_second(count(stretch)));
        format!("{:>9} {:>9}", of(&figures.last), of(&figures.run))
    };
    let lines = vec![
        pair("Requests/s", both(|stretch| stretch.answered)),
        pair("Output tokens/s", both(|stretch| stretch.tokens[1])),
        pair("Input tokens/s", both(|stretch| stretch.tokens[0])),
    ];
    frame.render_widget(Paragraph::new(lines), text);
    let points = view.answered.len().saturating_sub(usize::from(curve.width));
    let points = view.answered.get(points..).unwrap_or_default();
    frame.render_widget(Sparkline::default().data(points).style(Color::Cyan), curve);
}

fn draw_latency(frame: &mut Frame<'_>, area: Rect, figures: Option<&Snapshot>) {
    let head = ["", "p50", "p90", "p99", "run p50", "p90", "p99", "max"];
    let right = |text: String| Cell::from(Line::from(text).right_aligned());
    let rows = [
        ("TTFT (ms)", Quantity::FirstToken, 1e6),
        ("ITL (ms)", Quantity::InterToken, 1e6),
        ("Latency (ms)", Quantity::Latency, 1e6),
        ("Tokens/s per user", Quantity::PerUser, 1.0),
        ("Input tokens", Quantity::Input, 1.0),
        ("Output tokens", Quantity::Output, 1.0),
    ]
    .map(|(name, quantity, unit)| {
        let tokens = matches!(quantity, Quantity::Input | Quantity::Output);
        let of = |stretch: fn(&Snapshot) -> &Stretch, percentile: f64| {
            let known = figures.map(|figures| stretch(figures).of(quantity));
            right(match known.filter(|known| known.count > 0) {
                Some(known) if tokens => grouped(known.get(percentile) as u64),
                Some(known) => short(known.get(percentile) / unit),
                None => "-".to_owned(),
            })
        };
        let last = |percentile| of(|figures| &figures.last, percentile);
        let run = |percentile| of(|figures| &figures.run, percentile);
        Row::new(vec![
            Cell::from(name),
            last(50.0),
            last(90.0),
            last(99.0),
            run(50.0),
            run(90.0),
            run(99.0),
            run(100.0),
        ])
    });
    let widths = [Constraint::Min(17)]
        .into_iter()
        .chain([Constraint::Length(8); 7]);
    let header = Row::new(head.map(|name| right(name.to_owned()))).style(DIM);
    let table = Table::new(rows, widths)
        .header(header)
        .column_spacing(0)
        .block(Block::bordered().title(" Requests that ended in the last 10 s, and in the run "));
    frame.render_widget(table, area);
}

fn draw_outcomes(frame: &mut Frame<'_>, area: Rect, view: &View<'_>) {
    let mut lines = Vec::new();
    if let Some(figures) = &view.figures {
        let ended = &figures.ended;
        let all = ended.valid + ended.errors + ended.cancelled;
        let share = |count: u64| count as f64 / (all.max(1)) as f64 * 100.0;
        let colour = match share(ended.errors) {
            _ if ended.errors == 0 => Color::Green,
            share if share <= 10.0 => Color::Yellow,
            _ => Color::Red,
        };
        lines.push(Line::from(vec![
            Text::raw(format!("{} ok  ", grouped(ended.valid))),
            Text::styled(
                format!(
                    "{} failed ({:.1} %)",
                    grouped(ended.errors),
                    share(ended.errors)
                ),
                colour,
            ),
            Text::raw(format!("  {} cancelled", grouped(ended.cancelled))),
        ]));
        if ended.cancelled > 0 {
            let stages = STAGES
                .iter()
                .zip(figures.stages)
                .filter(|(_, count)| *count > 0);
            let stages: Vec<String> = stages
                .map(|(stage, count)| format!("{} {}", grouped(count), stage.name()))
                .collect();
            lines.push(pair("Cancelled while", stages.join(", ")));
            lines.push(pair("Cancel error", micros(figures.cancel_error)));
        }
        for (reason, count) in &figures.errors {
            lines.push(Line::from(format!("{} × {reason}", grouped(*count))).style(Color::Red));
        }
    }
    frame.render_widget(
        Paragraph::new(lines).block(Block::bordered().title(" Outcomes ")),
        area,
    );
}

fn draw_health(frame: &mut Frame<'_>, area: Rect, view: &View<'_>) {
    let mut lines = Vec::new();
    if let Some(figures) = &view.figures {
        lines.push(pair("Start lateness", micros(figures.start_lateness)));
    }
    if let Some(usage) = view.usage {
        let most = usage.cores.iter().copied().fold(0.0, f64::max);
        let mean = usage.cores.iter().sum::<f64>() / usage.cores.len().max(1) as f64;
        lines.push(pair(
            "Engine cores",
            format!("{mean:.0} % busy, most {most:.0}"),
        ));
        lines.push(pair(
            "Analysis",
            format!(
                "{:.0} %, {} wait, {:.0} MiB",
                usage.analysis,
                grouped(view.backlog),
                usage.memory
            ),
        ));
    }
    frame.render_widget(
        Paragraph::new(lines).block(Block::bordered().title(" Client health ")),
        area,
    );
}

/// p50 and p99 of a lateness, in microseconds or what is readable.
fn micros(of: Percentiles) -> String {
    let ms = |percentile: f64| of.get(percentile) / 1e6;
    format!("p50 {:.3} p99 {:.3} ms", ms(50.0), ms(99.0))
}

fn pair(name: &str, value: impl Into<String>) -> Line<'static> {
    Line::from(vec![
        Text::styled(format!("{name:<15} "), DIM),
        Text::raw(value.into()),
    ])
}

/// `H:MM:SS`, or `MM:SS` below an hour.
fn clock(seconds: f64) -> String {
    let seconds = seconds.max(0.0) as u64;
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 {
        format!("{hours}:{minutes:02}:{seconds:02}")
    } else {
        format!("{minutes:02}:{seconds:02}")
    }
}

/// A number in at most 7 letters.
fn short(value: f64) -> String {
    match value.abs() {
        v if v < 100.0 => format!("{value:.2}"),
        v if v < 10_000.0 => format!("{value:.1}"),
        v if v < 1e6 => grouped(value.round() as u64),
        _ => format!("{:.2}M", value / 1e6),
    }
}

/// 1,234,567.
fn grouped(value: u64) -> String {
    let digits = value.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use pinfire_base::{clock::Span, health::Counts};
    use ratatui::{Terminal, backend::TestBackend};

    fn picture(width: u16, height: u16, view: &View<'_>) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, view)).unwrap();
        terminal.backend().to_string()
    }

    #[test]
    fn any_size_can_be_drawn_on() {
        let begun = Stamp::from_nanos(1_000_000_000);
        let view = View {
            title: "pinfire",
            stage: Some(Stage {
                phase: pinfire_base::record::Phase::Profiling,
                name: "Profiling",
                begun,
                requests: Some(2_000),
                duration: None,
                concurrency: Some(100),
                counts: Counts {
                    due: 1_100,
                    finished: 990,
                    failed: 10,
                    ..Counts::default()
                },
            }),
            figures: None,
            backlog: 0,
            usage: None,
            answered: &[1, 2, 3],
            messages: vec!["warning: x".to_owned()],
            now: begun + Span::from_millis(10_000),
        };
        for (width, height) in [(80, 24), (200, 60), (20, 5), (1, 1)] {
            let shown = picture(width, height, &view);
            if width >= 80 {
                for expected in [
                    "1,000 requests ended of 2,000  00:10  about 00:10 left",
                    "100 of 100",
                    "warning: x",
                    "TTFT (ms)",
                ] {
                    assert!(shown.contains(expected), "{expected}: {shown}");
                }
            }
        }
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(grouped(999), "999");
        assert_eq!(short(20.054), "20.05");
        assert_eq!(short(335.06), "335.1");
        assert_eq!(short(12_345.6), "12,346");
        assert_eq!(short(1.5e6), "1.50M");
        assert_eq!(clock(3_725.9), "1:02:05");
        assert_eq!(clock(65.0), "01:05");
    }
}
