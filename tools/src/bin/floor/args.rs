//! Flags of pinfire-floor, and the request that they describe.

use std::error::Error;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Parser;
use pinfire_tools::floor::Request;

/// The least a client can do: a bare single-thread epoll loop that sends, reads, stamps each read
/// and counts events. What it costs and reaches is what other clients are compared with.
///
/// Keeps --concurrency requests under way until --requests have been sent, then prints one line of
/// JSON.
#[derive(Parser, Debug)]
#[command(name = "pinfire-floor", version)]
pub struct Args {
    /// The server.
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:8000")]
    pub server: SocketAddr,
    /// Path of the endpoint.
    #[arg(long, value_name = "PATH", default_value = "/v1/chat/completions")]
    pub path: String,
    /// Requests to send in all.
    #[arg(long, value_name = "N", default_value = "1000", value_parser = clap::value_parser!(u64).range(1..))]
    pub requests: u64,
    /// Connections, each with one request at a time.
    #[arg(long, value_name = "N", default_value = "64", value_parser = clap::value_parser!(u32).range(1..))]
    pub concurrency: u32,
    /// Send this file as the body of every request.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["isl_bytes", "stream", "osl", "model"])]
    pub body: Option<PathBuf>,
    /// Make a chat body with a prompt of this many bytes.
    #[arg(long, value_name = "BYTES", default_value = "500")]
    pub isl_bytes: usize,
    /// Ask for a stream in the body that is made.
    #[arg(long)]
    pub stream: bool,
    /// max_completion_tokens in the body that is made [default: none].
    #[arg(long, value_name = "TOKENS")]
    pub osl: Option<u32>,
    /// The model in the body that is made.
    #[arg(long, value_name = "NAME", default_value = "mock")]
    pub model: String,
    /// Hang up on this share of the requests, chosen by --seed and request number.
    #[arg(long, value_name = "SHARE", default_value = "0")]
    pub cancel: f64,
    /// Hang up this long after the request was written.
    #[arg(long, value_name = "MS", default_value = "100")]
    pub cancel_after: f64,
    /// Seed of the choice of cancelled requests.
    #[arg(long, value_name = "N", default_value = "0")]
    pub seed: u64,
    /// Run on this processor only.
    #[arg(long, value_name = "N")]
    pub cpu: Option<usize>,
}

impl Args {
    /// The request that is sent again and again.
    pub fn request(&self) -> Result<Request, Box<dyn Error>> {
        if !(0.0..=1.0).contains(&self.cancel) {
            return Err("--cancel is a share between 0 and 1".into());
        }
        let body = match &self.body {
            Some(path) => {
                std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?
            }
            None => Request::chat(&self.model, self.isl_bytes, self.stream, self.osl),
        };
        Ok(Request::new(self.server, &self.path, &body))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn flags_hold_together_and_have_help() {
        let command = Args::command();
        command.clone().debug_assert();
        for arg in command.get_arguments() {
            assert!(arg.get_help().is_some(), "{}", arg.get_id());
        }
    }
}
