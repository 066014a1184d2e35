//! Packets of the client on the loopback, by tcpdump: when a request's last byte left, and the end.

use std::{collections::HashMap, path::PathBuf, process::Command};

use anyhow::{Context, Result, bail};
use pinfire_base::clock::Span;
use rustix::process::Signal;

use crate::{child::Running, scene::Scene};

/// A capture that runs.
pub struct Capture {
    running: Running,
    file: PathBuf,
}

/// A connection's last request bytes and the disconnect, in Unix nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hangup {
    /// The packet with the last byte before the disconnect.
    pub last_byte: u64,
    /// FIN or RST.
    pub end: u64,
}

/// What a capture holds.
pub struct Packets {
    /// Disconnects by the client's port, in order.
    pub hangups: HashMap<u16, Vec<Hangup>>,
}

impl Capture {
    /// Starts tcpdump on the server's processor for packets to `port` that carry bytes or an end.
    pub fn start(scene: &Scene, port: u16) -> Result<Self> {
        let file = scene.scratch().join("lo.pcap");
        let filter = format!(
            "tcp dst port {port} and (tcp[tcpflags] & (tcp-fin|tcp-rst) != 0 or \
             ip[2:2] - ((ip[0] & 0xf) << 2) - ((tcp[12] & 0xf0) >> 2) > 0)"
        );
        let mut command = Command::new("taskset");
        command.args(["-c", &scene.server_cpu.to_string()]);
        command.args(["tcpdump", "-i", "lo", "-n", "-s", "96", "-B", "32768"]);
        command.args(["--time-stamp-precision=nano", "-Z", "root", "-w"]);
        command.arg(&file).arg(filter);
        let mut running = Running::start(&mut command, "tcpdump", scene.scratch())?;
        running.until(Span::from_millis(5_000), "start", |child| {
            child.complained().contains("listening on").then_some(())
        })?;
        Ok(Self { running, file })
    }

    /// Ends it and reads what it caught.
    pub fn finish(self) -> Result<Packets> {
        // It writes by blocks; the last one is handed over after at most a second.
        std::thread::sleep(std::time::Duration::from_millis(1_200));
        self.running.stop(Signal::INT)?;
        let bytes = std::fs::read(&self.file).context("the capture cannot be read")?;
        parse(&bytes)
    }
}

/// Reads a capture of Ethernet frames with nanosecond stamps in this machine's byte order.
fn parse(bytes: &[u8]) -> Result<Packets> {
    if word(bytes, 0) != Some(0xa1b2_3c4d) || word(bytes, 20) != Some(1) {
        bail!("the capture is not of Ethernet frames with nanosecond stamps");
    }
    let mut hangups: HashMap<u16, Vec<Hangup>> = HashMap::new();
    // Stamp and sequence number: where both copies of a packet are seen, the first counts.
    let mut last: HashMap<u16, (u64, u32)> = HashMap::new();
    let mut at = 24;
    while let (Some(seconds), Some(nanos), Some(kept)) =
        (word(bytes, at), word(bytes, at + 4), word(bytes, at + 8))
    {
        let from = at + 16;
        at = from + kept as usize;
        let Some(frame) = bytes.get(from..at) else {
            break;
        };
        let stamp = u64::from(seconds) * 1_000_000_000 + u64::from(nanos);
        let Some(packet) = packet(frame) else {
            continue;
        };
        let known = last.get(&packet.port);
        if packet.bytes > 0 && known.is_none_or(|&(_, sequence)| sequence != packet.sequence) {
            last.insert(packet.port, (stamp, packet.sequence));
        }
        // The second copy of an end, or an RST after a FIN, finds nothing.
        if packet.ends
            && let Some((last_byte, _)) = last.remove(&packet.port)
        {
            let end = stamp;
            let ends = hangups.entry(packet.port).or_default();
            ends.push(Hangup { last_byte, end });
        }
    }
    Ok(Packets { hangups })
}

struct Packet {
    port: u16,
    sequence: u32,
    bytes: usize,
    ends: bool,
}

fn packet(frame: &[u8]) -> Option<Packet> {
    let ip = frame.get(14..)?;
    let ip_head = usize::from(*ip.first()? & 15) * 4;
    let total = usize::from(half(ip, 2)?);
    let tcp = ip.get(ip_head..)?;
    let tcp_head = usize::from(*tcp.get(12)? >> 4) * 4;
    Some(Packet {
        port: half(tcp, 0)?,
        sequence: u32::from(half(tcp, 4)?) << 16 | u32::from(half(tcp, 6)?),
        bytes: total.saturating_sub(ip_head + tcp_head),
        ends: *tcp.get(13)? & 0b101 != 0,
    })
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    let pair = bytes.get(at..at + 2)?.try_into().ok()?;
    Some(u16::from_be_bytes(pair))
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let four = bytes.get(at..at + 4)?.try_into().ok()?;
    Some(u32::from_ne_bytes(four))
}

impl Packets {
    /// The disconnect of a client's port that is nearest to an instant.
    pub fn nearest(&self, port: u16, instant: u64) -> Option<Hangup> {
        let hangups = self.hangups.get(&port)?;
        let near = |hangup: &&Hangup| hangup.end.abs_diff(instant);
        hangups.iter().min_by_key(near).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(out: &mut Vec<u8>, nanos: u8, port: u16, bytes: u16, flags: u8) {
        let mut frame = vec![0; 14 + 20 + 32];
        frame[14] = 0x45;
        frame[16..18].copy_from_slice(&(52 + bytes).to_be_bytes());
        frame[34..36].copy_from_slice(&port.to_be_bytes());
        // Copies come two nanoseconds apart here.
        frame[41] = nanos / 4;
        frame[46] = 0x80;
        frame[47] = flags;
        for word in [
            1,
            u32::from(nanos),
            frame.len() as u32,
            66 + u32::from(bytes),
        ] {
            out.extend_from_slice(&word.to_ne_bytes());
        }
        out.extend_from_slice(&frame);
    }

    #[test]
    fn ends_meet_the_last_byte_before_them() {
        let mut pcap = Vec::new();
        for word in [0xa1b2_3c4d_u32, 0, 0, 0, 96, 1] {
            pcap.extend_from_slice(&word.to_ne_bytes());
        }
        frame(&mut pcap, 10, 7, 100, 0x18);
        frame(&mut pcap, 20, 7, 50, 0x18);
        frame(&mut pcap, 22, 7, 50, 0x18);
        frame(&mut pcap, 25, 8, 50, 0x18);
        frame(&mut pcap, 30, 7, 0, 0x11);
        frame(&mut pcap, 31, 7, 0, 0x04);
        frame(&mut pcap, 40, 9, 0, 0x11);
        let packets = parse(&pcap).unwrap();
        let (base, found) = (1_000_000_000, &packets.hangups);
        assert_eq!(found.len(), 1);
        let hangup = Hangup {
            last_byte: base + 20,
            end: base + 30,
        };
        assert_eq!(packets.nearest(7, 0), Some(hangup));
        assert_eq!(packets.nearest(8, 0), None);
    }
}
