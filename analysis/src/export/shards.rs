//! The shards of a run on the console: what each has sent, how far it can be trusted, what is lost.

use pinfire_artifacts::sharded::{MissingShard, ShardAccount, ShardedRun};
use pinfire_artifacts::summary::Lateness;

use super::table::{Align, Table, style, wrap};
use super::words::{PRODUCT, number, plural, thousands};
use crate::report::Report;

/// Rows of the table: beyond, only those that stand out.
const ROWS: usize = 32;
/// Notes where there is one screen alone.
const NOTES: usize = 3;

impl Report {
    fn told_shards(&self) -> Option<&ShardedRun> {
        let told = self.facts.recorded.as_ref();
        let told = told.and_then(|recorded| recorded.summary.shards.as_ref());
        self.shards.as_ref().or(told)
    }

    /// The shards in a few lines: how many, on which clock, and the first notes on them; none of a
    /// run of one process.
    pub(super) fn shards_in_words(&self) -> Vec<String> {
        let Some(shards) = self.told_shards() else {
            return Vec::new();
        };
        let whole = shards.table.iter().filter(|shard| shard.complete).count();
        let all = format!("{whole} of {} are whole. {}", shards.shards, times(shards));
        let notes = shards.notes.iter().take(NOTES);
        let notes = notes.map(|note| format!("{note}."));
        [all].into_iter().chain(notes).collect()
    }

    /// The table of the shards with what there is to say beside it; nothing where one process sent
    /// it all.
    pub(super) fn shard_tables(&self, width: usize, colour: bool) -> String {
        let Some(shards) = self.told_shards() else {
            return String::new();
        };
        let mut text = format!("\n\n{}", table(shards).render(width, colour));
        let mut say = |words: &str, warns: bool| {
            for line in wrap(words, width) {
                text += &(style(&line, "33", colour && warns) + "\n");
            }
        };
        say(&times(shards), false);
        for missing in &shards.missing {
            say(&lost(missing, shards.shards), true);
        }
        if let Some(loss) = &shards.loss {
            let words = format!(
                "Load: {:.1} requests a second up to {:.1} s, when the first shard was lost, {:.1} after; \
                 nothing is scaled up.",
                loss.rate_before, loss.at_sec, loss.rate_after
            );
            say(&words, true);
        }
        for note in &shards.notes {
            say(&format!("{note}."), false);
        }
        text
    }
}

fn table(shards: &ShardedRun) -> Table {
    let head = [
        ("Shard", Align::Right),
        ("Machine", Align::Left),
        ("Requests", Align::Right),
        ("Share (%)", Align::Right),
        ("Held", Align::Right),
        ("Sends late p99 (ms)", Align::Right),
        ("Clock ± (us)", Align::Right),
        ("Throttled (ms)", Align::Right),
        ("Driver", Align::Left),
        ("State", Align::Left),
    ];
    let title = format!(
        "{PRODUCT} | Shards ({} of {})",
        shards.table.len(),
        shards.shards
    );
    let mut table = Table::new(title, &head, 1)
        .then_flexible(9)
        .without_if_narrow(&[7, 6, 8, 3]);
    let all = shards.table.len();
    let stands_out =
        |shard: &&ShardAccount| all <= ROWS || !shard.complete || shard.client_was_bottleneck;
    for shard in shards.table.iter().filter(stands_out).take(ROWS) {
        table.row(row(shard));
    }
    if all > ROWS {
        let mut rest = vec!["…".to_owned(), format!("all {all} are in the summary")];
        rest.resize(head.len(), String::new());
        table.row(rest);
    }
    table
}

fn row(shard: &ShardAccount) -> Vec<String> {
    let late = |late: &Option<Lateness>| Some(late.as_ref()?.p99? / 1e3);
    let held = match (shard.held_avg, shard.held_asked) {
        (Some(held), Some(asked)) => format!("{held:.1} of {asked}"),
        (None, Some(asked)) => format!("? of {asked}"),
        _ => number(None),
    };
    let machine = match &shard.node {
        Some(node) if *node != shard.host => format!("{node} ({})", shard.host),
        _ => shard.host.clone(),
    };
    let state = match (shard.complete, shard.client_was_bottleneck) {
        (false, _) => "incomplete",
        (true, true) => "its client was the bottleneck",
        (true, false) => "complete",
    };
    vec![
        shard.index.to_string(),
        machine,
        thousands(&shard.requests.to_string()),
        format!("{:.1}", shard.share_pct),
        held,
        number(late(&shard.send_lateness)),
        number(shard.clock_bound_us),
        number(shard.throttled_us.map(|throttled| throttled as f64 / 1e3)),
        shard.io_driver.clone(),
        state.to_owned(),
    ]
}

/// Which clock the times are on, and how far apart the shards began and ended.
fn times(shards: &ShardedRun) -> String {
    let clock = match (shards.clock.as_str(), shards.clock_bound_us) {
        ("rendezvous", Some(bound)) => format!("Times are the leader's, to {bound:.0} us"),
        ("mixed", Some(bound)) => {
            format!("Times of some shards are the leader's, to {bound:.0} us")
        }
        _ => "Times are those of each shard's wall clock".to_owned(),
    };
    let skew = shards.start_skew_ms.map_or_else(String::new, |skew| {
        format!("; first requests within {skew:.3} ms")
    });
    let tail = shards.tail_s.map_or_else(String::new, |tail| {
        format!("; {tail:.3} s from the first shard's last answer to the last's (tail)")
    });
    format!("{clock}{skew}{tail}.")
}

fn lost(missing: &MissingShard, shards: u32) -> String {
    let index = missing.index;
    let host = missing.host.as_ref();
    let host = host.map_or_else(String::new, |host| format!(" ({host})"));
    let segment = missing.segment;
    let numbers = match segment.block {
        1 => format!("{}, {}, …", segment.first, segment.first + segment.step),
        block => format!(
            "{}–{}, {}–{}, …",
            segment.first,
            segment.first + block.saturating_sub(1),
            segment.first + segment.step,
            segment.first + segment.step + block.saturating_sub(1)
        ),
    };
    let own = match segment.count() {
        Some(count) => format!("{} ({numbers})", plural(count, "request")),
        None => format!("the requests {numbers}"),
    };
    let there = match missing.requests {
        0 => "none of them is here".to_owned(),
        all => format!("{} of them are here", thousands(&all.to_string())),
    };
    let sent = missing.sent.map_or_else(String::new, |sent| {
        format!(
            ", {} were sent by its last account",
            thousands(&sent.to_string())
        )
    });
    let last = missing.last_number.map_or_else(String::new, |last| {
        format!(", the last known is number {last}")
    });
    let reason = &missing.reason;
    let by_leader = by_leader(missing);
    format!(
        "Shard {index} of {shards}{host} is not whole: {reason}. Its share was {own}; \
         {there}{sent}{last}.{by_leader}"
    )
}

/// What the leader knew of a shard that it has lost, as sentences behind others.
fn by_leader(missing: &MissingShard) -> String {
    let Some(how) = &missing.lost_how else {
        return String::new();
    };
    let at = missing
        .lost_sec
        .map_or_else(String::new, |at| format!(" at {at:.1} s"));
    let counted = missing.last_beat.map_or_else(String::new, |beat| {
        let count = |count: u64| thousands(&count.to_string());
        format!(
            "; its last sign of life counted {} begun, {} answered, {} failed and {} cancelled",
            plural(beat.due, "request"),
            count(beat.finished),
            count(beat.failed),
            count(beat.cancelled)
        )
    });
    format!(" The leader lost it{at}: {how}{counted}.")
}
