//! What one page says over time: which kind of server is behind it, what that holds, and how far
//! its counters have moved since the first scrape.
//!
//! Counters are followed series by series. One that falls has been restarted: what it shows from
//! then on is new, and what it had counted stays. One that first shows in the middle counts from 0,
//! since nobody had counted anything there before.

use std::collections::HashMap;

use super::Scrape;
use super::server_kinds::{Growth, Levels, Selector, ServerKind, ServerKinds};
use super::text::{Exposition, Labels};

/// When the process behind a page began, where its page says it.
const STARTED: &str = "process_start_time_seconds";
/// Series that are followed for one metric of a formula.
const MAX_SERIES: usize = 10_000;

/// Follows a page.
pub struct Meter {
    kinds: ServerKinds,
    /// The place of the kind that was detected last.
    kind: Option<usize>,
    counters: HashMap<Selector, Counter>,
    started: Option<f64>,
    scraped: bool,
    restarts: u32,
}

/// The series that a part of a formula takes together.
#[derive(Default)]
struct Counter {
    /// The last value of each.
    series: HashMap<Labels, f64>,
    /// What they have grown by, together.
    grown: f64,
    /// The metric has been on the page.
    there: bool,
}

impl Meter {
    /// Of a page that was not scraped yet.
    pub fn new(kinds: &ServerKinds) -> Self {
        let counters = kinds.counters();
        Self {
            kinds: kinds.clone(),
            kind: None,
            counters: counters
                .map(|of| (of.clone(), Counter::default()))
                .collect(),
            started: None,
            scraped: false,
            restarts: 0,
        }
    }

    /// Takes in a scrape. Of a page whose metrics are not known nothing is told.
    pub fn read(&mut self, scrape: &Scrape) -> Levels {
        let page = &scrape.exposition;
        self.follow(page);
        if let Some(kind) = self.kinds.place(scrape) {
            self.kind = Some(kind);
        }
        let Some(kind) = self.kind() else {
            return Levels::default();
        };
        let levels = kind.levels(scrape, self);
        Levels {
            restarts: self.restarts,
            ..levels
        }
    }

    /// The kind of server, once the page has told.
    pub fn kind(&self) -> Option<&ServerKind> {
        self.kinds.at(self.kind?)
    }

    /// The formula behind the number of aborted requests.
    pub fn aborted_formula(&self) -> Option<&str> {
        self.kind()?.aborted_formula(self)
    }

    fn follow(&mut self, page: &Exposition) {
        let started = Selector::named(STARTED).sum(page);
        let again = started.is_some() && self.started.is_some() && started != self.started;
        self.started = started.or(self.started);
        let mut restarted = again;
        for (selector, counter) in &mut self.counters {
            restarted |= counter.follow(selector, page, self.scraped, again);
        }
        self.restarts += u32::from(restarted);
        self.scraped = true;
    }
}

impl Counter {
    /// Takes in what its series show; whether one of them has been restarted. `late`: the page was
    /// scraped before. `again`: its process is another one than then.
    fn follow(&mut self, selector: &Selector, page: &Exposition, late: bool, again: bool) -> bool {
        let Some(family) = selector.family(page) else {
            self.there |= selector.is_declared(page);
            return false;
        };
        self.there |= selector.is_there(page);
        let falls = family.is_gauge();
        let mut restarted = false;
        for (labels, value) in family.fitting(selector) {
            let known = self.series.len();
            match self.series.get_mut(labels) {
                Some(last) => {
                    let fell = value < *last && !falls;
                    restarted |= fell;
                    self.grown += value - if fell || again { 0.0 } else { *last };
                    *last = value;
                }
                None if known >= MAX_SERIES => {}
                None => {
                    self.series.insert(labels.clone(), value);
                    self.grown += if late { value } else { 0.0 };
                }
            }
        }
        restarted
    }
}

impl Growth for Meter {
    fn growth(&self, selector: &Selector) -> Option<f64> {
        let counter = self.counters.get(selector)?;
        counter.there.then_some(counter.grown)
    }
}

#[cfg(test)]
mod tests {
    use pinfire_base::clock::Stamp;

    use super::*;

    /// What a page tells after these bodies, one after the other.
    fn after(bodies: &[&str]) -> (Levels, Meter) {
        let mut meter = Meter::new(&ServerKinds::default());
        let mut levels = Levels::default();
        for (nth, body) in bodies.iter().enumerate() {
            let at = Stamp::from_nanos(1 + nth as u64);
            levels = meter.read(&Scrape::read([at; 3], body.as_bytes(), None).unwrap());
        }
        (levels, meter)
    }

    fn vllm(stop: u32) -> String {
        format!(
            "# TYPE vllm:num_requests_running gauge\nvllm:num_requests_running 0\n\
             # TYPE vllm:request_success_total counter\n\
             vllm:request_success_total{{finished_reason=\"stop\"}} {stop}\n"
        )
    }

    #[test]
    fn a_counter_that_restarts_goes_on() {
        let bodies = [100, 101, 102, 0, 1, 2].map(vllm);
        let (levels, _) = after(&bodies.each_ref().map(String::as_str));
        assert_eq!((levels.completed, levels.restarts), (Some(4.0), 1));
        // Only some of the scrapes saw it.
        let bodies = [100, 102, 2].map(vllm);
        let (levels, _) = after(&bodies.each_ref().map(String::as_str));
        assert_eq!((levels.completed, levels.restarts), (Some(4.0), 1));
        // It has overtaken what it was: only the process itself tells.
        let started = |at: u32, stop| format!("process_start_time_seconds {at}\n{}", vllm(stop));
        let bodies = [
            started(1_000, 100),
            started(1_000, 102),
            started(2_000, 110),
        ];
        let (levels, _) = after(&bodies.each_ref().map(String::as_str));
        assert_eq!((levels.completed, levels.restarts), (Some(112.0), 1));
        // A series that is gone keeps what it has counted.
        let (levels, _) = after(&[
            &vllm(3),
            &vllm(9),
            "# TYPE vllm:num_requests_running gauge\n",
        ]);
        assert_eq!((levels.completed, levels.restarts), (Some(6.0), 0));
    }

    #[test]
    fn what_first_shows_in_the_middle_counts_from_nothing() {
        let fresh = "dynamo_frontend_model_context_length{model=\"m\"} 4096\n";
        let active = "# TYPE dynamo_frontend_active_requests gauge\ndynamo_frontend_active_requests 0\n\
            # TYPE dynamo_frontend_requests_total counter\n\
            dynamo_frontend_requests_total{status=\"success\"} 3\n";
        let cancelled = format!(
            "{active}# TYPE dynamo_frontend_model_cancellation_total counter\n\
             dynamo_frontend_model_cancellation_total{{request_type=\"stream\"}} 5\n\
             dynamo_frontend_model_cancellation_total{{request_type=\"unary\"}} 2\n"
        );
        let (levels, meter) = after(&[fresh]);
        assert_eq!((levels.completed, levels.held()), (None, Some(0.0)));
        assert_eq!(&*meter.kind().unwrap().name, "dynamo");
        let (levels, meter) = after(&[fresh, active]);
        assert_eq!((levels.completed, levels.abort_counter), (Some(3.0), None));
        assert_eq!(
            (levels.held(), &*meter.kind().unwrap().name),
            (Some(0.0), "dynamo")
        );
        let (levels, meter) = after(&[fresh, active, &cancelled]);
        assert_eq!(
            (levels.completed, levels.abort_counter),
            (Some(3.0), Some(7.0))
        );
        assert_eq!(
            meter.aborted_formula(),
            Some("dynamo_frontend_model_cancellation_total")
        );
        // There from the beginning, it is what it has moved by.
        let (levels, _) = after(&[&cancelled, &cancelled]);
        assert_eq!(
            (levels.completed, levels.abort_counter),
            (Some(0.0), Some(0.0))
        );
    }
}
