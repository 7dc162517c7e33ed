//! An incoming call as the LNS sees it (RFC 2661 section 7.4.2).

use super::{Action, Input};

/// State of the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// An ICRQ came and has not been answered; also where there is no call.
    Idle,
    /// ICRP was sent, ICCN is awaited.
    WaitConnect,
    /// Data flows.
    Established,
}

/// The table of section 7.4.2. A local close while our answer is due is a refusal; what belongs to
/// other kinds of calls is as improper as an ICRP.
pub fn transition(state: State, input: Input) -> (&'static [Action], State) {
    use Action::{CleanUp, PrepareForData, SendCdn, SendIcrp};
    use Input::{
        BearerAnswer, Cdn, IccnAcceptable, IccnNotAcceptable, IcrpAcceptable, IcrpNotAcceptable,
        IcrqAcceptable, IcrqNotAcceptable, LocalClose, LocalOpen, Occn, OcrpAcceptable,
        OcrpNotAcceptable, OcrqAcceptable, OcrqNotAcceptable, TunnelOpen,
    };
    use State::{Established, Idle, WaitConnect};
    match (state, input) {
        (Idle, IcrqAcceptable) => (&[SendIcrp], WaitConnect),
        (Idle, IcrqNotAcceptable | IcrpAcceptable | IcrpNotAcceptable) => {
            (&[SendCdn, CleanUp], Idle)
        }
        (Idle, IccnAcceptable | IccnNotAcceptable) => (&[CleanUp], Idle),

        (WaitConnect, IccnAcceptable) => (&[PrepareForData], Established),
        (WaitConnect, IccnNotAcceptable) => (&[SendCdn, CleanUp], Idle),
        (WaitConnect, IcrqAcceptable | IcrqNotAcceptable | IcrpAcceptable | IcrpNotAcceptable) => {
            (&[SendCdn, CleanUp], Idle)
        }

        (
            Established,
            IcrqAcceptable | IcrqNotAcceptable | IcrpAcceptable | IcrpNotAcceptable
            | IccnAcceptable | IccnNotAcceptable,
        ) => (&[SendCdn, CleanUp], Idle),

        (Idle | WaitConnect | Established, Cdn) => (&[CleanUp], Idle),
        (Idle | WaitConnect | Established, LocalClose) => (&[SendCdn, CleanUp], Idle),
        (
            Idle | WaitConnect | Established,
            OcrqAcceptable | OcrqNotAcceptable | OcrpAcceptable | OcrpNotAcceptable | Occn,
        ) => (&[SendCdn, CleanUp], Idle),
        // Nothing of the kind is asked of this side.
        (Idle | WaitConnect | Established, LocalOpen | TunnelOpen | BearerAnswer) => (&[], state),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::l2tp::session;

    #[test]
    fn lns_incoming_call_states() {
        let states = [State::Idle, State::WaitConnect, State::Established];
        insta::assert_snapshot!(session::table(&states.map(session::State::LnsIncoming)));
    }
}
