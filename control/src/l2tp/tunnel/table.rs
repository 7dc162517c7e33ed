//! The control connection's state table (RFC 2661 section 7.2.1), both roles.

/// State of a control connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Nothing yet.
    Idle,
    /// SCCRQ was sent.
    WaitCtlReply,
    /// SCCRP was sent.
    WaitCtlConn,
    /// Calls may be made.
    Established,
    /// Over. The RFC's "idle" after a clean-up, in which delivery goes on for a full retransmission
    /// cycle (sections 5.7 and 5.8).
    Closing,
}

/// What can happen to a control connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of the RFC's table")]
pub enum Input {
    LocalOpen,
    SccrqAcceptable,
    SccrqNotAcceptable,
    SccrqLosesTieBreaker,
    SccrpAcceptable,
    SccrpNotAcceptable,
    ScccnAcceptable,
    ScccnNotAcceptable,
    LocalClose,
    StopCcn,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of the RFC's table")]
pub enum Action {
    SendSccrq,
    SendSccrp,
    SendScccn,
    SendStopCcn,
    TunnelOpen,
    RequeueSccrq,
    CleanUp,
}

/// The table of section 7.2.1. In addition: a tunnel may be closed locally in every state, and
/// nothing happens to one that is over.
pub fn transition(state: State, input: Input) -> (&'static [Action], State) {
    use Action::{CleanUp, RequeueSccrq, SendScccn, SendSccrp, SendSccrq, SendStopCcn, TunnelOpen};
    use Input::{
        LocalClose, LocalOpen, ScccnAcceptable, ScccnNotAcceptable, SccrpAcceptable,
        SccrpNotAcceptable, SccrqAcceptable, SccrqLosesTieBreaker, SccrqNotAcceptable, StopCcn,
    };
    use State::{Closing, Established, Idle, WaitCtlConn, WaitCtlReply};
    match (state, input) {
        (Idle, LocalOpen) => (&[SendSccrq], WaitCtlReply),
        (Idle, SccrqAcceptable) => (&[SendSccrp], WaitCtlConn),
        (Idle, SccrqNotAcceptable | SccrqLosesTieBreaker) => (&[SendStopCcn, CleanUp], Closing),
        (Idle, SccrpAcceptable | SccrpNotAcceptable) => (&[SendStopCcn, CleanUp], Closing),
        (Idle, ScccnAcceptable | ScccnNotAcceptable) => (&[CleanUp], Closing),
        (Idle, LocalClose) => (&[CleanUp], Closing),

        // A second request to open waits for the first.
        (WaitCtlReply, LocalOpen) => (&[], WaitCtlReply),
        (WaitCtlReply, SccrpAcceptable) => (&[SendScccn, TunnelOpen], Established),
        (WaitCtlReply, SccrpNotAcceptable) => (&[SendStopCcn, CleanUp], Closing),
        (WaitCtlReply, SccrqLosesTieBreaker) => (&[CleanUp, RequeueSccrq], Closing),
        // We win the tie, or nobody wants one: the peer's is another tunnel.
        (WaitCtlReply, SccrqAcceptable | SccrqNotAcceptable) => (&[], WaitCtlReply),
        (WaitCtlReply, ScccnAcceptable | ScccnNotAcceptable) => (&[SendStopCcn, CleanUp], Closing),
        (WaitCtlReply, LocalClose) => (&[SendStopCcn, CleanUp], Closing),

        (WaitCtlConn, LocalOpen) => (&[], WaitCtlConn),
        (WaitCtlConn, ScccnAcceptable) => (&[TunnelOpen], Established),
        (WaitCtlConn, ScccnNotAcceptable) => (&[SendStopCcn, CleanUp], Closing),
        (
            WaitCtlConn,
            SccrqAcceptable | SccrqNotAcceptable | SccrqLosesTieBreaker | SccrpAcceptable
            | SccrpNotAcceptable,
        ) => (&[SendStopCcn, CleanUp], Closing),
        (WaitCtlConn, LocalClose) => (&[SendStopCcn, CleanUp], Closing),

        (Established, LocalOpen) => (&[TunnelOpen], Established),
        (Established, LocalClose) => (&[SendStopCcn, CleanUp], Closing),
        (
            Established,
            SccrqAcceptable | SccrqNotAcceptable | SccrqLosesTieBreaker | SccrpAcceptable
            | SccrpNotAcceptable | ScccnAcceptable | ScccnNotAcceptable,
        ) => (&[SendStopCcn, CleanUp], Closing),

        (Idle | WaitCtlReply | WaitCtlConn | Established, StopCcn) => (&[CleanUp], Closing),

        (
            Closing,
            LocalOpen | SccrqAcceptable | SccrqNotAcceptable | SccrqLosesTieBreaker
            | SccrpAcceptable | SccrpNotAcceptable | ScccnAcceptable | ScccnNotAcceptable
            | LocalClose | StopCcn,
        ) => (&[], Closing),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_connection_states() {
        let mut table = String::new();
        for state in [
            State::Idle,
            State::WaitCtlReply,
            State::WaitCtlConn,
            State::Established,
            State::Closing,
        ] {
            for input in [
                Input::LocalOpen,
                Input::SccrqAcceptable,
                Input::SccrqNotAcceptable,
                Input::SccrqLosesTieBreaker,
                Input::SccrpAcceptable,
                Input::SccrpNotAcceptable,
                Input::ScccnAcceptable,
                Input::ScccnNotAcceptable,
                Input::LocalClose,
                Input::StopCcn,
            ] {
                let (actions, next) = transition(state, input);
                let (state, input) = (format!("{state:?}"), format!("{input:?}"));
                let next = format!("{next:?}");
                table += &format!("{state:<12} {input:<21} {next:<12} {actions:?}\n");
            }
        }
        insta::assert_snapshot!(table);
    }
}
