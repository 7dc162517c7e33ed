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
        if let Some(vlan) = port.vlan {
            return push_tagged(frame, to, port.mac, [vlan, ethertype]);
        }
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

/// The same with an 802.1Q tag.
#[cold]
fn push_tagged(
    frame: &mut Frame,
    to: Adjacency,
    source: [u8; 6],
    [vlan, ethertype]: [u16; 2],
) -> Result<Verdict, DropReason> {
    let [tag, _] = ethernet::TAGS;
    if !frame.push(ethernet::TAGGED_BYTES) {
        return Err(NO_ROOM);
    }
    let octets = frame.octets_mut();
    let (header, _) = ethernet::Tagged::mut_from_prefix(octets).map_err(|_| NO_ROOM)?;
    *header = ethernet::Tagged {
        destination: to.mac,
        source,
        tag: U16::new(tag),
        vlan: U16::new(vlan),
        ethertype: U16::new(ethertype),
    };
    Ok(Verdict::Transmit(to.port))
}
