//! One incoming call as the LNS sees it (RFC 2661 section 7.4.2).

use super::SessionId;
use crate::time::Time;

/// State of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// An ICRQ came and has not been answered; also where there is no call.
    Idle,
    /// ICRP was sent, ICCN is awaited.
    WaitConnect,
    /// Data flows.
    Established,
}

/// What can happen to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of the RFC's table")]
pub enum Input {
    IcrqAcceptable,
    IcrqNotAcceptable,
    Icrp,
    IccnAcceptable,
    IccnNotAcceptable,
    Cdn,
    LocalClose,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of the RFC's table")]
pub enum Action {
    SendIcrp,
    SendCdn,
    PrepareForData,
    CleanUp,
}

/// The table of section 7.4.2. "Clean up" follows every CDN here, also where the RFC leaves it
/// unsaid. A local close while our answer is due is a refusal.
pub fn transition(state: State, input: Input) -> (&'static [Action], State) {
    use Action::{CleanUp, PrepareForData, SendCdn, SendIcrp};
    use Input::{
        Cdn, IccnAcceptable, IccnNotAcceptable, Icrp, IcrqAcceptable, IcrqNotAcceptable, LocalClose,
    };
    use State::{Established, Idle, WaitConnect};
    match (state, input) {
        (Idle, IcrqAcceptable) => (&[SendIcrp], WaitConnect),
        (Idle, IcrqNotAcceptable) => (&[SendCdn, CleanUp], Idle),
        (Idle, Icrp) => (&[SendCdn, CleanUp], Idle),
        (Idle, IccnAcceptable | IccnNotAcceptable) => (&[CleanUp], Idle),
        (WaitConnect, IccnAcceptable) => (&[PrepareForData], Established),
        (WaitConnect, IccnNotAcceptable) => (&[SendCdn, CleanUp], Idle),
        (WaitConnect, IcrqAcceptable | IcrqNotAcceptable | Icrp) => (&[SendCdn, CleanUp], Idle),
        (Idle | WaitConnect | Established, Cdn) => (&[CleanUp], Idle),
        (Idle | WaitConnect | Established, LocalClose) => (&[SendCdn, CleanUp], Idle),
        (
            Established,
            IcrqAcceptable | IcrqNotAcceptable | Icrp | IccnAcceptable | IccnNotAcceptable,
        ) => (&[SendCdn, CleanUp], Idle),
    }
}

/// A call. There may be 64,000 in a tunnel: no more in here than the protocol needs.
#[derive(Debug, Clone, Copy)]
pub struct Session {
    pub(super) peer_session_id: SessionId,
    pub(super) state: State,
    pub(super) call_serial_number: u32,
    /// When it must be established.
    pub(super) deadline: Time,
}

const _: () = assert!(size_of::<Session>() <= 24);

impl Session {
    /// What the peer wants in the Session ID of what we send.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lns_incoming_call_states() {
        let mut table = String::new();
        for state in [State::Idle, State::WaitConnect, State::Established] {
            for input in [
                Input::IcrqAcceptable,
                Input::IcrqNotAcceptable,
                Input::Icrp,
                Input::IccnAcceptable,
                Input::IccnNotAcceptable,
                Input::Cdn,
                Input::LocalClose,
            ] {
                let (actions, next) = transition(state, input);
                let (state, input) = (format!("{state:?}"), format!("{input:?}"));
                let next = format!("{next:?}");
                table += &format!("{state:<12} {input:<18} {next:<12} {actions:?}\n");
            }
        }
        insta::assert_snapshot!(table);
    }
}
