//! An incoming call as the LAC sees it (RFC 2661 section 7.4.1): the LAC asks.

use super::{Action, Input};

/// State of the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// There is no call yet, or none any more.
    Idle,
    /// The tunnel is not up yet.
    WaitTunnel,
    /// ICRQ was sent, ICRP is awaited.
    WaitReply,
    /// ICCN was sent, data flows.
    Established,
}

/// The table of section 7.4.1. What belongs to outgoing calls is as improper as an ICRQ; while the
/// tunnel is not up, nothing of the call's can come, and is ignored.
pub fn transition(state: State, input: Input) -> (&'static [Action], State) {
    use Action::{CleanUp, OpenTunnel, PrepareForData, SendCdn, SendIccn, SendIcrq};
    use Input::{
        BearerAnswer, Cdn, IccnAcceptable, IccnNotAcceptable, IcrpAcceptable, IcrpNotAcceptable,
        IcrqAcceptable, IcrqNotAcceptable, LocalClose, LocalOpen, Occn, OcrpAcceptable,
        OcrpNotAcceptable, OcrqAcceptable, OcrqNotAcceptable, TunnelOpen,
    };
    use State::{Established, Idle, WaitReply, WaitTunnel};
    match (state, input) {
        (Idle, LocalOpen) => (&[OpenTunnel], WaitTunnel),
        (
            Idle,
            IcrpAcceptable | IcrpNotAcceptable | IccnAcceptable | IccnNotAcceptable | Cdn
            | LocalClose,
        ) => (&[CleanUp], Idle),

        (WaitTunnel, TunnelOpen) => (&[SendIcrq], WaitReply),
        (WaitTunnel, LocalClose) => (&[CleanUp], Idle),
        (
            WaitTunnel,
            IcrqAcceptable | IcrqNotAcceptable | IcrpAcceptable | IcrpNotAcceptable
            | IccnAcceptable | IccnNotAcceptable | OcrqAcceptable | OcrqNotAcceptable
            | OcrpAcceptable | OcrpNotAcceptable | Occn | Cdn,
        ) => (&[], WaitTunnel),

        (WaitReply, IcrpAcceptable) => (&[SendIccn, PrepareForData], Established),
        (WaitReply, IcrpNotAcceptable) => (&[SendCdn, CleanUp], Idle),
        (WaitReply, IcrqAcceptable | IcrqNotAcceptable) => (&[SendCdn, CleanUp], Idle),
        (WaitReply, Cdn | IccnAcceptable | IccnNotAcceptable) => (&[CleanUp], Idle),
        (WaitReply, LocalClose) => (&[SendCdn, CleanUp], Idle),

        (Established, Cdn) => (&[CleanUp], Idle),
        (
            Established,
            IcrqAcceptable | IcrqNotAcceptable | IcrpAcceptable | IcrpNotAcceptable
            | IccnAcceptable | IccnNotAcceptable,
        ) => (&[SendCdn, CleanUp], Idle),
        (Established, LocalClose) => (&[SendCdn, CleanUp], Idle),

        (Idle, IcrqAcceptable | IcrqNotAcceptable)
        | (
            Idle | WaitReply | Established,
            OcrqAcceptable | OcrqNotAcceptable | OcrpAcceptable | OcrpNotAcceptable | Occn,
        ) => (&[SendCdn, CleanUp], Idle),
        // Said already, or nothing that this side is asked for.
        (WaitTunnel | WaitReply | Established, LocalOpen)
        | (Idle | WaitReply | Established, TunnelOpen)
        | (Idle | WaitTunnel | WaitReply | Established, BearerAnswer) => (&[], state),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::l2tp::session;

    #[test]
    fn lac_incoming_call_states() {
        let states = [State::Idle, State::WaitTunnel, State::WaitReply, State::Established];
        insta::assert_snapshot!(session::table(&states.map(session::State::LacIncoming)));
    }
}
