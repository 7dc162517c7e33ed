//! Complete calls in memory, no sockets: how many a second the control process can take on one
//! core, and what a session at rest costs it.
//!
//! A call is ICRQ to IPCP open with CHAP-MD5, and later CDN. The emulated LAC and subscribers run on
//! the same core and are part of the time.

use std::error::Error;
use std::sync::Arc;

use serde::Serialize;
use xlns_control::config::Config;
use xlns_control::lns::Lns;

use super::lac::{self, Lac};
use crate::record::Recorder;
use crate::{clock, memory};

/// Sessions of one tunnel; below the most that one may have.
const SESSIONS_PER_TUNNEL: u32 = 50_000;

#[derive(Debug, Serialize)]
struct Report {
    /// From the first ICRQ to the last CDN, all sessions held in between.
    calls_per_second: f64,
    sessions: u32,
    tunnels: u32,
    /// Resident memory of the control process's machines that came with a session.
    octets_per_session: f64,
    setup_seconds: f64,
    teardown_seconds: f64,
}

/// Runs the measurement and prints it.
///
/// # Errors
/// Where a call does not come up.
pub fn run(sessions: u32, recorder: &Recorder) -> Result<(), Box<dyn Error>> {
    let config = Arc::new(Config::parse("bench", &lac::configuration())?);
    let mut lns = Lns::new(config, [1; 32])?;
    lns.handle_dataplane_ready();
    let tunnels = sessions.div_ceil(SESSIONS_PER_TUNNEL);
    let mut lacs = Vec::new();
    for number in 0..tunnels {
        lacs.push(Lac::open(&mut lns, number)?);
    }
    let before = memory::resident_bytes()?;
    let start = clock::now();
    for call in 0..sessions {
        let lac = &mut lacs[(call % tunnels) as usize];
        lac.call(&mut lns)?;
    }
    let setup = start.elapsed();
    // The emulator keeps four octets a session, in a vector: not worth taking off.
    let bytes = memory::resident_bytes()?.saturating_sub(before);
    let start = clock::now();
    for lac in &mut lacs {
        lac.hang_up(&mut lns)?;
    }
    let teardown = start.elapsed();
    let seconds = (setup + teardown).as_secs_f64();
    let report = Report {
        calls_per_second: f64::from(sessions) / seconds,
        sessions,
        tunnels,
        octets_per_session: bytes as f64 / f64::from(sessions),
        setup_seconds: setup.as_secs_f64(),
        teardown_seconds: teardown.as_secs_f64(),
    };
    recorder.finish("calls", &report, || {
        println!(
            "{:.0} complete calls a second on one core (CHAP-MD5, LAC emulated on the same core), \
             {} sessions held in {} tunnels at {:.0} octets each",
            report.calls_per_second, report.sessions, report.tunnels, report.octets_per_session
        );
    })
}
