//! Datagrams of netlink taken apart into messages.

use netlink_packet_core::{NetlinkBuffer, NlasIterator};

const NLM_F_CAPPED: u16 = 0x100;
const NLM_F_ACK_TLVS: u16 = 0x200;
const NLMSGERR_ATTR_MSG: u16 = 1;

/// One netlink message.
pub(super) struct Message<'a> {
    pub(super) message_type: u16,
    pub(super) flags: u16,
    pub(super) sequence: u32,
    pub(super) payload: &'a [u8],
}

impl Message<'_> {
    /// The positive error number of NLMSG_ERROR and NLMSG_DONE; 0: none.
    pub(super) fn errno(&self) -> i32 {
        match self.payload.first_chunk::<4>() {
            Some(code) => i32::from_ne_bytes(*code).saturating_neg(),
            None => 0,
        }
    }

    /// The kernel's words about an error, where it has some: attributes behind the code and the
    /// request, of which only the header is repeated where "capped".
    pub(super) fn explanation(&self) -> String {
        if self.flags & NLM_F_ACK_TLVS == 0 {
            return String::new();
        }
        let request_bytes = match self.payload.get(4..8).and_then(|octets| octets.try_into().ok()) {
            Some(length) if self.flags & NLM_F_CAPPED == 0 => u32::from_ne_bytes(length) as usize,
            _ => 16,
        };
        let octets = self.payload.get(4 + request_bytes.next_multiple_of(4)..).unwrap_or_default();
        NlasIterator::new(octets)
            .flatten()
            .find(|attribute| attribute.kind() == NLMSGERR_ATTR_MSG)
            .map(|attribute| {
                String::from_utf8_lossy(attribute.value()).trim_end_matches('\0').to_string()
            })
            .unwrap_or_default()
    }
}

/// The messages of a datagram; ends at the first that is not whole.
pub(super) struct Messages<'a>(pub(super) &'a [u8]);

impl<'a> Iterator for Messages<'a> {
    type Item = Message<'a>;

    fn next(&mut self) -> Option<Message<'a>> {
        let message = NetlinkBuffer::new_checked(self.0).ok()?;
        let length = usize::try_from(message.length()).ok()?.next_multiple_of(4);
        self.0 = self.0.get(length..).unwrap_or_default();
        Some(Message {
            message_type: message.message_type(),
            flags: message.flags(),
            sequence: message.sequence_number(),
            payload: message.payload(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The kernel's answer to a route to a link that does not exist, "capped": error 19 and words.
    fn refusal() -> Vec<u8> {
        let text = b"Device does not exist\0";
        let attribute = u16::try_from(4 + text.len()).unwrap();
        let payload = [
            &(-19_i32).to_ne_bytes()[..],
            &[0x2c, 0, 0, 0, 0x18, 0, 5, 5, 9, 0, 0, 0, 0, 0, 0, 0],
            &attribute.to_ne_bytes(),
            &NLMSGERR_ATTR_MSG.to_ne_bytes(),
            text,
            &[0; 2],
        ]
        .concat();
        message(2, NLM_F_CAPPED | NLM_F_ACK_TLVS, 9, &payload)
    }

    fn message(message_type: u16, flags: u16, sequence: u32, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(16 + payload.len()).unwrap();
        [
            &length.to_ne_bytes()[..],
            &message_type.to_ne_bytes(),
            &flags.to_ne_bytes(),
            &sequence.to_ne_bytes(),
            &0_u32.to_ne_bytes(),
            payload,
        ]
        .concat()
    }

    #[test]
    fn a_refusal_is_understood() {
        let octets = refusal();
        let message = Messages(&octets).next().unwrap();
        assert_eq!((message.sequence, message.errno()), (9, 19));
        assert_eq!(message.explanation(), "Device does not exist");
    }

    #[test]
    fn an_acknowledgement_is_no_error() {
        let octets = message(2, NLM_F_CAPPED, 9, &[0; 20]);
        let message = Messages(&octets).next().unwrap();
        assert_eq!((message.errno(), message.explanation().as_str()), (0, ""));
    }

    #[test]
    fn several_messages_lie_in_one_datagram() {
        // The first is padded to a multiple of four octets.
        let octets = [message(24, 2, 1, &[1, 2, 3]), vec![0], message(3, 2, 1, &[])].concat();
        let types: Vec<u16> = Messages(&octets).map(|message| message.message_type).collect();
        assert_eq!(types, [24, 3]);
    }

    #[test]
    fn a_message_cut_short_ends_the_datagram() {
        let whole = refusal();
        for length in 0..whole.len() {
            assert_eq!(Messages(&whole[..length]).count(), 0, "{length}");
        }
        let too_short_to_be = [&8_u32.to_ne_bytes()[..], &[0; 12]].concat();
        assert_eq!(Messages(&too_short_to_be).count(), 0);
    }
}
