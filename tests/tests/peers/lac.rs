//! A LAC with subscribers behind it that does nothing by itself: each test says what it sends and
//! what must come.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use xlns_tests::deadline::Deadline;

use crate::octets::{
    CHAP, HELLO, ICCN, ICRP, ICRQ, IPCP, LCP, Message, SCCCN, SCCRP, SCCRQ, control, frame,
    mandatory, md5, packet,
};

/// How long an answer may take: far less than any timer of [`crate::stage::PATIENT`], so that what
/// comes in time was sent at once.
const ANSWER_WAIT: Duration = Duration::from_secs(4);

/// Our Tunnel ID where a test does not care.
pub const TUNNEL_ID: u16 = 0x0a01;

/// Our Session ID where a test does not care.
pub const SESSION_ID: u16 = 0x0b01;

/// A LAC: a UDP socket, one tunnel.
pub struct Lac {
    socket: UdpSocket,
    /// What came before it was asked for.
    inbox: VecDeque<Vec<u8>>,
    /// The ID that we assign.
    pub tunnel_id: u16,
    /// The ID that the LNS assigned.
    pub lns_tunnel_id: u16,
    /// Number of our next message.
    pub ns: u16,
    /// Number of the next message of the LNS.
    pub nr: u16,
}

/// A call.
#[derive(Debug, Clone, Copy)]
pub struct Call {
    /// The ID that we assign.
    pub id: u16,
    /// The ID that the LNS assigned.
    pub lns_id: u16,
    /// Address and Control octets are left out towards us, but in LCP.
    pub acfc: bool,
}

/// The AVPs of a plain SCCRQ.
pub fn sccrq(tunnel_id: u16) -> Vec<u8> {
    [
        mandatory(2, &[1, 0]),
        mandatory(3, &[0, 0, 0, 3]),
        mandatory(7, b"lac"),
        mandatory(9, &tunnel_id.to_be_bytes()),
    ]
    .concat()
}

/// The AVPs of a plain ICRQ.
pub fn icrq(session_id: u16) -> Vec<u8> {
    let serial_number = u32::from(session_id).to_be_bytes();
    [mandatory(14, &session_id.to_be_bytes()), mandatory(15, &serial_number)].concat()
}

/// The AVPs of a plain ICCN.
pub fn iccn() -> Vec<u8> {
    [mandatory(24, &[0, 0x98, 0x96, 0x80]), mandatory(19, &[0, 0, 0, 1])].concat()
}

impl Lac {
    /// A LAC on a socket that is connected to the LNS: what comes from elsewhere is not seen.
    pub fn new(socket: UdpSocket) -> Self {
        let inbox = VecDeque::new();
        Self { socket, inbox, tunnel_id: TUNNEL_ID, lns_tunnel_id: 0, ns: 0, nr: 0 }
    }

    /// Our address and port.
    pub fn address(&self) -> SocketAddr {
        self.socket.local_addr().unwrap()
    }

    /// Goes on from another port: that of `other`.
    pub fn move_to(&mut self, other: Self) {
        self.socket = other.socket;
    }

    /// Sends a datagram.
    pub fn send(&self, octets: &[u8]) {
        self.socket.send(octets).unwrap();
    }

    /// The next datagram, unless `wait` passes.
    pub fn receive_within(&mut self, wait: Duration) -> Option<Vec<u8>> {
        if let Some(datagram) = self.inbox.pop_front() {
            return Some(datagram);
        }
        let deadline = Deadline::after(wait);
        let mut octets = [0; 2048];
        loop {
            let remaining = deadline.remaining().max(Duration::from_millis(1));
            self.socket.set_read_timeout(Some(remaining)).unwrap();
            match self.socket.recv(&mut octets) {
                Ok(length) => return Some(octets[..length].to_vec()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => panic!("recv: {error}"),
            }
        }
    }

    /// The next datagram that is `wanted`; those before it stay.
    #[track_caller]
    fn take(&mut self, what: &str, wanted: impl Fn(&[u8]) -> bool) -> Vec<u8> {
        let deadline = Deadline::after(ANSWER_WAIT);
        let mut others = VecDeque::new();
        while let Some(datagram) = self.receive_within(deadline.remaining()) {
            if wanted(&datagram) {
                others.append(&mut self.inbox);
                self.inbox = others;
                return datagram;
            }
            others.push_back(datagram);
        }
        panic!("no {what} came, but {others:02x?}");
    }

    /// Sends the next message of our tunnel.
    pub fn say(&mut self, session_id: u16, number: u16, avps: &[u8]) {
        let body = [mandatory(0, &number.to_be_bytes()), avps.to_vec()].concat();
        let datagram = control((self.lns_tunnel_id, session_id), (self.ns, self.nr), &body);
        self.send(&datagram);
        self.ns += 1;
    }

    /// The next message of the LNS: it has to be this one.
    #[track_caller]
    pub fn hear(&mut self, number: u16) -> Message {
        let next = self.nr.to_be_bytes();
        let is_next = |datagram: &[u8]| {
            datagram[0] & 0x80 != 0 && datagram.len() > 12 && datagram[8..10] == next
        };
        let (message, _) = Message::read(&self.take(&format!("message {number}"), is_next));
        assert_eq!((message.number, message.tunnel_id), (number, self.tunnel_id), "{message:x?}");
        self.nr += 1;
        message
    }

    /// The next ZLB: it has to acknowledge all that we said, be it in time or at once.
    #[track_caller]
    pub fn hear_zlb(&mut self) -> Vec<u8> {
        let wanted = control((self.tunnel_id, 0), (self.nr, self.ns), &[]);
        let zlb = self.take("ZLB", |datagram| datagram[0] & 0x80 != 0 && datagram.len() == 12);
        // What the LNS has sent since does not change what this one acknowledges.
        assert_eq!((&zlb[..8], &zlb[10..]), (&wanted[..8], &wanted[10..]), "{zlb:02x?}");
        zlb
    }

    /// Acknowledges all that we heard.
    pub fn acknowledge(&self) {
        self.send(&control((self.lns_tunnel_id, 0), (self.ns, self.nr), &[]));
    }

    /// A HELLO, twice: the second one is acknowledged at once, after all that was due before. Yields
    /// what came until then.
    #[track_caller]
    pub fn fence(&mut self) -> Vec<Vec<u8>> {
        self.say(0, HELLO, &[]);
        self.ns -= 1;
        self.say(0, HELLO, &[]);
        let acknowledged = self.ns.to_be_bytes();
        let deadline = Deadline::after(ANSWER_WAIT);
        let mut others = Vec::new();
        while let Some(datagram) = self.receive_within(deadline.remaining()) {
            let is_last = datagram[0] & 0x80 != 0 && datagram[10..12] == acknowledged;
            if datagram.len() > 12 || !is_last {
                others.push(datagram);
            }
            if is_last {
                return others;
            }
        }
        panic!("HELLO is not acknowledged; what came: {others:02x?}");
    }

    /// Nothing came, and the tunnel lives.
    #[track_caller]
    pub fn assert_quiet(&mut self) {
        let came = self.fence();
        assert!(came.is_empty(), "{came:02x?}");
    }

    /// SCCRQ, SCCRP, SCCCN and its ZLB.
    #[track_caller]
    pub fn open_tunnel(&mut self) {
        self.say(0, SCCRQ, &sccrq(self.tunnel_id));
        self.lns_tunnel_id = self.hear(SCCRP).id(9);
        self.say(0, SCCCN, &[]);
        self.hear_zlb();
    }

    /// ICRQ and ICRP.
    #[track_caller]
    pub fn offer_call(&mut self, id: u16) -> Call {
        self.say(0, ICRQ, &icrq(id));
        self.hear_icrp(id)
    }

    /// The ICRP for our call.
    #[track_caller]
    pub fn hear_icrp(&mut self, id: u16) -> Call {
        let icrp = self.hear(ICRP);
        assert_eq!(icrp.session_id, id);
        Call { id, lns_id: icrp.id(14), acfc: false }
    }

    /// ICRQ, ICRP, ICCN and its ZLB.
    #[track_caller]
    pub fn open_call(&mut self, id: u16) -> Call {
        let call = self.offer_call(id);
        self.say(call.lns_id, ICCN, &iccn());
        self.hear_zlb();
        call
    }

    /// Sends a PPP frame behind the shortest header.
    pub fn send_frame(&self, call: &Call, frame: &[u8]) {
        let ids = [0x0002, self.lns_tunnel_id, call.lns_id].map(u16::to_be_bytes);
        self.send(&[ids.as_flattened(), frame].concat());
    }

    /// The call's next PPP frame.
    #[track_caller]
    pub fn frame(&mut self, call: &Call) -> Vec<u8> {
        let ids = [0x0002, self.tunnel_id, call.id].map(u16::to_be_bytes);
        let datagram = self.take("PPP frame", |datagram| datagram.starts_with(ids.as_flattened()));
        datagram[6..].to_vec()
    }

    /// The call's next PPP frame: a packet of this protocol, in the framing agreed on.
    #[track_caller]
    pub fn packet(&mut self, call: &Call, protocol: u16) -> Vec<u8> {
        let frame = self.frame(call);
        let framing = if call.acfc && protocol != LCP { &[][..] } else { &[0xff, 0x03] };
        let front = [framing, &protocol.to_be_bytes()].concat();
        assert!(frame.starts_with(&front), "{protocol:04x}: {frame:02x?}");
        frame[front.len()..].to_vec()
    }

    /// The call's next PPP frame is exactly this packet, in the framing agreed on.
    #[track_caller]
    pub fn expect(
        &mut self,
        call: &Call,
        protocol: u16,
        code: u8,
        identifier: u8,
        contents: &[u8],
    ) {
        let came = self.packet(call, protocol);
        let wanted = packet(protocol, code, identifier, contents)[2..].to_vec();
        assert_eq!(format!("{came:02x?}"), format!("{wanted:02x?}"), "{protocol:04x}");
    }

    /// The LNS's Configure-Request comes and is acknowledged; yields its options.
    #[track_caller]
    pub fn acknowledge_lcp(&mut self, call: &Call) -> Vec<u8> {
        let request = self.packet(call, LCP);
        assert_eq!(request[0], 1, "{request:02x?}");
        self.send_frame(call, &frame(LCP, 2, request[1], &request[4..]));
        request[4..].to_vec()
    }

    /// LCP both ways; the LNS has to take `options` as they are.
    #[track_caller]
    pub fn open_lcp(&mut self, call: &Call, options: &[u8]) {
        self.acknowledge_lcp(call);
        self.send_frame(call, &frame(LCP, 1, 1, options));
        self.expect(call, LCP, 2, 1, options);
    }

    /// A CHAP challenge comes, alice responds, the LNS welcomes her.
    #[track_caller]
    pub fn prove(&mut self, call: &Call) {
        let challenge = self.packet(call, CHAP);
        self.send_frame(call, &frame(CHAP, 2, challenge[1], &chap_response(&challenge)));
        let success = self.packet(call, CHAP);
        assert_eq!(success[..2], [3, challenge[1]], "{success:02x?}");
    }

    /// The LNS's IPCP request comes and is acknowledged.
    #[track_caller]
    pub fn acknowledge_ipcp(&mut self, call: &Call) {
        let request = self.packet(call, IPCP);
        assert_eq!(request[0], 1, "{request:02x?}");
        self.send_frame(call, &frame(IPCP, 2, request[1], &request[4..]));
    }

    /// IPCP both ways: alice knows her address.
    #[track_caller]
    pub fn open_ipcp(&mut self, call: &Call) {
        self.acknowledge_ipcp(call);
        self.send_frame(call, &frame(IPCP, 1, 1, &ALICE_ADDRESS_OPTION));
        self.expect(call, IPCP, 2, 1, &ALICE_ADDRESS_OPTION);
    }

    /// Everything from LCP to IPCP; LCP without options of ours.
    #[track_caller]
    pub fn dial(&mut self, call: &Call) {
        self.open_lcp(call, &[]);
        self.prove(call);
        self.open_ipcp(call);
    }

    /// An Echo-Request is answered: the link is alive.
    #[track_caller]
    pub fn echo(&mut self, call: &Call, identifier: u8) {
        self.send_frame(call, &frame(LCP, 9, identifier, &[0, 0, 0, 0]));
        let reply = self.packet(call, LCP);
        assert_eq!(reply[..4], [10, identifier, 0, 8], "{reply:02x?}");
    }
}

/// The IP-Address option with alice's address.
pub const ALICE_ADDRESS_OPTION: [u8; 6] = [3, 6, 100, 64, 0, 10];

/// The contents of alice's CHAP response to a challenge.
pub fn chap_response(challenge: &[u8]) -> Vec<u8> {
    assert_eq!((challenge[0], challenge[4]), (1, 16), "{challenge:02x?}");
    let value = md5(&[&challenge[1..2], b"alice-password", &challenge[5..21]]);
    [&[16], &value[..], b"alice"].concat()
}
