//! LCP Echo-Requests are answered here (RFC 1661 section 5.8): a million peers that ask every ten
//! seconds are no load for the control process then. Replies are for our own requests ([`quality`]).
//!
//! [`quality`]: super::quality

use std::ops::Range;

use zerocopy::FromBytes;

use super::encap::{Framing, PLAIN};
use super::{Context, NO_ROOM};
use crate::frame::Frame;
use crate::tables::Decap;
use crate::verdict::{DropReason, Verdict};
use crate::wire::checksum::Sum;
use crate::wire::ppp::{self, Echo};

impl Context<'_> {
    /// An LCP packet between these offsets of the frame.
    pub(super) fn echo(
        &mut self,
        frame: &mut Frame,
        slot: u32,
        session: &Decap,
        packet: Range<usize>,
    ) -> Result<Verdict, DropReason> {
        let octets = frame.octets().get(packet.clone()).unwrap_or_default();
        match octets.first() {
            Some(&ppp::ECHO_REQUEST | &ppp::ECHO_REPLY) => {}
            // Everything else of LCP is control's; the steering program sends it there.
            Some(_) => return Err(DropReason::PppProtocol),
            None => return Err(DropReason::EchoMalformed),
        }
        let (echo, _) = Echo::ref_from_prefix(octets).map_err(|_| DropReason::EchoMalformed)?;
        let length = usize::from(echo.length.get());
        // Shorter than the frame: the rest is padding.
        if length < ppp::ECHO_BYTES || length > octets.len() {
            return Err(DropReason::EchoMalformed);
        }
        if echo.code == ppp::ECHO_REPLY {
            return self.echo_reply(session, octets.get(..length).unwrap_or_default());
        }
        if session.magic.get() != 0 && echo.magic == session.magic {
            return Err(DropReason::EchoLooped);
        }
        let way = self.way_to_peer(slot, |_| Framing::whole(ppp::LCP))?;
        let length = length.min(way.mru());
        if length > way.room {
            return Err(DropReason::TooBig);
        }
        if !frame.pull(packet.start) || !frame.set_len(length) {
            return Err(NO_ROOM);
        }
        let (reply, _) = Echo::mut_from_prefix(frame.octets_mut()).map_err(|_| NO_ROOM)?;
        reply.code = ppp::ECHO_REPLY;
        reply.length.set(length as u16);
        reply.magic = session.magic;
        let sum = Sum::default().octets(frame.octets());
        self.encapsulate(frame, &way, sum, PLAIN)
    }
}
