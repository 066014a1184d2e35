//! pinfire-mock: the scripted server as a process.

mod args;

use std::error::Error;
use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use pinfire_tools::{gateway::Gateway, mock::Server, proxy};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use args::Args;

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pinfire-mock: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<(), Box<dyn Error>> {
    // Before the port is open: a signal must never meet the default action once clients may come.
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let mut script = args.script();
    if let (Some(certificates), Some(key)) = (&args.tls_cert, &args.tls_key) {
        script.tls = Some(Arc::new(proxy::server_config(certificates, key)?));
    }
    let server = Server::bind(script, args.listen, args.truth.clone())?;
    let handle = server.spawn(args.cpu)?;
    let mut out = std::io::stdout();
    // A reader that has gone is no reason not to serve.
    let _ = writeln!(out, "listening on http://{}", handle.local_addr());
    if args.tls_cert.is_some() {
        let _ = writeln!(out, "listening on https://{}", handle.local_addr());
    }
    if let Some(path) = &args.unix {
        proxy::unix(path, handle.local_addr())?;
        let _ = writeln!(out, "listening on unix:{}", path.display());
    }
    if let Some(address) = args.dcgm {
        let address = pinfire_tools::dcgm::serve(address, args.dcgm_gpus)?;
        let _ = writeln!(out, "listening for DCGM on http://{address}/metrics");
    }
    let gateway = args.gateway.map(|mode| {
        let truth = args.gateway_truth.as_deref();
        Gateway::start(mode, args.gateway_listen, handle.local_addr(), truth)
    });
    let gateway = gateway.transpose()?;
    if let Some(gateway) = &gateway {
        let _ = writeln!(out, "gateway on http://{}", gateway.local_addr());
    }
    let _ = out.flush();
    signals.forever().next();
    drop(gateway);
    let summary = handle.stop();
    let _ = writeln!(
        out,
        "served {} requests ({} failed by script), {} aborted by clients, {} connections",
        summary.served, summary.failed, summary.aborted, summary.connections
    );
    if let Some(path) = &args.unix {
        let _ = std::fs::remove_file(path);
    }
    match summary.truth_error {
        Some(error) => Err(format!("the truth log is incomplete: {error}").into()),
        None => Ok(()),
    }
}
