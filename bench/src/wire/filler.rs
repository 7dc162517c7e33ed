//! More load than one core makes in user space: packets that the kernel makes beside the numbered ones,
//! in the same sessions, and that only fill the LNS. The far end counts and drops them in its driver.
//!
//! So twice the no-drop rate can be offered where AF_XDP is at its end below that. Only in the lab: the
//! interface has to take live frames.

use xlns_dataplane::api::SessionKey;
use xlns_tests::Result;

use super::kernel::frames::{self, Link};
use super::kernel::traffic::Traffic;
use super::packet::{Flow, Form};
use super::place::Door;
use super::site::End;

/// Frames of a system call, which takes a millisecond or so: setting one up costs as much as some.
const FRAMES_PER_CALL: u64 = 4096;

/// Calls that are made up for: what is later was not offered.
const LATE_CALLS_MAX: f64 = 4.0;

/// One direction's.
pub struct Filler {
    traffic: Traffic,
    door: Door,
    gap_ns: f64,
    start_ns: u64,
    offered: u64,
}

impl Filler {
    /// One that sends packets of so many octets in these sessions by `link`, of an end of the lab.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn new(
        flows: &[Flow],
        form: Form,
        inner_bytes: usize,
        link: Link,
        end: &End<'_>,
    ) -> Result<Self> {
        let frame = |flow: &Flow| {
            let flow = frames::Flow {
                lac: flow.lac,
                lns: flow.lns,
                key: SessionKey {
                    local_tunnel_id: flow.to_lns.tunnel,
                    local_session_id: flow.to_lns.session,
                },
                subscriber: flow.subscriber,
            };
            match form {
                Form::Upstream => flow.upstream(inner_bytes, link),
                Form::Downstream | Form::Bare => flow.downstream(inner_bytes, link),
            }
        };
        let index = end.place.interface(&end.interface)?.index;
        let mut traffic = Traffic::load(flows.iter().map(frame), index)?;
        let door = Door::of(end.place)?;
        end.place.inside(|| traffic.attach_generator())?;
        Ok(Self { traffic, door, gap_ns: f64::INFINITY, start_ns: 0, offered: 0 })
    }

    /// Begins to offer so many packets a second.
    pub fn begin(&mut self, now_ns: u64, rate: f64) {
        self.gap_ns = 1e9 / rate.max(1.0);
        self.start_ns = now_ns;
        self.offered = 0;
    }

    /// Packets offered since then.
    pub fn offered(&self) -> u64 {
        self.offered
    }

    /// Sends some where they are due. Returns how many.
    pub fn turn(&mut self, now_ns: u64) -> u64 {
        let elapsed = now_ns.saturating_sub(self.start_ns) as f64;
        let late = elapsed / self.gap_ns - self.offered as f64;
        let most = LATE_CALLS_MAX * FRAMES_PER_CALL as f64;
        if late > most {
            self.start_ns += ((late - most) * self.gap_ns) as u64;
        }
        if late < FRAMES_PER_CALL as f64 || self.door.enter().is_err() {
            return 0;
        }
        // Pages are asked for without waiting; a moment later there are some again.
        if self.traffic.send_frames(FRAMES_PER_CALL as u32).is_err() {
            return 0;
        }
        self.offered += FRAMES_PER_CALL;
        FRAMES_PER_CALL
    }
}
