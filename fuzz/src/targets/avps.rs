//! Control messages as octets: what is decoded is encoded to what decodes the same, hidden or not.

use xlns_control::l2tp::avp::{AVPS_MAX, Avps, Hide, Hiding};
use xlns_control::l2tp::header;
use xlns_control::l2tp::message::{Message, decode_unassigned};
use xlns_control::l2tp::secret;

use crate::script::Script;

const SECRET: &[u8] = b"secret";

/// Bits of the first octet: how the rest becomes a message.
const WITH_SECRET: u8 = 1;
const COVERED: u8 = 2;
const AS_DATAGRAM: u8 = 4;

/// The input is an octet of flags and the AVPs of a message, or a script of AVPs to be hidden.
pub fn run(input: &[u8]) {
    let mut script = Script::new(input);
    let flags = script.octet();
    let body = if flags & COVERED != 0 { covered(&mut script) } else { script.rest().to_vec() };
    let secret = (flags & WITH_SECRET != 0).then_some(SECRET);
    for (count, avp) in Avps::new(&body).enumerate() {
        assert!(count * 6 <= body.len(), "every AVP takes its header");
        if let Ok(avp) = avp {
            assert!(avp.value.len() <= 1023 - 6);
        }
    }
    if flags & AS_DATAGRAM != 0
        && let Ok(header) = header::parse(&body)
    {
        // Without an effect, but for a panic.
        let _ = decode_unassigned(&header, &body, secret);
    }
    match Message::decode(&body, secret) {
        Ok(message) => round_trips(&message, input),
        Err(reject) => {
            // What goes back to the peer for it fits an AVP, whatever the peer said.
            let mut answer = Vec::new();
            reject.result.encode(&mut answer);
            assert!(answer.len() <= 1023 - 6, "{} octets", answer.len());
        }
    }
}

/// A message whose values the script says in the clear, and that a peer with our secret has hidden:
/// the length inside is free as well.
fn covered(script: &mut Script<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    let random_vector = script.take(16).to_vec();
    push(&mut out, 0x8000, 0, &script.word().to_be_bytes());
    push(&mut out, 0x8000, 36, &random_vector);
    for _ in 0..=AVPS_MAX {
        if script.is_over() {
            break;
        }
        let (flags, number) = (u16::from(script.octet()) << 8 & 0x8000, script.octet().into());
        let (lies, plain) = (script.octet(), script.piece());
        let mut hidden = Vec::new();
        secret::hide(number, SECRET, &random_vector, plain, &[], &mut hidden);
        if lies != 0
            && let Some(length) = hidden.get_mut(1)
        {
            *length ^= lies;
        }
        push(&mut out, flags | 0x4000, number, &hidden);
    }
    out
}

fn push(out: &mut Vec<u8>, flags: u16, number: u16, value: &[u8]) {
    let value = &value[..value.len().min(1023 - 6)];
    for field in [flags | (6 + value.len()) as u16, 0, number] {
        out.extend(field.to_be_bytes());
    }
    out.extend(value);
}

/// What we say for a message is read as that message, and hiding changes nothing of it.
fn round_trips(message: &Message, entropy: &[u8]) {
    if matches!(message, Message::Unknown(_)) {
        return;
    }
    let mut plain = Vec::new();
    message.encode(&mut plain, None);
    let once = Message::decode(&plain, None)
        .unwrap_or_else(|reject| panic!("{message:?} is encoded to what is refused: {reject:?}"));
    let mut again = Vec::new();
    once.encode(&mut again, None);
    assert_eq!(plain, again, "{message:?} is {once:?} after a round trip");
    for hide in [Hide::Secrets, Hide::All] {
        let padding = &entropy[..entropy.len().min(15)];
        let random_vector = &entropy[..entropy.len().min(16)];
        let hiding = Hiding { hide, secret: SECRET, random_vector, padding };
        let mut hidden = Vec::new();
        message.encode(&mut hidden, Some(hiding));
        match Message::decode(&hidden, Some(SECRET)) {
            Ok(revealed) => assert_eq!(same_length(&revealed), same_length(&once)),
            Err(reject) => panic!("{message:?} hidden is refused: {reject:?}"),
        }
        // Nobody without the secret gets anything out of what has to be hidden.
        let _ = Message::decode(&hidden, None);
    }
}

/// A message for comparison: a hidden value has two octets less, which only values as long as an
/// AVP can be have to do with.
fn same_length(message: &Message) -> Vec<u8> {
    let mut octets = Vec::new();
    message.encode(&mut octets, None);
    if octets.len() > 900 { Vec::new() } else { octets }
}
