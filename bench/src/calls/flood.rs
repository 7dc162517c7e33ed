//! Calls beside a flood of SCCRQs from forged addresses: what is up stays up, and LACs that are
//! known still open tunnels and place calls.
//!
//! The kernel sends the forged datagrams as live frames on the LACs' core. One emulated LAC holds
//! its calls all along, and answers echo and HELLO; a second one opens a tunnel and places calls
//! while the flood runs, from an address that is known; a third one from an address that is not.

use std::collections::BTreeMap;
use std::error::Error;
use std::net::Ipv4Addr;
use std::time::Duration;

use serde::Serialize;
use xlns_dataplane::port::interface::Interface;
use xlns_dataplane::wire::{ethernet, ipv4, udp};
use xlns_tests::topology::{ACCESS_PORT, LAC_ADDRESS, LAC_END, LNS_ADDRESS};
use xlns_tests::xlns::Xlns;
use xlns_tests::{LabError, Result, deadline};

use super::emulator::wire::{ControlMessage, attribute, message};
use super::emulator::{KeepAlive, Outcome, Plan, run};
use super::lab::{self, Stand};
use super::{Arguments, Forged, PORT};
use crate::record::Recorder;
use crate::wire::kernel::frames::{self, Link};
use crate::wire::kernel::traffic::Traffic;

/// Forged datagrams that are sent in turn.
const FRAMES: u32 = 131_072;

/// LACs of the three kinds: sources by number.
const HOLDERS: std::ops::Range<u16> = 0..8;
const KNOWN: std::ops::Range<u16> = 8..16;
const STRANGERS: std::ops::Range<u16> = 16..24;

/// Tunnels and calls that are opened while the flood runs, by each kind.
const NEW_TUNNELS: u16 = 8;
const NEW_CALLS: u64 = 200;

/// How long the flood runs before they are.
const LEAD: Duration = Duration::from_secs(2);

/// Signs of life of what is held.
const KEEP_ALIVE: KeepAlive = KeepAlive { interval: Duration::from_millis(100), echoes: 100 };

/// Sessions held all along.
const HELD_MAX: u32 = 10_000;

#[derive(Debug, Serialize)]
struct Report {
    flood_per_second: f64,
    forged: String,
    held: u32,
    /// Sessions held that were lost.
    lost: u64,
    /// Messages of the tunnels held that had to be sent again.
    retransmissions_held: u64,
    /// Echo-Requests of the sessions held, and their answers.
    echoes_sent: u64,
    echoes_answered: u64,
    known: Newcomers,
    strangers: Newcomers,
    control_resident_kib: [u64; 2],
    lns_drops: BTreeMap<String, u64>,
}

/// Who came while the flood ran.
#[derive(Debug, Serialize)]
struct Newcomers {
    offered: u64,
    up: u64,
    tunnels_failed: u32,
    setup_ms_p50: f64,
    setup_ms_p99: f64,
    setup_ms_max: f64,
    retransmissions: u64,
}

impl Newcomers {
    fn new(outcome: &Outcome) -> Self {
        Self {
            offered: outcome.offered,
            up: outcome.opened,
            tunnels_failed: outcome.tunnels_failed,
            setup_ms_p50: outcome.setup_ms(0.5),
            setup_ms_p99: outcome.setup_ms(0.99),
            setup_ms_max: outcome.setup_ms(1.0),
            retransmissions: outcome.retransmissions_control + outcome.retransmissions_ppp,
        }
    }
}

/// Floods, and prints what came of it.
pub fn run(arguments: &Arguments, recorder: &Recorder) -> std::result::Result<(), Box<dyn Error>> {
    let stand = Stand::build("flood", STRANGERS.end)?;
    let mut xlns = stand.start(arguments)?;
    // The addresses of the known become known.
    let acquainted = plan(arguments, KNOWN, NEW_TUNNELS, 8);
    lab::all_up(&stand.run(arguments.lac_core, acquainted, |_| {})?)?;
    let before = xlns.resident_kib()?;
    let report = measure(arguments, &stand, &xlns, before)?;
    if let Some(error) = xlns.ended() {
        return Err(error.into());
    }
    recorder.finish("calls", &report, || println!("{report:#?}"))
}

fn measure(
    arguments: &Arguments,
    stand: &Stand,
    xlns: &Xlns<'_>,
    before: [u64; 2],
) -> Result<Report> {
    let span = Duration::from_secs(arguments.seconds);
    let held = arguments.sessions().min(HELD_MAX);
    let holders = Plan {
        sessions: held,
        linger: span + Duration::from_secs(2),
        keep_alive: Some(KEEP_ALIVE),
        ..plan(arguments, HOLDERS, HOLDERS.end, held.into())
    };
    let core = arguments.lac_core;
    std::thread::scope(|scope| {
        let holder = scope.spawn(|| stand.run(core, holders, lab::tell));
        wait_until_held(xlns, held)?;
        let flood = scope.spawn(|| flood(arguments, stand, span));
        deadline::watch(LEAD);
        let known = stand.run(core, plan(arguments, KNOWN, NEW_TUNNELS, NEW_CALLS), |_| {})?;
        let strangers =
            stand.run(core, plan(arguments, STRANGERS, NEW_TUNNELS, NEW_CALLS), |_| {})?;
        let flood_per_second = joined(flood.join())?;
        let after = xlns.resident_kib()?;
        let holder = joined(holder.join())?;
        Ok(Report {
            flood_per_second,
            forged: format!("{:?}", arguments.forged).to_lowercase(),
            held: holder.held,
            lost: holder.lost + u64::from(held - holder.held.min(held)),
            retransmissions_held: holder.retransmissions_control,
            echoes_sent: holder.echoes_sent,
            echoes_answered: holder.echoes_answered,
            known: Newcomers::new(&known),
            strangers: Newcomers::new(&strangers),
            control_resident_kib: [before[0], after[0]],
            lns_drops: lab::drops(xlns)?,
        })
    })
}

fn joined<T>(thread: std::thread::Result<Result<T>>) -> Result<T> {
    thread.unwrap_or_else(|_| Err(LabError::new("a thread of the flood panicked")))
}

fn wait_until_held(xlns: &Xlns<'_>, held: u32) -> Result<()> {
    let all = || (xlns.dataplane_sessions()? >= u64::from(held)).then_some(());
    deadline::poll(Duration::from_secs(60), all)
        .ok_or_else(|| LabError::new(format!("{held} sessions did not come up before the flood")))
}

fn plan(arguments: &Arguments, sources: std::ops::Range<u16>, tunnels: u16, calls: u64) -> Plan {
    Plan {
        sources: sources.map(lab::source).collect(),
        tunnels,
        calls,
        rate: Some(1000.0),
        hold: None,
        ..lab::plan(arguments)
    }
}

/// Sends forged SCCRQs for `span`; how many a second.
fn flood(arguments: &Arguments, stand: &Stand, span: Duration) -> Result<f64> {
    let topology = &stand.topology;
    let interface =
        |name: &str| Interface::read(name).map_err(|error| LabError::new(error.to_string()));
    let near = topology.lns.inside(|| interface(ACCESS_PORT))?;
    topology.lac.inside(|| {
        run::pin(arguments.lac_core)?;
        let far = interface(LAC_END)?;
        let link = Link { source: far.mac, destination: near.mac };
        let forged = arguments.forged;
        let frames = (0..FRAMES).map(move |number| forged_frame(forged, number, link));
        let mut traffic = Traffic::load(frames, far.index)?;
        traffic.attach_generator()?;
        let sent = traffic.send(span, Some(arguments.flood_rate))?;
        Ok(sent.frames as f64 / sent.elapsed.as_secs_f64())
    })
}

/// One forged SCCRQ. Numbers are spread over what they stand for by odd factors.
fn forged_frame(forged: Forged, number: u32, link: Link) -> Vec<u8> {
    let spread = number.wrapping_mul(0x9e37_79b1);
    let source = match forged {
        // 16.0.0.0 to 111.255.255.255: none of the lab's.
        Forged::Anywhere => Ipv4Addr::from_bits(0x1000_0000 + spread % 0x6000_0000),
        Forged::Known => {
            Ipv4Addr::from_bits(LAC_ADDRESS.to_bits() + number % u32::from(HOLDERS.end))
        }
    };
    let tunnel = (spread >> 16) as u16 | 1;
    let port = 1024 + (spread % 60_000) as u16;
    let sccrq = ControlMessage::new(0, 0, message::SCCRQ)
        .avp(attribute::PROTOCOL_VERSION, &[1, 0])
        .avp(attribute::HOST_NAME, b"lac")
        .avp(attribute::FRAMING_CAPABILITIES, &[0, 0, 0, 3])
        .avp(attribute::ASSIGNED_TUNNEL_ID, &tunnel.to_be_bytes())
        .finish();
    link.frame(&frames::datagram(source, LNS_ADDRESS, [port, PORT], &sccrq))
}

/// Octets of a forged SCCRQ: header and five AVPs.
const SCCRQ_BYTES: usize = 12 + 8 + 8 + 9 + 10 + 8;

const _: () = assert!(
    ethernet::HEADER_BYTES + ipv4::HEADER_BYTES + udp::HEADER_BYTES + SCCRQ_BYTES
        <= crate::wire::kernel::traffic::HEAD_BYTES_MAX
);

#[cfg(test)]
mod tests {
    use xlns_control::l2tp::header;
    use xlns_control::l2tp::message::{Unassigned, decode_unassigned};

    use super::*;

    #[test]
    fn forged_requests_are_right_in_all_but_their_source() {
        let link = Link { source: [2; 6], destination: [2; 6] };
        let mut sources = std::collections::BTreeSet::new();
        for forged in [Forged::Anywhere, Forged::Known] {
            for number in 0..100 {
                let frame = forged_frame(forged, number, link);
                let (ip, _) = ipv4::parse(&frame[14..]).unwrap();
                sources.insert(ip.source);
                let (_, payload) = udp::parse(&frame[34..]).unwrap();
                assert_eq!(payload.len(), SCCRQ_BYTES);
                let parsed = header::parse(payload).unwrap();
                let message = decode_unassigned(&parsed, payload, None);
                assert!(matches!(message, Ok(Unassigned::Sccrq(_))), "{message:?}");
            }
        }
        assert_eq!(sources.len(), 100 + 8);
    }
}
