//! The Ethernet header in front of a packet that leaves by a NIC.

use zerocopy::FromBytes;
use zerocopy::network_endian::U16;

use super::{Context, NO_ROOM};
use crate::frame::Frame;
use crate::tables::Adjacency;
use crate::verdict::{DropReason, Verdict};
use crate::wire::ethernet;

impl Context<'_> {
    /// Puts the header in front and sends the frame to the neighbour.
    #[inline(always)]
    pub(super) fn rewrite(
        &self,
        frame: &mut Frame,
        to: Adjacency,
        ethertype: u16,
    ) -> Result<Verdict, DropReason> {
        let port = self.guard.tables().limits().ports.get(usize::from(to.port.0)).ok_or(NO_ROOM)?;
        if !frame.push(ethernet::HEADER_BYTES) {
            return Err(NO_ROOM);
        }
        let octets = frame.octets_mut();
        let (header, _) = ethernet::Header::mut_from_prefix(octets).map_err(|_| NO_ROOM)?;
        header.destination = to.mac;
        header.source = port.mac;
        header.ethertype = U16::new(ethertype);
        Ok(Verdict::Transmit(to.port))
    }
}
