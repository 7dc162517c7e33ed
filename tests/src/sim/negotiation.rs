//! One control protocol of the emulated subscriber: its own options, the LNS's, and a timer.

use std::time::Duration;

use xlns_control::time::Time;

/// Time before a Configure-Request is repeated.
const REPEAT_AFTER: Duration = Duration::from_secs(1);

/// Configure-Requests before the subscriber gives up.
const TRIES_MAX: u32 = 12;

/// Codes that LCP and IPCP share (RFC 1661 section 5).
pub mod code {
    /// Configure-Request.
    pub const REQUEST: u8 = 1;
    /// Configure-Ack.
    pub const ACK: u8 = 2;
    /// Configure-Nak.
    pub const NAK: u8 = 3;
    /// Configure-Reject.
    pub const REJECT: u8 = 4;
    /// Terminate-Request.
    pub const TERMINATE: u8 = 5;
    /// Terminate-Ack.
    pub const TERMINATE_ACK: u8 = 6;
    /// Echo-Request.
    pub const ECHO: u8 = 9;
    /// Echo-Reply.
    pub const ECHO_REPLY: u8 = 10;
}

/// A frame with Address and Control octets around one packet.
pub fn frame(protocol: u16, code: u8, identifier: u8, content: &[u8]) -> Vec<u8> {
    let mut frame = vec![0xff, 3];
    frame.extend_from_slice(&protocol.to_be_bytes());
    frame.extend_from_slice(&[code, identifier]);
    frame.extend_from_slice(&(content.len() as u16 + 4).to_be_bytes());
    frame.extend_from_slice(content);
    frame
}

/// What a packet did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Nothing that the layers above must know.
    None,
    /// Open now.
    Up,
    /// Was open; negotiates again.
    Down,
}

/// The negotiation of one protocol.
#[derive(Debug, Default)]
pub struct Negotiation {
    protocol: u16,
    /// Our options as asked for.
    pub options: Vec<u8>,
    identifier: u8,
    ours_agreed: bool,
    theirs_agreed: bool,
    tries: u32,
    repeat_at: Option<Time>,
}

impl Negotiation {
    /// One that has not begun.
    pub fn new(protocol: u16) -> Self {
        Self { protocol, ..Self::default() }
    }

    /// Begins with a Configure-Request.
    pub fn begin(&mut self, now: Time, options: Vec<u8>, out: &mut Vec<Vec<u8>>) {
        (self.ours_agreed, self.theirs_agreed, self.tries) = (false, false, 0);
        self.options = options;
        self.request(now, out);
    }

    /// Both sides have agreed already, by somebody else's mouth.
    pub fn assume(&mut self, options: Vec<u8>) {
        (self.ours_agreed, self.theirs_agreed, self.tries) = (true, true, 0);
        (self.options, self.repeat_at) = (options, None);
    }

    /// Ends: nothing is repeated any more.
    pub fn stop(&mut self) {
        (self.ours_agreed, self.theirs_agreed, self.repeat_at) = (false, false, None);
    }

    /// Both sides agree.
    pub fn is_open(&self) -> bool {
        self.ours_agreed && self.theirs_agreed
    }

    fn request(&mut self, now: Time, out: &mut Vec<Vec<u8>>) {
        self.identifier = self.identifier.wrapping_add(1);
        self.tries += 1;
        self.ours_agreed = false;
        self.repeat_at = Some(now + REPEAT_AFTER);
        out.push(frame(self.protocol, code::REQUEST, self.identifier, &self.options));
    }

    /// The LNS's Configure-Request, which is answered with `code` and `content`.
    pub fn on_request(
        &mut self,
        now: Time,
        identifier: u8,
        code: u8,
        content: &[u8],
        out: &mut Vec<Vec<u8>>,
    ) -> Change {
        let was_open = self.is_open();
        if was_open {
            self.tries = 0;
            self.request(now, out);
        }
        self.theirs_agreed = code == code::ACK;
        out.push(frame(self.protocol, code, identifier, content));
        match (was_open, self.is_open()) {
            (true, _) => Change::Down,
            (false, true) => Change::Up,
            (false, false) => Change::None,
        }
    }

    /// The answer to our request; `options` are those to ask for next where it was no Ack.
    pub fn on_answer(
        &mut self,
        now: Time,
        identifier: u8,
        agreed: bool,
        options: Option<Vec<u8>>,
        out: &mut Vec<Vec<u8>>,
    ) -> Change {
        if identifier != self.identifier || self.ours_agreed {
            return Change::None;
        }
        if agreed {
            self.ours_agreed = true;
            self.repeat_at = (!self.theirs_agreed).then_some(now + REPEAT_AFTER);
            return if self.is_open() { Change::Up } else { Change::None };
        }
        if let Some(options) = options {
            self.options = options;
        }
        self.request(now, out);
        Change::None
    }

    /// When [`Negotiation::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Time> {
        self.repeat_at.filter(|_| !self.is_open())
    }

    /// Repeats the request where it is time. Returns whether the subscriber gives up.
    pub fn handle_timeout(&mut self, now: Time, out: &mut Vec<Vec<u8>>) -> bool {
        if self.poll_timeout().is_some_and(|at| at <= now) {
            if self.tries >= TRIES_MAX {
                return true;
            }
            // As in AckRcvd: what was agreed on is asked for again (RFC 1661 section 4.1, TO+).
            self.request(now, out);
        }
        false
    }
}
