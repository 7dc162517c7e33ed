//! An outgoing call as the LAC sees it (RFC 2661 section 7.5.1): the LNS asks.

use super::{Action, Input};

/// State of the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// An OCRQ came and has not been answered; also where there is no call.
    Idle,
    /// OCRP was sent, the telephone rings.
    WaitCsAnswer,
    /// OCCN was sent, data flows.
    Established,
}

/// The table of section 7.5.1. A failure of the bearer is a local close; one while our answer is due
/// is a refusal. What belongs to incoming calls is as improper as an OCRP.
pub fn transition(state: State, input: Input) -> (&'static [Action], State) {
    use Action::{CleanUp, PrepareForData, SendCdn, SendOccn, SendOcrp};
    use Input::{
        BearerAnswer, Cdn, IccnAcceptable, IccnNotAcceptable, IcrpAcceptable, IcrpNotAcceptable,
        IcrqAcceptable, IcrqNotAcceptable, LocalClose, LocalOpen, Occn, OcrpAcceptable,
        OcrpNotAcceptable, OcrqAcceptable, OcrqNotAcceptable, TunnelOpen,
    };
    use State::{Established, Idle, WaitCsAnswer};
    match (state, input) {
        (Idle, OcrqAcceptable) => (&[SendOcrp], WaitCsAnswer),
        (Idle, OcrqNotAcceptable | OcrpAcceptable | OcrpNotAcceptable) => {
            (&[SendCdn, CleanUp], Idle)
        }
        (Idle, Occn) => (&[CleanUp], Idle),

        (WaitCsAnswer, BearerAnswer) => (&[SendOccn, PrepareForData], Established),
        (
            WaitCsAnswer | Established,
            OcrqAcceptable | OcrqNotAcceptable | OcrpAcceptable | OcrpNotAcceptable | Occn,
        ) => (&[SendCdn, CleanUp], Idle),

        (Idle | WaitCsAnswer | Established, Cdn) => (&[CleanUp], Idle),
        (Idle | WaitCsAnswer | Established, LocalClose) => (&[SendCdn, CleanUp], Idle),
        (
            Idle | WaitCsAnswer | Established,
            IcrqAcceptable | IcrqNotAcceptable | IcrpAcceptable | IcrpNotAcceptable
            | IccnAcceptable | IccnNotAcceptable,
        ) => (&[SendCdn, CleanUp], Idle),
        // Nothing of the kind is asked of this side, or it is connected already.
        (Idle | WaitCsAnswer | Established, LocalOpen | TunnelOpen)
        | (Idle | Established, BearerAnswer) => (&[], state),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::l2tp::session;

    #[test]
    fn lac_outgoing_call_states() {
        let states = [State::Idle, State::WaitCsAnswer, State::Established];
        insta::assert_snapshot!(session::table(&states.map(session::State::LacOutgoing)));
    }
}
