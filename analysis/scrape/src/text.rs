//! The Prometheus text format, 0.0.4 and OpenMetrics, read line by line.
//!
//! Written here because the crates do not fit: `prometheus-parse` takes no `:` in names (all of
//! vLLM's have one), splits labels at commas inside values and loses a histogram's labels;
//! `openmetrics-parser` gives up a whole body for one bad line. A line that makes no sense is
//! counted and costs nothing else; no bytes make this panic.

use std::collections::{HashMap, HashSet};

use super::dropped::Dropped;

/// More series than any server has; what a body holds beyond is counted by name and not read.
const MAX_SERIES: usize = 200_000;
/// The same of metrics whose type or help is declared, with or without series.
const MAX_NAMES: usize = 200_000;

/// How a family's values are meant.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Kind {
    /// Goes up and down.
    Gauge,
    /// Only goes up, but for restarts.
    Counter,
    /// Counts per bucket.
    Histogram,
    /// Untyped; reduced as a gauge.
    Unknown,
}

impl Kind {
    /// Its name in the files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gauge => "gauge",
            Self::Counter => "counter",
            Self::Histogram => "histogram",
            Self::Unknown => "unknown",
        }
    }
}

/// Labels, sorted by name.
pub type Labels = Vec<(String, String)>;

/// One bucket of a histogram: the observations up to its bound.
#[derive(Clone, PartialEq, Debug)]
pub struct Bucket {
    /// Upper bound; infinite in the last one.
    pub bound: f64,
    /// The bound as it was written.
    pub le: String,
    /// Observations at or below it.
    pub count: f64,
}

/// A histogram at one instant: cumulative in its bounds, and since the server began.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Histogram {
    /// In the order of their bounds.
    pub buckets: Vec<Bucket>,
    /// Sum of all observations.
    pub sum: f64,
    /// Number of all observations.
    pub count: f64,
}

/// What a series shows.
#[derive(Clone, PartialEq, Debug)]
pub enum Value {
    /// A finite number.
    Scalar(f64),
    /// A histogram of finite numbers.
    Histogram(Histogram),
}

/// One label set of a family.
#[derive(Clone, PartialEq, Debug)]
pub struct Point {
    /// Without `le`.
    pub labels: Labels,
    /// What it shows.
    pub value: Value,
}

/// All that goes by one name.
#[derive(Clone, PartialEq, Debug)]
pub struct Family {
    /// As the samples have it: counters with `_total`, histograms without `_bucket`.
    pub name: String,
    /// How its values are meant.
    pub kind: Kind,
    /// The help text, unescaped.
    pub help: String,
    /// Its label sets, each once.
    pub points: Vec<Point>,
}

/// One body, read.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Exposition {
    /// In the order of their first samples; none of them is empty.
    pub families: Vec<Family>,
    /// Every name whose type was said, whether or not it has samples yet.
    pub declared: HashSet<String>,
    /// Lines that are neither samples nor comments.
    pub bad_lines: usize,
    /// Families with NaN or infinite values, which were left out, and how many values.
    pub not_finite: Dropped,
    /// Summaries, which are not read, and how many samples they have.
    pub summaries: Dropped,
    /// Samples of series that are too many to be read, by name.
    pub dropped: Dropped,
    /// Place of a family by its name.
    places: HashMap<String, usize>,
}

/// Why a body is not the text format.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Unreadable {
    /// It says that it is JSON.
    #[error("it answers with JSON")]
    Json,
    /// Not one line of it makes sense.
    #[error("its answer is not in the Prometheus text format")]
    NotText,
}

impl Exposition {
    /// Reads a body with its content type.
    ///
    /// # Errors
    /// The body is something else altogether. Single bad lines are only counted.
    pub fn read(body: &[u8], content_type: Option<&str>) -> Result<Self, Unreadable> {
        if content_type.is_some_and(|kind| kind.trim_start().starts_with("application/json")) {
            return Err(Unreadable::Json);
        }
        let mut reader = Reader::default();
        let mut good = false;
        for line in body.split(|&byte| byte == b'\n') {
            let read = std::str::from_utf8(line).ok().map(|line| reader.line(line));
            match read {
                Some(Some(PageLine::Blank)) => {}
                Some(Some(PageLine::TurnContent)) => good = true,
                Some(None) | None => reader.out.bad_lines += 1,
            }
        }
        if reader.out.bad_lines > 0 && !good {
            return Err(Unreadable::NotText);
        }
        Ok(reader.finish())
    }

    /// The family of that name, as samples have it.
    pub fn family(&self, name: &str) -> Option<&Family> {
        self.families.get(*self.places.get(name)?)
    }

    /// Whether the server has such a metric, be it without any label set so far.
    pub fn has(&self, name: &str) -> bool {
        let bare = name.strip_suffix("_total");
        self.family(name).is_some()
            || self.declared.contains(name)
            || bare.is_some_and(|bare| self.declared.contains(bare))
    }
}

enum PageLine {
    Blank,
    TurnContent,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Typed {
    Kind(Kind),
    Summary,
}

#[derive(Default)]
struct Reader {
    out: Exposition,
    types: HashMap<String, Typed>,
    helps: HashMap<String, String>,
    /// Place of a label set by its family's place.
    points: HashMap<(usize, Labels), usize>,
    /// Histograms with something that is not finite.
    spoilt: Vec<(usize, usize)>,
    /// Which histograms gave their count themselves.
    counted: Vec<(usize, usize)>,
}

/// The part of a histogram that a sample is.
#[derive(Clone, Copy)]
enum Part {
    Whole,
    Bucket,
    Sum,
    Count,
}

impl Reader {
    /// Takes in a line; nothing if it makes no sense.
    fn line(&mut self, line: &str) -> Option<PageLine> {
        let line = line.trim_matches([' ', '\t', '\r']);
        if line.is_empty() {
            return Some(PageLine::Blank);
        }
        if let Some(comment) = line.strip_prefix('#') {
            return Some(self.comment(comment.trim_start_matches([' ', '\t'])));
        }
        let (name, rest) = name(line)?;
        let (labels, rest) = match rest.trim_start_matches([' ', '\t']).strip_prefix('{') {
            Some(inner) => labels(inner)?,
            None => (Labels::new(), rest),
        };
        let mut words = rest.split_ascii_whitespace();
        let value: f64 = words.next()?.parse().ok()?;
        // A time, or an exemplar behind it: both are left alone.
        match words.next() {
            None | Some("#") => {}
            Some(time) => {
                time.parse::<f64>().ok()?;
                if words.next().is_some_and(|word| word != "#") {
                    return None;
                }
            }
        }
        self.sample(name, labels, value);
        Some(PageLine::TurnContent)
    }

    fn comment(&mut self, comment: &str) -> PageLine {
        let (word, rest) = comment.split_once([' ', '\t']).unwrap_or((comment, ""));
        let rest = rest.trim_start_matches([' ', '\t']);
        let (name, text) = rest.split_once([' ', '\t']).unwrap_or((rest, ""));
        match word {
            "HELP" | "TYPE" if self.is_full(name) => self.out.dropped.add(name, 1),
            "HELP" if !name.is_empty() => {
                self.helps.insert(name.to_owned(), unescaped(text));
            }
            "TYPE" if !name.is_empty() => {
                let typed = match text.trim() {
                    "counter" => Typed::Kind(Kind::Counter),
                    "gauge" => Typed::Kind(Kind::Gauge),
                    "histogram" => Typed::Kind(Kind::Histogram),
                    "summary" => Typed::Summary,
                    _ => Typed::Kind(Kind::Unknown),
                };
                self.types.insert(name.to_owned(), typed);
            }
            "UNIT" | "EOF" => {}
            _ => return PageLine::Blank,
        }
        PageLine::TurnContent
    }

    /// Whether no further name can be declared.
    fn is_full(&self, name: &str) -> bool {
        let most = self.helps.len().max(self.types.len());
        most >= MAX_NAMES && !self.types.contains_key(name) && !self.helps.contains_key(name)
    }

    fn sample(&mut self, name: &str, mut labels: Labels, value: f64) {
        let (declared, typed, part) = self.declared(name);
        let family = match part {
            Part::Whole => name,
            _ => declared,
        };
        if is_skipped(name) || is_skipped(family) {
            return;
        }
        let kind = match typed {
            Some(Typed::Summary) => {
                self.out.summaries.add(declared, 1);
                return;
            }
            Some(Typed::Kind(kind)) => kind,
            None => Kind::Unknown,
        };
        if matches!(kind, Kind::Histogram) && matches!(part, Part::Whole) {
            // A histogram has no sample of its bare name.
            self.out.bad_lines += 1;
            return;
        }
        let le = match part {
            Part::Bucket => {
                let at = labels.iter().position(|(name, _)| name == "le");
                Some(at.map_or_else(|| "+Inf".to_owned(), |at| labels.remove(at).1))
            }
            _ => None,
        };
        let scalar = matches!(part, Part::Whole);
        if scalar && !value.is_finite() {
            self.out.not_finite.add(family, 1);
            return;
        }
        labels.sort_unstable();
        labels.dedup_by(|later, kept| later.0 == kept.0);
        let Some(place) = self.place([name, declared, family], kind, labels) else {
            self.out.dropped.add(family, 1);
            return;
        };
        let slot = self
            .out
            .families
            .get_mut(place.0)
            .and_then(|family| family.points.get_mut(place.1));
        let Some(point) = slot else { return };
        match &mut point.value {
            Value::Scalar(held) => *held = value,
            Value::Histogram(histogram) => {
                let whole = match part {
                    Part::Sum => {
                        histogram.sum = value;
                        true
                    }
                    Part::Count => {
                        histogram.count = value;
                        self.counted.push(place);
                        true
                    }
                    _ => add_bucket(histogram, le.unwrap_or_default(), value),
                };
                if !whole || !value.is_finite() {
                    self.spoilt.push(place);
                }
            }
        }
    }

    /// Under which name a sample's type was declared, and which part of it the sample is.
    fn declared<'n>(&self, name: &'n str) -> (&'n str, Option<Typed>, Part) {
        if let Some(typed) = self.types.get(name) {
            return (name, Some(*typed), Part::Whole);
        }
        let parts = [
            ("_bucket", Part::Bucket),
            ("_sum", Part::Sum),
            ("_count", Part::Count),
        ];
        for (ending, part) in parts {
            if let Some(base) = name.strip_suffix(ending)
                && let Some(typed) = self.types.get(base)
                && matches!(typed, Typed::Summary | Typed::Kind(Kind::Histogram))
            {
                return (base, Some(*typed), part);
            }
        }
        // OpenMetrics declares a counter without the ending of its samples.
        if let Some(base) = name.strip_suffix("_total")
            && let Some(typed @ Typed::Kind(Kind::Counter)) = self.types.get(base)
        {
            return (base, Some(*typed), Part::Whole);
        }
        (name, None, Part::Whole)
    }

    /// Place of a label set, by the name of its sample, the declared one, and its family's; none if
    /// there are too many.
    fn place(
        &mut self,
        [sample, declared, name]: [&str; 3],
        kind: Kind,
        labels: Labels,
    ) -> Option<(usize, usize)> {
        let at = match self.out.places.get(name) {
            Some(at) => *at,
            None if self.points.len() >= MAX_SERIES => return None,
            None => {
                let help = self.helps.get(declared).or_else(|| self.helps.get(sample));
                self.out.families.push(Family {
                    name: name.to_owned(),
                    kind,
                    help: help.cloned().unwrap_or_default(),
                    points: Vec::new(),
                });
                let at = self.out.families.len() - 1;
                self.out.places.insert(name.to_owned(), at);
                at
            }
        };
        let key = (at, labels);
        if let Some(point) = self.points.get(&key) {
            return Some((at, *point));
        }
        if self.points.len() >= MAX_SERIES {
            return None;
        }
        let family = self.out.families.get_mut(at)?;
        let value = match family.kind {
            Kind::Histogram => Value::Histogram(Histogram::default()),
            _ => Value::Scalar(0.0),
        };
        family.points.push(Point {
            labels: key.1.clone(),
            value,
        });
        let point = family.points.len() - 1;
        self.points.insert(key, point);
        Some((at, point))
    }

    fn finish(mut self) -> Exposition {
        let spoilt: HashSet<_> = self.spoilt.into_iter().collect();
        let counted: HashSet<_> = self.counted.into_iter().collect();
        for (at, family) in self.out.families.iter_mut().enumerate() {
            let mut place = 0;
            let name = &family.name;
            let not_finite = &mut self.out.not_finite;
            family.points.retain_mut(|point| {
                let here = (at, place);
                place += 1;
                if spoilt.contains(&here) {
                    not_finite.add(name, 1);
                    return false;
                }
                if let Value::Histogram(histogram) = &mut point.value {
                    histogram.put_in_order();
                    if !counted.contains(&here) {
                        histogram.count = histogram.buckets.last().map_or(0.0, |last| last.count);
                    }
                }
                true
            });
        }
        self.out.families.retain(|family| !family.points.is_empty());
        let families = self.out.families.iter().enumerate();
        self.out.places = families.map(|(at, of)| (of.name.clone(), at)).collect();
        let kinds = self.types.into_iter();
        let known = kinds.filter(|(_, typed)| *typed != Typed::Summary);
        self.out.declared = known.map(|(name, _)| name).collect();
        self.out
    }
}

/// Adds a bucket, in no order yet. False if the bound is no number.
fn add_bucket(histogram: &mut Histogram, le: String, count: f64) -> bool {
    match le.parse::<f64>() {
        Ok(bound) if !bound.is_nan() => {
            histogram.buckets.push(Bucket { bound, le, count });
            true
        }
        _ => false,
    }
}

impl Histogram {
    /// Sorts the buckets by their bounds; of those with the same bound the last one counts.
    fn put_in_order(&mut self) {
        let buckets = &mut self.buckets;
        buckets.reverse();
        buckets.sort_by(|a, b| a.bound.total_cmp(&b.bound));
        buckets.dedup_by(|later, kept| later.bound == kept.bound);
    }
}

/// Instants of creation and times of running say nothing about a load.
fn is_skipped(name: &str) -> bool {
    name.ends_with("_created") || name.ends_with("_uptime") || name.contains("_uptime_")
}

/// The name at the beginning of a sample, and what follows.
fn name(line: &str) -> Option<(&str, &str)> {
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b':';
    let end = line
        .bytes()
        .position(|byte| !is_name(byte))
        .unwrap_or(line.len());
    let (name, rest) = line.split_at(end);
    let first = name.bytes().next()?;
    (!first.is_ascii_digit()).then_some((name, rest))
}

/// The labels after an opening brace, and what follows the closing one.
fn labels(mut rest: &str) -> Option<(Labels, &str)> {
    let blank = [' ', '\t'];
    let mut labels = Labels::new();
    loop {
        rest = rest.trim_start_matches(blank);
        if let Some(after) = rest.strip_prefix('}') {
            return Some((labels, after));
        }
        if !labels.is_empty() {
            rest = rest.strip_prefix(',')?.trim_start_matches(blank);
            if let Some(after) = rest.strip_prefix('}') {
                return Some((labels, after));
            }
        }
        let (label, after) = name(rest)?;
        let after = after.trim_start_matches(blank).strip_prefix('=')?;
        let quoted = after.trim_start_matches(blank).strip_prefix('"')?;
        let mut escaped = false;
        let end = quoted.bytes().position(|byte| {
            let ends = byte == b'"' && !escaped;
            escaped = byte == b'\\' && !escaped;
            ends
        })?;
        labels.push((label.to_owned(), unescaped(quoted.get(..end)?)));
        rest = quoted.get(end + 1..)?;
    }
}

/// `\\`, `\"` and `\n` resolved; any other backslash stays.
fn unescaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('n') => out.push('\n'),
            Some('\\') => out.push('\\'),
            Some('"') => out.push('"'),
            Some(other) => out.extend(['\\', other]),
            None => out.push('\\'),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Exposition {
        Exposition::read(text.as_bytes(), None).unwrap()
    }

    fn scalar(exposition: &Exposition, family: &str, at: usize) -> f64 {
        match &exposition.family(family).unwrap().points[at].value {
            Value::Scalar(value) => *value,
            Value::Histogram(_) => panic!("{family} is a histogram"),
        }
    }

    #[test]
    fn names_labels_values_times_and_exemplars() {
        let text = "# HELP vllm:n A \\\\ and a \\n break\n# TYPE vllm:n gauge\n\
            vllm:n{b=\"x, y}\",a=\"q\\\"\\\\\\n\",} 1.5e1 1395066363000\r\n\
            \tplain   7 # {trace=\"1\"} 2 3\n\
            # TYPE done counter\ndone_total{} +3\n\n# EOF\n";
        let read = read(text);
        assert_eq!(read.bad_lines, 0);
        let family = read.family("vllm:n").unwrap();
        assert_eq!(
            (family.kind, family.help.as_str()),
            (Kind::Gauge, "A \\ and a \n break")
        );
        let labels = [("a", "q\"\\\n"), ("b", "x, y}")];
        let labels = labels.map(|(a, b)| (a.to_owned(), b.to_owned()));
        assert_eq!(family.points[0].labels, labels);
        assert_eq!(scalar(&read, "vllm:n", 0), 15.0);
        assert_eq!(scalar(&read, "plain", 0), 7.0);
        assert_eq!(read.family("plain").unwrap().kind, Kind::Unknown);
        let done = read.family("done_total").unwrap();
        assert_eq!(
            (done.kind, scalar(&read, "done_total", 0)),
            (Kind::Counter, 3.0)
        );
    }

    #[test]
    fn histograms_come_together_whatever_their_order() {
        let text = "# TYPE h histogram\n\
            h_bucket{le=\"+Inf\",m=\"a\"} 5\nh_bucket{m=\"a\",le=\"0.5\"} 3\nh_bucket{m=\"a\",le=\"0.1\"} 1\n\
            h_sum{m=\"a\"} 2.5\nh_count{m=\"a\"} 5\n\
            h_bucket{m=\"b\"} 4\nh_sum{m=\"b\"} 9\n\
            h_bucket{m=\"c\",le=\"1\"} NaN\nh_count{m=\"c\"} 1\n\
            h_bucket{m=\"d\",le=\"one\"} 1\n";
        let read = read(text);
        let family = read.family("h").unwrap();
        assert_eq!(family.points.len(), 2);
        let Value::Histogram(a) = &family.points[0].value else {
            panic!()
        };
        let shape: Vec<_> = a.buckets.iter().map(|b| (b.le.as_str(), b.count)).collect();
        assert_eq!(shape, [("0.1", 1.0), ("0.5", 3.0), ("+Inf", 5.0)]);
        assert_eq!((a.sum, a.count), (2.5, 5.0));
        let Value::Histogram(b) = &family.points[1].value else {
            panic!()
        };
        // No count of its own: that of the last bucket, whose bound was left out.
        assert_eq!(
            (b.count, b.sum, b.buckets[0].bound),
            (4.0, 9.0, f64::INFINITY)
        );
        assert_eq!(read.not_finite.to_string(), "h (2)");
    }

    #[test]
    fn what_is_left_out() {
        let text = "# TYPE s summary\ns{quantile=\"0.5\"} 1\ns_sum 2\ns_count 3\n\
            # TYPE c counter\nc_total 1\nc_created 1.7e9\nprocess_uptime 5\nan_uptime_seconds 5\n\
            g NaN\ng{a=\"1\"} Inf\nd 1\nd 2\n";
        let read = read(text);
        let names: Vec<_> = read.families.iter().map(|f| f.name.as_str()).collect();
        assert_eq!(names, ["c_total", "d"]);
        assert_eq!(read.summaries.to_string(), "s (3)");
        assert_eq!(read.not_finite.to_string(), "g (2)");
        // The last of two equal label sets wins.
        assert_eq!(read.families[1].points.len(), 1);
        assert_eq!(read.families[1].points[0].value, Value::Scalar(2.0));
    }

    #[test]
    fn bad_lines_cost_only_themselves() {
        let body = b"ok 1\n\xff\xfe\x00\nbad{a=1} 2\nbad{a=\"1} 2\nbad{a=\"1\" 2\n1bad 2\nbad x\nbad 1 x\nbad 1 2 3\nbad\n{} 1\nok2 2";
        let read = Exposition::read(body, Some("text/plain; version=0.0.4")).unwrap();
        assert_eq!((read.families.len(), read.bad_lines), (2, 10));
    }

    #[test]
    fn something_else_altogether_is_told_from_an_empty_body() {
        let json = br#"[{"cpuMemUsage": 0}]"#;
        let read = |body, kind| Exposition::read(body, kind);
        assert_eq!(read(json, Some("application/json")), Err(Unreadable::Json));
        assert_eq!(read(json, None), Err(Unreadable::NotText));
        assert_eq!(read(b"<html>\n<body>", None), Err(Unreadable::NotText));
        assert_eq!(read(b"", None), Ok(Exposition::default()));
        let declared = read(b"# TYPE a counter\n", None).unwrap();
        assert!(declared.families.is_empty() && declared.has("a_total") && !declared.has("b"));
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_panic(body: Vec<u8>) {
            let _ = Exposition::read(&body, None);
        }

        #[test]
        fn nor_do_mangled_expositions(
            cuts in proptest::collection::vec((0_usize..400, proptest::num::u8::ANY), 0..12)
        ) {
            let mut body = b"# HELP a b\n# TYPE h histogram\nh_bucket{le=\"0.1\",m=\"x\\\"y\"} 1 17\n\
                h_bucket{le=\"+Inf\"} 2\nh_sum 3\nh_count 2\n# TYPE c counter\nc_total{a=\"b\",} 1e400\n\
                g{x=\"\\\\\"} -Inf # {} 1\n# TYPE s summary\ns_sum 1\n".to_vec();
            for (at, byte) in cuts {
                let length = body.len();
                body[at % length] = byte;
            }
            if let Ok(read) = Exposition::read(&body, None) {
                for point in read.families.iter().flat_map(|family| &family.points) {
                    match &point.value {
                        Value::Scalar(value) => assert!(value.is_finite()),
                        Value::Histogram(h) => assert!(h.sum.is_finite() && h.count.is_finite()),
                    }
                }
            }
        }
    }
}
