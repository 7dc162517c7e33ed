//! LCP that no session takes, though it may well be of a peer: control looks at it.
//!
//! A peer may ask whether anybody is there as soon as LCP is open, a moment before the tables have the
//! session: control answers then (RFC 1661 section 5.8). And a translator may have given a peer another
//! port, of which nobody else tells while the peer only sends data (docs/peers.md row 14): control
//! asks at that port.

use super::Context;
use super::classify::{Data, Inner, Packet, Work, classify};
use super::special::Allowance;
use crate::frame::Frame;
use crate::tables::Entry;
use crate::verdict::{DropReason, Verdict};

/// What one worker hands over: new sessions and moved peers are far fewer a second, and control is not
/// troubled by as many. Who forges addresses uses it up and gains nothing: then it is as if there
/// were none.
pub(super) const STRAYS: Allowance = Allowance::new(1000, 100);

impl Context<'_> {
    /// L2TP data for a tunnel endpoint without a session that would take it.
    #[cold]
    pub(super) fn stray(
        &mut self,
        frame: &mut Frame,
        packet: Packet,
        reason: DropReason,
    ) -> Result<Verdict, DropReason> {
        let is_lcp = reason == DropReason::NoSuchSession
            && matches!(
                classify(self.guard.tables(), frame),
                Work::Data(Data { inner: Inner::Lcp(..), .. })
            );
        if is_lcp { self.hand_over(frame, packet, reason) } else { Err(reason) }
    }

    /// L2TP data with the right addresses, from another port than the peer's.
    #[cold]
    pub(super) fn moved(&mut self, frame: &mut Frame, data: &Data) -> Result<Verdict, DropReason> {
        let reason = DropReason::OuterAddress;
        let entry = data.outer.destination(frame.octets()).route(self.guard);
        match (data.inner, entry) {
            (Inner::Lcp(..), Entry::Local { endpoint: true }) => {
                self.hand_over(frame, data.outer, reason)
            }
            _ => self.route(frame, data.outer, Some(reason), entry),
        }
    }

    fn hand_over(
        &mut self,
        frame: &mut Frame,
        packet: Packet,
        reason: DropReason,
    ) -> Result<Verdict, DropReason> {
        let host = self.guard.tables().host_port();
        let fits = frame.port() != host && self.special.strays.take(self.special.now);
        if !fits || !frame.pull(packet.offset()) || !frame.set_len(packet.length()) {
            return Err(reason);
        }
        Ok(Verdict::Transmit(host))
    }
}
