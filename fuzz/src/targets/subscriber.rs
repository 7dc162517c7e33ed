//! A subscriber whose PPP goes well: the shortest way to a session that is up, for a script that wants
//! to break it from there.

use xlns_control::ppp::chap;
use xlns_control::ppp::frame::{self, Frame, Packet, code, protocol};

/// The password of all users.
const PASSWORD: &[u8] = b"secret";

/// The first frame: LCP without a wish.
pub fn first() -> Vec<u8> {
    request(protocol::LCP, &[])
}

/// What is to be sent for a frame that came.
pub fn answers(octets: &[u8], user: &[u8]) -> Vec<Vec<u8>> {
    let Ok(frame) = Frame::parse(octets) else { return Vec::new() };
    let Ok(packet) = Packet::parse(frame.information) else { return Vec::new() };
    let is_configured = [protocol::LCP, protocol::IPCP, protocol::IPV6CP].contains(&frame.protocol);
    match (frame.protocol, packet.code) {
        (number, code::CONFIGURE_REQUEST) if is_configured => {
            let identifier = packet.identifier;
            let ack = frame::emit(number, true, code::CONFIGURE_ACK, identifier, &[packet.data]);
            let mut answers = vec![ack];
            let wants_pap = packet.data.windows(4).any(|option| option == [3, 4, 0xc0, 0x23]);
            if number == protocol::LCP && wants_pap {
                answers.push(login(user));
            }
            answers
        }
        (number, code::CONFIGURE_NAK) if is_configured => vec![request(number, packet.data)],
        (number, code::CONFIGURE_REJECT) if is_configured => vec![request(number, &[])],
        (protocol::CHAP, chap::code::CHALLENGE) => proof(&packet, user).into_iter().collect(),
        (protocol::CHAP, chap::code::SUCCESS) | (protocol::PAP, 2) => {
            let interface = [1, 10, 2, 0, 0, 0, 0, 0, 0, 2];
            vec![
                request(protocol::IPCP, &[3, 6, 0, 0, 0, 0]),
                request(protocol::IPV6CP, &interface),
            ]
        }
        _ => Vec::new(),
    }
}

fn request(protocol: u16, options: &[u8]) -> Vec<u8> {
    frame::emit(protocol, true, code::CONFIGURE_REQUEST, 1, &[options])
}

/// A PAP Authenticate-Request.
pub fn login(user: &[u8]) -> Vec<u8> {
    let lengths = [[user.len() as u8], [PASSWORD.len() as u8]];
    let parts: [&[u8]; 4] = [&lengths[0], user, &lengths[1], PASSWORD];
    frame::emit(protocol::PAP, true, 1, 1, &parts)
}

/// The right answer to a challenge.
fn proof(packet: &Packet<'_>, user: &[u8]) -> Option<Vec<u8>> {
    let challenge = chap::Fields::parse(packet.data).ok()?.value;
    let value = chap::respond(packet.identifier, PASSWORD, challenge);
    let parts: [&[u8]; 3] = [&[value.len() as u8], &value, user];
    Some(frame::emit(protocol::CHAP, true, chap::code::RESPONSE, packet.identifier, &parts))
}
