//! An outgoing call as the LNS sees it (RFC 2661 section 7.5.2): the LNS asks.

use super::{Action, Input};

/// State of the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// There is no call yet, or none any more.
    Idle,
    /// The tunnel is not up yet.
    WaitTunnel,
    /// OCRQ was sent, OCRP is awaited.
    WaitReply,
    /// OCRP came, the telephone rings, OCCN is awaited.
    WaitConnect,
    /// Data flows.
    Established,
}

/// The table of section 7.5.2. What belongs to incoming calls is as improper as an OCRQ; while the
/// tunnel is not up, nothing of the call's can come, and is ignored.
pub fn transition(state: State, input: Input) -> (&'static [Action], State) {
    use Action::{CleanUp, OpenTunnel, PrepareForData, SendCdn, SendOcrq};
    use Input::{
        BearerAnswer, Cdn, IccnAcceptable, IccnNotAcceptable, IcrpAcceptable, IcrpNotAcceptable,
        IcrqAcceptable, IcrqNotAcceptable, LocalClose, LocalOpen, Occn, OcrpAcceptable,
        OcrpNotAcceptable, OcrqAcceptable, OcrqNotAcceptable, TunnelOpen,
    };
    use State::{Established, Idle, WaitConnect, WaitReply, WaitTunnel};
    match (state, input) {
        (Idle, LocalOpen) => (&[OpenTunnel], WaitTunnel),
        (Idle, OcrpAcceptable | OcrpNotAcceptable | Occn | Cdn | LocalClose) => (&[CleanUp], Idle),

        (WaitTunnel, TunnelOpen) => (&[SendOcrq], WaitReply),
        (WaitTunnel, LocalClose) => (&[CleanUp], Idle),
        (
            WaitTunnel,
            IcrqAcceptable | IcrqNotAcceptable | IcrpAcceptable | IcrpNotAcceptable
            | IccnAcceptable | IccnNotAcceptable | OcrqAcceptable | OcrqNotAcceptable
            | OcrpAcceptable | OcrpNotAcceptable | Occn | Cdn,
        ) => (&[], WaitTunnel),

        (WaitReply, OcrpAcceptable) => (&[], WaitConnect),
        (WaitReply, OcrpNotAcceptable) => (&[SendCdn, CleanUp], Idle),
        (WaitReply, Occn | OcrqAcceptable | OcrqNotAcceptable) => (&[SendCdn, CleanUp], Idle),

        (WaitConnect, Occn) => (&[PrepareForData], Established),
        (WaitConnect, OcrqAcceptable | OcrqNotAcceptable | OcrpAcceptable | OcrpNotAcceptable) => {
            (&[SendCdn, CleanUp], Idle)
        }

        (
            Established,
            OcrqAcceptable | OcrqNotAcceptable | OcrpAcceptable | OcrpNotAcceptable | Occn,
        ) => (&[SendCdn, CleanUp], Idle),

        (WaitReply | WaitConnect | Established, Cdn) => (&[CleanUp], Idle),
        (WaitReply | WaitConnect | Established, LocalClose) => (&[SendCdn, CleanUp], Idle),
        (Idle, OcrqAcceptable | OcrqNotAcceptable)
        | (
            Idle | WaitReply | WaitConnect | Established,
            IcrqAcceptable | IcrqNotAcceptable | IcrpAcceptable | IcrpNotAcceptable
            | IccnAcceptable | IccnNotAcceptable,
        ) => (&[SendCdn, CleanUp], Idle),
        // Said already, or nothing that this side is asked for.
        (WaitTunnel | WaitReply | WaitConnect | Established, LocalOpen)
        | (Idle | WaitReply | WaitConnect | Established, TunnelOpen)
        | (Idle | WaitTunnel | WaitReply | WaitConnect | Established, BearerAnswer) => (&[], state),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::l2tp::session;

    #[test]
    fn lns_outgoing_call_states() {
        let states = [
            State::Idle,
            State::WaitTunnel,
            State::WaitReply,
            State::WaitConnect,
            State::Established,
        ];
        insta::assert_snapshot!(session::table(&states.map(session::State::LnsOutgoing)));
    }
}
