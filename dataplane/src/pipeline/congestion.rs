//! Explicit congestion notification through the tunnel (RFC 6040, which RFC 9601 section 5 makes that of
//! L2TP).

use zerocopy::FromBytes;

use super::NO_ROOM;
use crate::verdict::DropReason;
use crate::wire::checksum::Sum;
use crate::wire::{ipv4, ipv6};

/// The ECN field of a traffic class (RFC 3168 section 5).
pub(super) const MASK: u8 = 0x03;
const NOT_CAPABLE: u8 = 0;
const CAPABLE_1: u8 = 1;
const MARKED: u8 = 3;

/// The traffic class of an IP packet.
pub(super) fn traffic_class(packet: &[u8], is_ipv4: bool) -> u8 {
    match *packet {
        [_, class, ..] if is_ipv4 => class,
        [first, second, ..] => first << 4 | second >> 4,
        _ => 0,
    }
}

/// What a packet with these fields goes on with (RFC 6040 section 4.2, figure 4).
fn combined(inner: u8, outer: u8) -> Result<u8, DropReason> {
    match (inner, outer) {
        // It cannot say that it met congestion otherwise.
        (NOT_CAPABLE, MARKED) => Err(DropReason::EcnMarked),
        (NOT_CAPABLE | MARKED, _) => Ok(inner),
        (_, MARKED | CAPABLE_1) => Ok(outer),
        _ => Ok(inner),
    }
}

/// Gives the inner packet what the tunnel's packet met on its way.
pub(super) fn leave_tunnel(
    packet: &mut [u8],
    is_ipv4: bool,
    outer_class: u8,
) -> Result<(), DropReason> {
    let class = traffic_class(packet, is_ipv4);
    let after = class & !MASK | combined(class & MASK, outer_class & MASK)?;
    if after == class {
        return Ok(());
    }
    if is_ipv4 {
        let (header, _) = ipv4::Header::mut_from_prefix(packet).map_err(|_| NO_ROOM)?;
        header.traffic_class = after;
        let sum = Sum::default().number(!header.checksum.get());
        let difference = Sum::default().number(class.into());
        header.checksum = sum.minus(difference).number(after.into()).checksum();
    } else {
        let (header, _) = ipv6::Header::mut_from_prefix(packet).map_err(|_| NO_ROOM)?;
        let word = header.version_class_flow.get() & !(0xff << 20) | u32::from(after) << 20;
        header.version_class_flow = word.into();
    }
    Ok(())
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_rfc_6040() {
        // Rows: inner not capable, ECT(1), ECT(0), marked; columns in the same order of numbers.
        let marked = Err(DropReason::EcnMarked);
        let table = [
            [Ok(0), Ok(0), Ok(0), marked],
            [Ok(1), Ok(1), Ok(1), Ok(3)],
            [Ok(2), Ok(1), Ok(2), Ok(3)],
            [Ok(3), Ok(3), Ok(3), Ok(3)],
        ];
        for (inner, row) in (0..).zip(table) {
            for (outer, expected) in (0..).zip(row) {
                assert_eq!(combined(inner, outer), expected, "{inner} {outer}");
            }
        }
    }

    #[test]
    fn the_header_stays_correct() {
        for (class, outer, expected) in [(0xb9, 3, 0xbb), (0xba, 1, 0xb9), (0x02, 0xff, 0x03)] {
            let mut octets = [0x45, class, 0, 20, 1, 2, 0, 0, 9, 9, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
            let sum = Sum::default().octets(&octets).checksum();
            octets[10..12].copy_from_slice(&sum.to_bytes());
            leave_tunnel(&mut octets, true, outer).unwrap();
            assert_eq!(octets[1], expected);
            assert!(ipv4::parse(&octets).is_ok());
            let mut octets = [0; 40];
            octets[..4].copy_from_slice(&[0x60 | class >> 4, class << 4 | 0x0f, 0xab, 0xcd]);
            leave_tunnel(&mut octets, false, outer).unwrap();
            let after = [0x60 | expected >> 4, expected << 4 | 0x0f, 0xab, 0xcd];
            assert_eq!(octets[..4], after);
        }
    }
}
