//! TLS 1.3 beside clear text: the same load, one run after the other.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use crate::{
    board::{Bar, Board, Column},
    programs::{Mock, Profile},
    scene::Scene,
    stats,
    truth::{self, Cancels, Joined},
};

pub const TITLE: &str = "TLS 1.3 beside clear text, 200 streams";
/// What TLS may add to a median, in µs.
const MORE: f64 = 100.0;

pub fn measure(scene: &Scene, board: &mut Board) -> Result<()> {
    let identity = Identity::write(scene)?;
    for _ in 0..scene.rounds {
        for (index, driver) in scene.columns() {
            let clear = medians(run(scene, driver, None)?);
            let sealed = medians(run(scene, driver, Some(&identity))?);
            for ((what, clear), (_, sealed)) in clear.into_iter().zip(sealed) {
                let column = Column::Driver(index);
                for (how, figure) in [("clear", clear), ("TLS", sealed)] {
                    let row = board.row(TITLE, &format!("{what}: {how}, p50"), "µs");
                    row.put(column, figure);
                }
                let row = board.row(TITLE, &format!("{what}: what TLS adds"), "µs");
                row.bar(Bar::AtMost(MORE)).put(column, sealed - clear);
            }
        }
    }
    Ok(())
}

fn medians((mut joined, mut cancels): (Joined, Cancels)) -> Vec<(&'static str, f64)> {
    [
        ("first token", &mut joined.first),
        ("last token", &mut joined.last),
        ("T2 to the server's read", &mut joined.written),
        ("disconnect", &mut cancels.closed),
    ]
    .into_iter()
    .map(|(what, values)| (what, stats::at(values, 0.5).unwrap_or(f64::NAN)))
    .collect()
}

fn run(scene: &Scene, driver: &str, identity: Option<&Identity>) -> Result<(Joined, Cancels)> {
    let requests = scene.size(2_000, 10_000);
    let text = |path: &PathBuf| path.display().to_string();
    let files = identity.map(|one| [text(&one.certificate), text(&one.key)]);
    let server: Vec<&str> = match &files {
        Some([certificate, key]) => vec!["--tls-cert", certificate, "--tls-key", key],
        None => Vec::new(),
    };
    scene.steady(|| {
        let mock = Mock::start(scene, &server, true)?;
        let profile = Profile {
            server: mock.address,
            driver,
            streams: 200,
            requests,
            flags: &[
                "--streaming",
                "--request-cancellation-rate",
                "20",
                "--request-cancellation-delay",
                "0.1",
            ],
            lines: true,
            trusted: identity.map(|one| one.certificate.as_path()),
        };
        let (_, lines) = profile.run(scene)?;
        let joined = truth::join(&lines, &truth::read(&mock.stop()?)?)?;
        let cancels = truth::cancels(&lines)?;
        let seen = (joined.first.len() + cancels.closed.len()) as u64;
        ensure!(seen >= requests, "{seen} of {requests} requests are known");
        Ok((joined, cancels))
    })
}

/// A certificate that signs itself, and its key, as files.
struct Identity {
    certificate: PathBuf,
    key: PathBuf,
}

impl Identity {
    fn write(scene: &Scene) -> Result<Self> {
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()])
            .context("no certificate can be made")?;
        let identity = Self {
            certificate: scene.scratch().join("certificate.pem"),
            key: scene.scratch().join("key.pem"),
        };
        std::fs::write(&identity.certificate, made.cert.pem())?;
        std::fs::write(&identity.key, made.signing_key.serialize_pem())?;
        Ok(identity)
    }
}
