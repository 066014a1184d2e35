//! The scraping of `/metrics` pages: in threads of its own, off the engine's CPUs, never in the way
//! of the load. What is read there is `pinfire_scrape`.

pub mod client;
mod names;
pub mod page;
pub mod plan;
mod recorder;
pub mod watch;
