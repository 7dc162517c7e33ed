//! The L2TP header of control and data messages (RFC 2661 section 3.1).
//!
//! A [`Header`] exists only where every octet that it speaks of lies within the datagram.

use super::sequence::Sequence;
use super::{SessionId, TunnelId};

/// The header's flag bits.
pub struct Flags;

impl Flags {
    /// T: a control message.
    pub const CONTROL: u16 = 0x8000;
    /// L: the Length field is present.
    pub const LENGTH: u16 = 0x4000;
    /// S: Ns and Nr are present.
    pub const SEQUENCE: u16 = 0x0800;
    /// O: the Offset Size field is present.
    pub const OFFSET: u16 = 0x0200;
    /// P: preferential treatment in queues, data only.
    pub const PRIORITY: u16 = 0x0100;
}

/// The one version that is spoken here.
const VERSION: u16 = 2;
const VERSION_MASK: u16 = 0x000f;
/// Flags and version of every control message that we send; some peers take no other
/// (docs/peers.md row 6).
const CONTROL_FLAGS: u16 = Flags::CONTROL | Flags::LENGTH | Flags::SEQUENCE | VERSION;
/// Octets of a control message's header.
pub const CONTROL_HEADER_BYTES: usize = 12;
/// Largest message: its length must fit the Length field.
pub const MESSAGE_BYTES_MAX: usize = 0xffff;

/// A header that was proven to lie within its datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// A control message, not data.
    pub control: bool,
    /// Data that should be preferred in queues.
    pub priority: bool,
    /// Whether Ns and Nr were present; always so in control messages.
    pub sequenced: bool,
    /// The recipient's identifier of the tunnel.
    pub tunnel_id: TunnelId,
    /// The recipient's identifier of the session.
    pub session_id: SessionId,
    /// Number of this message; 0 where absent.
    pub ns: Sequence,
    /// Number of the message that the sender expects next; 0 where absent, without meaning in
    /// data.
    pub nr: Sequence,
    /// Where the payload starts, octets from the start of the datagram.
    pub payload_offset: u16,
    /// Where the payload ends.
    pub payload_end: u16,
}

impl Header {
    /// The AVPs of a control message or the PPP frame of a data message.
    ///
    /// `datagram` is the one that this header was parsed from.
    pub fn payload<'a>(&self, datagram: &'a [u8]) -> &'a [u8] {
        let range = usize::from(self.payload_offset)..usize::from(self.payload_end);
        datagram.get(range).unwrap_or_default()
    }
}

/// Why a datagram is discarded without an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// The datagram ends within the header.
    #[error("the datagram ends within the L2TP header")]
    Truncated,
    /// L2F (1), L2TPv3 (3) or something else.
    #[error("version {0} is not L2TPv2")]
    Version(u8),
    /// A control message without L or S, or with O (RFC 2661 section 3.1).
    #[error("the flags do not fit a control message")]
    ControlFlags,
    /// The Length field says less than the header takes or more than the datagram has.
    #[error("the Length field does not fit the datagram")]
    Length,
    /// The offset padding passes the end.
    #[error("the offset leads past the end of the message")]
    Offset,
}

/// Reads fields one after the other.
struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Cursor<'_> {
    fn u16(&mut self) -> Result<u16, HeaderError> {
        let field = self.bytes.get(self.at..).and_then(<[u8]>::first_chunk::<2>);
        self.at += 2;
        field.map(|field| u16::from_be_bytes(*field)).ok_or(HeaderError::Truncated)
    }
}

/// Parses the header of a datagram. Octets past the Length field's end belong to nobody.
///
/// # Errors
/// [`HeaderError`]: the datagram is to be dropped and counted.
pub fn parse(datagram: &[u8]) -> Result<Header, HeaderError> {
    let mut cursor = Cursor { bytes: datagram, at: 0 };
    let flags = cursor.u16()?;
    if flags & VERSION_MASK != VERSION {
        return Err(HeaderError::Version((flags & VERSION_MASK) as u8));
    }
    let control = flags & Flags::CONTROL != 0;
    let control_flags = Flags::LENGTH | Flags::SEQUENCE;
    if control && flags & (control_flags | Flags::OFFSET) != control_flags {
        return Err(HeaderError::ControlFlags);
    }
    let end = match flags & Flags::LENGTH {
        0 => datagram.len().min(MESSAGE_BYTES_MAX),
        _ => usize::from(cursor.u16()?),
    };
    if end > datagram.len() {
        return Err(HeaderError::Length);
    }
    let tunnel_id = TunnelId(cursor.u16()?);
    let session_id = SessionId(cursor.u16()?);
    let sequenced = flags & Flags::SEQUENCE != 0;
    let (ns, nr) = if sequenced { (cursor.u16()?, cursor.u16()?) } else { (0, 0) };
    let padding = if flags & Flags::OFFSET != 0 { usize::from(cursor.u16()?) } else { 0 };
    if cursor.at > end {
        return Err(HeaderError::Length);
    }
    let offset = cursor.at + padding;
    if offset > end {
        return Err(HeaderError::Offset);
    }
    Ok(Header {
        control,
        priority: !control && flags & Flags::PRIORITY != 0,
        sequenced,
        tunnel_id,
        session_id,
        ns: Sequence(ns),
        nr: Sequence(nr),
        // Both are at most `MESSAGE_BYTES_MAX`.
        payload_offset: offset as u16,
        payload_end: end as u16,
    })
}

/// Appends the header of a control message whose AVPs take `body_bytes`, at most
/// [`MESSAGE_BYTES_MAX`] less the header.
pub fn emit_control(
    out: &mut Vec<u8>,
    tunnel_id: TunnelId,
    session_id: SessionId,
    ns: Sequence,
    nr: Sequence,
    body_bytes: usize,
) {
    debug_assert!(body_bytes <= MESSAGE_BYTES_MAX - CONTROL_HEADER_BYTES);
    let length = (CONTROL_HEADER_BYTES + body_bytes) as u16;
    for field in [CONTROL_FLAGS, length, tunnel_id.0, session_id.0, ns.0, nr.0] {
        out.extend_from_slice(&field.to_be_bytes());
    }
}

/// Appends a ZLB: a header alone, that acknowledges and takes no sequence number (RFC 2661
/// section 5.8).
pub fn emit_zlb(out: &mut Vec<u8>, tunnel_id: TunnelId, ns: Sequence, nr: Sequence) {
    emit_control(out, tunnel_id, SessionId::UNASSIGNED, ns, nr, 0);
}

/// Appends the header of a data message as we send it: no Length, no Offset; Ns and an Nr of 0
/// where `ns` is given.
pub fn emit_data(
    out: &mut Vec<u8>,
    tunnel_id: TunnelId,
    session_id: SessionId,
    ns: Option<Sequence>,
    priority: bool,
) {
    let mut flags = VERSION;
    if priority {
        flags |= Flags::PRIORITY;
    }
    if ns.is_some() {
        flags |= Flags::SEQUENCE;
    }
    for field in [flags, tunnel_id.0, session_id.0] {
        out.extend_from_slice(&field.to_be_bytes());
    }
    if let Some(ns) = ns {
        out.extend_from_slice(&ns.0.to_be_bytes());
        out.extend_from_slice(&[0, 0]);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The hello of a capture: flags C802, length 20, tunnel 1, session 0, Ns 2, Nr 1.
    const HELLO: [u8; 20] = [0xc8, 2, 0, 20, 0, 1, 0, 0, 0, 2, 0, 1, 0x80, 8, 0, 0, 0, 0, 0, 6];

    #[test]
    fn control_deconstruct_construct() {
        let header = parse(&HELLO).unwrap();
        assert!(header.control && header.sequenced && !header.priority);
        assert_eq!((header.tunnel_id, header.session_id), (TunnelId(1), SessionId(0)));
        assert_eq!((header.ns, header.nr), (Sequence(2), Sequence(1)));
        assert_eq!(header.payload(&HELLO), &HELLO[12..]);
        let mut out = Vec::new();
        emit_control(&mut out, TunnelId(1), SessionId(0), Sequence(2), Sequence(1), 8);
        assert_eq!(out, HELLO[..12]);
    }

    #[test]
    fn padding_after_the_message_belongs_to_nobody() {
        let mut padded = HELLO.to_vec();
        padded.extend([0xa5; 7]);
        assert_eq!(parse(&padded).unwrap().payload(&padded), &HELLO[12..]);
    }

    #[test]
    fn cut_short_at_every_octet() {
        for length in 0..HELLO.len() {
            let error = parse(&HELLO[..length]).unwrap_err();
            let expected = if length < 4 { HeaderError::Truncated } else { HeaderError::Length };
            assert_eq!(error, expected, "{length}");
        }
    }

    #[test]
    fn versions() {
        for version in 0..=15 {
            let mut datagram = HELLO;
            datagram[1] = version;
            match version {
                2 => assert!(parse(&datagram).is_ok()),
                _ => assert_eq!(parse(&datagram), Err(HeaderError::Version(version))),
            }
        }
    }

    #[test]
    fn control_flags() {
        // Reserved bits are ignored, P means nothing in a control message.
        for first in [0xc8, 0xcd, 0xf8, 0xfd] {
            let mut datagram = HELLO;
            datagram[0] = first;
            assert!(!parse(&datagram).unwrap().priority);
        }
        for first in [0x88, 0xc0, 0xca, 0x80] {
            let mut datagram = HELLO;
            datagram[0] = first;
            assert_eq!(parse(&datagram), Err(HeaderError::ControlFlags), "{first:x}");
        }
    }

    #[test]
    fn a_length_under_the_header_or_past_the_end() {
        let mut datagram = HELLO;
        datagram[3] = 12;
        assert!(parse(&datagram).unwrap().payload(&datagram).is_empty());
        datagram[3] = 11;
        assert_eq!(parse(&datagram), Err(HeaderError::Length));
        datagram[3] = 21;
        assert_eq!(parse(&datagram), Err(HeaderError::Length));
    }

    #[test]
    fn data_in_its_forms() {
        let mut out = Vec::new();
        emit_data(&mut out, TunnelId(7), SessionId(9), None, true);
        assert_eq!(out, [1, 2, 0, 7, 0, 9]);
        let header = parse(&out).unwrap();
        assert!(!header.control && header.priority && !header.sequenced);
        out.clear();
        emit_data(&mut out, TunnelId(7), SessionId(9), Some(Sequence(3)), false);
        out.push(0xff);
        let header = parse(&out).unwrap();
        assert_eq!((header.ns, header.payload(&out)), (Sequence(3), &[0xff_u8][..]));
        // L, S, O and P at once, an offset of 0 (docs/peers.md row 33) and one of 3.
        for (offset, payload) in [(0, &[1_u8, 2, 3, 4][..]), (3, &[4][..]), (4, &[][..])] {
            let datagram = [0x4b, 2, 0, 18, 0, 7, 0, 9, 0, 1, 0, 0, 0, offset, 1, 2, 3, 4];
            assert_eq!(parse(&datagram).unwrap().payload(&datagram), payload);
        }
        let datagram = [0x4b, 2, 0, 18, 0, 7, 0, 9, 0, 1, 0, 0, 0, 5, 1, 2, 3, 4];
        assert_eq!(parse(&datagram), Err(HeaderError::Offset));
        let far = [2, 2, 0, 7, 0, 9, 0xff, 0xff, 1];
        assert_eq!(parse(&far), Err(HeaderError::Offset));
    }

    proptest! {
        #[test]
        fn never_panics_and_stays_inside(datagram in prop::collection::vec(any::<u8>(), 0..64),
            version in any::<bool>()) {
            let mut datagram = datagram;
            if version && datagram.len() > 1 {
                datagram[1] = 2;
            }
            if let Ok(header) = parse(&datagram) {
                prop_assert!(header.payload_offset <= header.payload_end);
                prop_assert!(usize::from(header.payload_end) <= datagram.len());
            }
        }
    }
}
