//! An exporter of GPU metrics as NVIDIA's dcgm-exporter writes them, for a few GPUs with scripted
//! values.
//!
//! GPU i draws 100·(i + 1) W all the time, so that what energy a run took can be told beforehand:
//! that power times its duration.

use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use pinfire_base::{clock::Stamp, threads};

/// A client that says nothing for so long is left.
const PATIENCE: Duration = Duration::from_secs(2);

/// One field: name, type, help, and its value for GPU `i` after so many seconds.
type Field = (
    &'static str,
    &'static str,
    &'static str,
    fn(f64, f64) -> f64,
);

const FIELDS: [Field; 11] = [
    (
        "DCGM_FI_DEV_GPU_TEMP",
        "gauge",
        "GPU temperature (in C).",
        |i, _| 50.0 + i,
    ),
    (
        "DCGM_FI_DEV_POWER_USAGE",
        "gauge",
        "Power draw (in W).",
        |i, _| watts(i),
    ),
    (
        "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION",
        "counter",
        "Total energy consumption since boot (in mJ).",
        |i, seconds| 5e8 + watts(i) * seconds * 1e3,
    ),
    (
        "DCGM_FI_DEV_GPU_UTIL",
        "gauge",
        "GPU utilization (in %).",
        |_, _| 90.0,
    ),
    (
        "DCGM_FI_DEV_MEM_COPY_UTIL",
        "gauge",
        "Memory utilization (in %).",
        |_, _| 40.0,
    ),
    (
        "DCGM_FI_DEV_ENC_UTIL",
        "gauge",
        "Encoder utilization (in %).",
        |_, _| 0.0,
    ),
    (
        "DCGM_FI_DEV_DEC_UTIL",
        "gauge",
        "Decoder utilization (in %).",
        |_, _| 0.0,
    ),
    (
        "DCGM_FI_DEV_XID_ERRORS",
        "gauge",
        "Value of the last XID error encountered.",
        |_, _| 0.0,
    ),
    (
        "DCGM_FI_DEV_FB_USED",
        "gauge",
        "Framebuffer memory used (in MiB).",
        |i, _| 20_000.0 + 1_000.0 * i,
    ),
    (
        "DCGM_FI_PROF_SM_ACTIVE",
        "gauge",
        "Ratio of active cycles of the SMs.",
        |_, _| 0.75,
    ),
    (
        "DCGM_FI_DEV_POWER_VIOLATION",
        "counter",
        "Throttling duration due to power constraints (in ns).",
        |_, seconds| seconds * 1e6,
    ),
];

fn watts(gpu: f64) -> f64 {
    100.0 * (gpu + 1.0)
}

/// Begins to serve `gpus` GPUs, in a thread that lasts as long as the process; gives the address.
///
/// # Errors
/// The address is taken, or the system gives no thread.
pub fn serve(address: SocketAddr, gpus: u32) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind(address)?;
    let address = listener.local_addr()?;
    let began = Stamp::now();
    threads::start("mock-dcgm", move || {
        for stream in listener.incoming().flatten() {
            // A client that goes away is its own affair.
            let _ = answer(stream, gpus, began);
        }
    })?;
    Ok(address)
}

fn answer(mut stream: TcpStream, gpus: u32, began: Stamp) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut head = Vec::new();
    let mut bytes = [0; 1024];
    while !head.windows(4).any(|end| end == b"\r\n\r\n") && head.len() < 16_384 {
        match stream.read(&mut bytes)? {
            0 => return Ok(()),
            n => head.extend(bytes.iter().take(n)),
        }
    }
    let (status, body) = match head.starts_with(b"GET /metrics ") {
        true => (
            "200 OK",
            page(gpus, Stamp::now().since(began).as_secs_f64()),
        ),
        false => ("404 Not Found", String::new()),
    };
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{body}",
        body.len()
    )
}

/// The page after so many seconds.
fn page(gpus: u32, seconds: f64) -> String {
    let mut page = String::new();
    for (name, kind, help, value) in FIELDS {
        let _ = writeln!(page, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for gpu in 0..gpus {
            let _ = writeln!(
                page,
                "{name}{{gpu=\"{gpu}\",UUID=\"GPU-{gpu:08}-mock\",pci_bus_id=\"00000000:{gpu:02X}:00.0\",\
                 device=\"nvidia{gpu}\",modelName=\"NVIDIA Mock\",Hostname=\"mock\"}} {:?}",
                value(f64::from(gpu), seconds)
            );
        }
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_gpus_after_ten_seconds() {
        let page = page(2, 10.0);
        let find = |name: &str, gpu: u32| {
            let begin = format!("{name}{{gpu=\"{gpu}\"");
            let line = page.lines().find(|line| line.starts_with(&begin)).unwrap();
            line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()
        };
        assert_eq!(find("DCGM_FI_DEV_POWER_USAGE", 1), 200.0);
        // 200 W over 10 s are 2 kJ.
        assert_eq!(find("DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", 1), 5e8 + 2e6);
        assert_eq!(
            page.lines().filter(|line| !line.starts_with('#')).count(),
            22
        );
    }
}
