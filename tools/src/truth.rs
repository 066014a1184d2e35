//! The server's truth log and the client's lines, and what they say of each other.

use std::collections::HashMap;

use serde_json::Value;
use thiserror::Error;

/// A line cannot be read.
#[derive(Debug, Error)]
pub enum TruthError {
    /// One of the server's.
    #[error("the truth log is damaged: {0}")]
    Log(serde_json::Error),
    /// One of the client's.
    #[error("a client line is damaged: {0}")]
    Line(serde_json::Error),
}

type Result<T> = std::result::Result<T, TruthError>;

/// Nanoseconds from one Unix time to another.
pub fn between(from: u64, to: u64) -> f64 {
    to.wrapping_sub(from) as i64 as f64
}

/// What the server saw of one request; Unix nanoseconds, 0 for never.
pub struct Truth {
    /// The client's port.
    pub port: u16,
    /// The request's first byte was read.
    pub first: u64,
    /// Its last byte was read.
    pub full: u64,
    /// The first content event was about to be written.
    pub w_first: u64,
    /// The last one.
    pub w_last: u64,
    /// Content events written.
    pub sent: u64,
    /// The client's leaving was noticed.
    pub closed: u64,
}

/// The log by request id.
pub fn read(log: &str) -> Result<HashMap<String, Truth>> {
    log.lines().map(truth).collect()
}

fn truth(line: &str) -> Result<(String, Truth)> {
    let value: Value = serde_json::from_str(line).map_err(TruthError::Log)?;
    let number = |key: &str| value[key].as_u64().unwrap_or(0);
    let id = value["id"].as_str().unwrap_or_default().to_owned();
    let truth = Truth {
        port: u16::try_from(number("port")).unwrap_or(0),
        first: number("first"),
        full: number("full"),
        w_first: number("w_first"),
        w_last: number("w_last"),
        sent: number("sent"),
        closed: number("closed"),
    };
    Ok((id, truth))
}

/// What both sides say of the requests that they have in common, in µs.
#[derive(Default)]
pub struct Joined {
    /// Client's time of the first token minus the server's write of it.
    pub first: Vec<f64>,
    /// The same of the last token.
    pub last: Vec<f64>,
    /// Client's time to first token minus the server's own, from its read of the whole request.
    pub ttft: Vec<f64>,
    /// Client's mean gap between tokens minus the server's.
    pub itl: Vec<f64>,
    /// Server's read of the last request byte minus T2, where the line has T2.
    pub written: Vec<f64>,
    /// Number of each request, its start and the server's read of its first byte.
    pub starts: Vec<(u64, u64, u64)>,
}

/// Client lines joined to the log.
pub fn join(lines: &str, truths: &HashMap<String, Truth>) -> Result<Joined> {
    let mut joined = Joined::default();
    for line in lines.lines() {
        let value: Value = serde_json::from_str(line).map_err(TruthError::Line)?;
        let metadata = &value["metadata"];
        let id = metadata["x_request_id"].as_str();
        let Some(truth) = id.and_then(|id| truths.get(id)) else {
            continue;
        };
        if let Some(written) = metadata["cancellation"]["written_ns"].as_u64() {
            joined.written.push(between(written, truth.full) / 1e3);
        }
        let metric = |name: &str| value["metrics"][name]["value"].as_f64();
        let Some(start) = metadata["request_start_ns"].as_u64() else {
            continue;
        };
        if truth.w_first > 0
            && let Some(ttft) = metric("time_to_first_token")
        {
            let error = between(truth.w_first, start) + ttft * 1e6;
            joined.first.push(error / 1e3);
            let own = between(truth.full, truth.w_first);
            joined.ttft.push((ttft * 1e6 - own) / 1e3);
            if let (Some(itl), Some(gaps @ 1..)) =
                (metric("inter_token_latency"), truth.sent.checked_sub(1))
            {
                let own = between(truth.w_first, truth.w_last) / gaps as f64;
                joined.itl.push((itl * 1e6 - own) / 1e3);
            }
        }
        if let Some(latency) = metric("request_latency") {
            let error = between(truth.w_last, start) + latency * 1e6;
            joined.last.push(error / 1e3);
        }
        if let Some(number) = metadata["session_num"].as_u64() {
            joined.starts.push((number, start, truth.first));
        }
    }
    Ok(joined)
}

/// A request that the client left, by its own account; Unix nanoseconds.
pub struct Leaving {
    /// Its id.
    pub id: String,
    /// When it was to be left.
    pub due: u64,
    /// Just before it was.
    pub asked: u64,
    /// Just after it was.
    pub closed: u64,
}

/// Reads them from the client's lines.
pub fn leavings(lines: &str) -> Result<Vec<Leaving>> {
    let mut leavings = Vec::new();
    for line in lines.lines() {
        let value: Value = serde_json::from_str(line).map_err(TruthError::Line)?;
        let metadata = &value["metadata"];
        let number = |key: &str| metadata["cancellation"][key].as_u64();
        if let (Some(id), Some(due), Some(asked), Some(closed)) = (
            metadata["x_request_id"].as_str(),
            number("due_ns"),
            number("asked_ns"),
            number("closed_ns"),
        ) {
            leavings.push(Leaving {
                id: id.to_owned(),
                due,
                asked,
                closed,
            });
        }
    }
    Ok(leavings)
}

/// The client's account of its cancels, in µs past the due instant.
#[derive(Default)]
pub struct Cancels {
    /// When the disconnect was asked for.
    pub asked: Vec<f64>,
    /// When the call that did it had returned.
    pub closed: Vec<f64>,
}

/// Reads it from the client's lines.
pub fn cancels(lines: &str) -> Result<Cancels> {
    let mut cancels = Cancels::default();
    for Leaving {
        due, asked, closed, ..
    } in leavings(lines)?
    {
        cancels.asked.push(between(due, asked) / 1e3);
        cancels.closed.push(between(due, closed) / 1e3);
    }
    Ok(cancels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_meet_by_id() {
        let log = r#"{"id":"a","port":7,"first":5,"full":6000,"w_first":1000000,"closed":0}"#;
        let lines = concat!(
            r#"{"metadata":{"x_request_id":"a","request_start_ns":900000},"metrics":{"time_to_first_token":{"value":0.15,"unit":"ms"}}}"#,
            "\n",
            r#"{"metadata":{"x_request_id":"b","request_start_ns":1,"cancellation":{"due_ns":2000,"asked_ns":1500,"closed_ns":4000}},"metrics":{}}"#,
        );
        let truths = read(log).unwrap();
        let joined = join(lines, &truths).unwrap();
        assert_eq!(
            (&joined.first[..], &joined.ttft[..]),
            (&[50.0][..], &[-844.0][..])
        );
        let cancels = cancels(lines).unwrap();
        assert_eq!((cancels.asked, cancels.closed), (vec![-0.5], vec![2.0]));
    }
}
