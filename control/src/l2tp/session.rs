//! One call and its four state tables: incoming and outgoing, each as the LAC and as the LNS sees
//! it (RFC 2661 sections 7.4 and 7.5).
//!
//! "Clean up" follows every CDN here, also where the RFC leaves it unsaid, and "prepare for data"
//! every way to "established". What opens a tunnel or a bearer line is the owner's business.

use super::SessionId;
use crate::time::Time;

pub mod lac_incoming;
pub mod lac_outgoing;
pub mod lns_incoming;
pub mod lns_outgoing;

/// What can happen to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of the RFC's tables")]
pub enum Input {
    LocalOpen,
    TunnelOpen,
    IcrqAcceptable,
    IcrqNotAcceptable,
    IcrpAcceptable,
    IcrpNotAcceptable,
    IccnAcceptable,
    IccnNotAcceptable,
    OcrqAcceptable,
    OcrqNotAcceptable,
    OcrpAcceptable,
    OcrpNotAcceptable,
    Occn,
    BearerAnswer,
    Cdn,
    LocalClose,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of the RFC's tables")]
pub enum Action {
    OpenTunnel,
    SendIcrq,
    SendIcrp,
    SendIccn,
    SendOcrq,
    SendOcrp,
    SendOccn,
    SendCdn,
    PrepareForData,
    CleanUp,
}

/// State of a call, by the side that we are on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// The peer's LAC has a subscriber, we are the LNS.
    LnsIncoming(lns_incoming::State),
    /// We have a subscriber, or are one.
    LacIncoming(lac_incoming::State),
    /// The LNS has asked us to call somebody.
    LacOutgoing(lac_outgoing::State),
    /// We have asked the LAC to call somebody.
    LnsOutgoing(lns_outgoing::State),
}

impl State {
    /// Whether data flows.
    pub fn is_established(self) -> bool {
        match self {
            Self::LnsIncoming(state) => state == lns_incoming::State::Established,
            Self::LacIncoming(state) => state == lac_incoming::State::Established,
            Self::LacOutgoing(state) => state == lac_outgoing::State::Established,
            Self::LnsOutgoing(state) => state == lns_outgoing::State::Established,
        }
    }

    /// Whether the call waits for its tunnel.
    pub fn waits_for_tunnel(self) -> bool {
        self == Self::LacIncoming(lac_incoming::State::WaitTunnel)
            || self == Self::LnsOutgoing(lns_outgoing::State::WaitTunnel)
    }

    /// Whether we are the LAC of this call, whoever asked for it.
    pub fn is_lac(self) -> bool {
        matches!(self, Self::LacIncoming(_) | Self::LacOutgoing(_))
    }
}

/// Goes through the table of the call's side.
pub fn transition(state: State, input: Input) -> (&'static [Action], State) {
    match state {
        State::LnsIncoming(state) => {
            let (actions, state) = lns_incoming::transition(state, input);
            (actions, State::LnsIncoming(state))
        }
        State::LacIncoming(state) => {
            let (actions, state) = lac_incoming::transition(state, input);
            (actions, State::LacIncoming(state))
        }
        State::LacOutgoing(state) => {
            let (actions, state) = lac_outgoing::transition(state, input);
            (actions, State::LacOutgoing(state))
        }
        State::LnsOutgoing(state) => {
            let (actions, state) = lns_outgoing::transition(state, input);
            (actions, State::LnsOutgoing(state))
        }
    }
}

/// A call. There may be 64,000 in a tunnel: no more in here than the protocol needs.
#[derive(Debug, Clone, Copy)]
pub struct Session {
    /// 0 until the peer has assigned one.
    pub(super) peer_session_id: SessionId,
    pub(super) state: State,
    pub(super) call_serial_number: u32,
    /// When it must be established and, once it is, when the next WEN may be sent.
    pub(super) deadline: Time,
}

const _: () = assert!(size_of::<Session>() <= 24);

impl Session {
    /// What the peer wants in the Session ID of what we send; 0 until it has said so.
    pub fn peer_session_id(&self) -> SessionId {
        self.peer_session_id
    }

    /// The state.
    pub fn state(&self) -> State {
        self.state
    }

    /// For people who compare the logs of both ends.
    pub fn call_serial_number(&self) -> u32 {
        self.call_serial_number
    }
}

/// A whole table, a line for each state and input.
#[cfg(test)]
fn table(states: &[State]) -> String {
    use Input::{
        BearerAnswer, Cdn, IccnAcceptable, IccnNotAcceptable, IcrpAcceptable, IcrpNotAcceptable,
        IcrqAcceptable, IcrqNotAcceptable, LocalClose, LocalOpen, Occn, OcrpAcceptable,
        OcrpNotAcceptable, OcrqAcceptable, OcrqNotAcceptable, TunnelOpen,
    };
    let name = |state: State| {
        let state = format!("{state:?}");
        state.split(['(', ')']).nth(1).unwrap_or_default().to_owned()
    };
    let mut table = String::new();
    for state in states {
        for input in [
            LocalOpen,
            TunnelOpen,
            IcrqAcceptable,
            IcrqNotAcceptable,
            IcrpAcceptable,
            IcrpNotAcceptable,
            IccnAcceptable,
            IccnNotAcceptable,
            OcrqAcceptable,
            OcrqNotAcceptable,
            OcrpAcceptable,
            OcrpNotAcceptable,
            Occn,
            BearerAnswer,
            Cdn,
            LocalClose,
        ] {
            let (actions, next) = transition(*state, input);
            let input = format!("{input:?}");
            let (state, next) = (name(*state), name(next));
            table += &format!("{state:<12} {input:<18} {next:<12} {actions:?}\n");
        }
    }
    table
}
