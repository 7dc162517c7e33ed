//! The option negotiation automaton: the state transition table of RFC 1661 section 4.1.
//!
//! One pure function, [`transition`], with the RFC's states, events and actions in the RFC's order;
//! `machine.rs` carries the actions out. LCP and every NCP run on this same table.
//!
//! The options that the table leaves open: the passive option (footnote p) is not used, because an
//! L2TP call is a switched circuit (section 4.2, Stopped); the restart option (footnote r) is not
//! used either, nobody opens an open link a second time.

/// A state, in the RFC's order (section 4.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// Lower layer down, not opened.
    Initial,
    /// Lower layer down, opened.
    Starting,
    /// Lower layer up, not opened.
    Closed,
    /// Opened and finished: waits for the lower layer to go down.
    Stopped,
    /// Not opened: Terminate-Request sent, not yet acknowledged.
    Closing,
    /// Opened: Terminate-Request sent, or acknowledged and waiting a restart time.
    Stopping,
    /// Configure-Request sent.
    ReqSent,
    /// Configure-Request sent and acknowledged by the peer.
    AckRcvd,
    /// Configure-Request sent, the peer's acknowledged by us.
    AckSent,
    /// Both acknowledged.
    Opened,
}

impl State {
    /// All states, in the RFC's order.
    pub const ALL: [Self; 10] = [
        Self::Initial,
        Self::Starting,
        Self::Closed,
        Self::Stopped,
        Self::Closing,
        Self::Stopping,
        Self::ReqSent,
        Self::AckRcvd,
        Self::AckSent,
        Self::Opened,
    ];

    /// Whether the Restart timer runs in this state: those that have timeout events (section 4.1).
    pub fn is_timed(self) -> bool {
        match self {
            Self::Closing | Self::Stopping | Self::ReqSent | Self::AckRcvd | Self::AckSent => true,
            Self::Initial | Self::Starting | Self::Closed | Self::Stopped | Self::Opened => false,
        }
    }

    /// Whether a Configure-Request of ours has not led to Opened yet.
    pub fn is_negotiating(self) -> bool {
        matches!(self, Self::ReqSent | Self::AckRcvd | Self::AckSent)
    }
}

/// An event, in the RFC's order (section 4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Event {
    /// Lower layer is up.
    Up,
    /// Lower layer is down.
    Down,
    /// Administrative open.
    Open,
    /// Administrative close.
    Close,
    /// Timeout with the counter above zero.
    TimeoutPlus,
    /// Timeout with the counter expired.
    TimeoutMinus,
    /// Acceptable Configure-Request received.
    RcrPlus,
    /// Unacceptable Configure-Request received.
    RcrMinus,
    /// Configure-Ack received.
    Rca,
    /// Configure-Nak or Configure-Reject received.
    Rcn,
    /// Terminate-Request received.
    Rtr,
    /// Terminate-Ack received.
    Rta,
    /// Unknown code received.
    Ruc,
    /// Harmless Code-Reject or Protocol-Reject received.
    RxjPlus,
    /// Catastrophic Code-Reject or Protocol-Reject received.
    RxjMinus,
    /// Echo-Request, Echo-Reply or Discard-Request received.
    Rxr,
}

impl Event {
    /// All events, in the RFC's order.
    pub const ALL: [Self; 16] = [
        Self::Up,
        Self::Down,
        Self::Open,
        Self::Close,
        Self::TimeoutPlus,
        Self::TimeoutMinus,
        Self::RcrPlus,
        Self::RcrMinus,
        Self::Rca,
        Self::Rcn,
        Self::Rtr,
        Self::Rta,
        Self::Ruc,
        Self::RxjPlus,
        Self::RxjMinus,
        Self::Rxr,
    ];
}

/// An action (section 4.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// This-Layer-Up.
    Tlu,
    /// This-Layer-Down.
    Tld,
    /// This-Layer-Started.
    Tls,
    /// This-Layer-Finished.
    Tlf,
    /// Initialize-Restart-Count.
    Irc,
    /// Zero-Restart-Count.
    Zrc,
    /// Send-Configure-Request.
    Scr,
    /// Send-Configure-Ack.
    Sca,
    /// Send-Configure-Nak or Send-Configure-Reject.
    Scn,
    /// Send-Terminate-Request.
    Str,
    /// Send-Terminate-Ack.
    Sta,
    /// Send-Code-Reject.
    Scj,
    /// Send-Echo-Reply.
    Ser,
}

/// What happens in `state` at `event`: the actions in order and the new state. `None` where the
/// table has a dash: an event that cannot occur; no transition is taken (section 4.4).
pub fn transition(state: State, event: Event) -> Option<(&'static [Action], State)> {
    use self::Action::*;
    use self::Event::*;
    use self::State::*;
    let result: (&'static [Action], State) = match (event, state) {
        (Up, Initial) => (&[], Closed),
        (Up, Starting) => (&[Irc, Scr], ReqSent),
        (Up, Closed | Stopped | Closing | Stopping | ReqSent | AckRcvd | AckSent | Opened) => {
            return None;
        }

        (Down, Initial | Starting) => return None,
        (Down, Closed | Closing) => (&[], Initial),
        (Down, Stopped) => (&[Tls], Starting),
        (Down, Stopping | ReqSent | AckRcvd | AckSent) => (&[], Starting),
        (Down, Opened) => (&[Tld], Starting),

        (Open, Initial) => (&[Tls], Starting),
        (Open, Closed) => (&[Irc, Scr], ReqSent),
        (Open, Closing) => (&[], Stopping),
        (Open, Starting | Stopped | Stopping | ReqSent | AckRcvd | AckSent | Opened) => {
            (&[], state)
        }

        (Close, Initial | Closed | Closing) => (&[], state),
        (Close, Starting) => (&[Tlf], Initial),
        (Close, Stopped) => (&[], Closed),
        (Close, Stopping) => (&[], Closing),
        (Close, ReqSent | AckRcvd | AckSent) => (&[Irc, Str], Closing),
        (Close, Opened) => (&[Tld, Irc, Str], Closing),

        (TimeoutPlus, Closing | Stopping) => (&[Str], state),
        (TimeoutPlus, ReqSent | AckRcvd) => (&[Scr], ReqSent),
        (TimeoutPlus, AckSent) => (&[Scr], AckSent),
        (TimeoutMinus, Closing) => (&[Tlf], Closed),
        (TimeoutMinus, Stopping | ReqSent | AckRcvd | AckSent) => (&[Tlf], Stopped),
        (TimeoutPlus | TimeoutMinus, Initial | Starting | Closed | Stopped | Opened) => {
            return None;
        }

        (
            RcrPlus | RcrMinus | Rca | Rcn | Rtr | Rta | Ruc | RxjPlus | RxjMinus | Rxr,
            Initial | Starting,
        ) => return None,

        (RcrPlus | RcrMinus, Closed) => (&[Sta], Closed),
        (RcrPlus | RcrMinus, Closing | Stopping) => (&[], state),
        (RcrPlus, Stopped) => (&[Irc, Scr, Sca], AckSent),
        (RcrPlus, ReqSent | AckSent) => (&[Sca], AckSent),
        (RcrPlus, AckRcvd) => (&[Sca, Tlu], Opened),
        (RcrPlus, Opened) => (&[Tld, Scr, Sca], AckSent),
        (RcrMinus, Stopped) => (&[Irc, Scr, Scn], ReqSent),
        (RcrMinus, ReqSent | AckSent) => (&[Scn], ReqSent),
        (RcrMinus, AckRcvd) => (&[Scn], AckRcvd),
        (RcrMinus, Opened) => (&[Tld, Scr, Scn], ReqSent),

        (Rca | Rcn, Closed | Stopped) => (&[Sta], state),
        (Rca | Rcn, Closing | Stopping) => (&[], state),
        (Rca, ReqSent) => (&[Irc], AckRcvd),
        (Rca, AckSent) => (&[Irc, Tlu], Opened),
        (Rcn, ReqSent) => (&[Irc, Scr], ReqSent),
        (Rcn, AckSent) => (&[Irc, Scr], AckSent),
        (Rca | Rcn, AckRcvd) => (&[Scr], ReqSent),
        (Rca | Rcn, Opened) => (&[Tld, Scr], ReqSent),

        (Rtr, Closed | Stopped | Closing | Stopping) => (&[Sta], state),
        (Rtr, ReqSent | AckRcvd | AckSent) => (&[Sta], ReqSent),
        (Rtr, Opened) => (&[Tld, Zrc, Sta], Stopping),

        (Rta, Closed | Stopped) => (&[], state),
        (Rta, Closing) => (&[Tlf], Closed),
        (Rta, Stopping) => (&[Tlf], Stopped),
        (Rta, ReqSent | AckRcvd) => (&[], ReqSent),
        (Rta, AckSent) => (&[], AckSent),
        (Rta, Opened) => (&[Tld, Scr], ReqSent),

        (Ruc, Closed | Stopped | Closing | Stopping | ReqSent | AckRcvd | AckSent | Opened) => {
            (&[Scj], state)
        }

        (RxjPlus, Closed | Stopped | Closing | Stopping | ReqSent | AckSent | Opened) => {
            (&[], state)
        }
        (RxjPlus, AckRcvd) => (&[], ReqSent),
        (RxjMinus, Closed | Closing) => (&[Tlf], Closed),
        (RxjMinus, Stopped | Stopping | ReqSent | AckRcvd | AckSent) => (&[Tlf], Stopped),
        (RxjMinus, Opened) => (&[Tld, Irc, Str], Stopping),

        (Rxr, Closed | Stopped | Closing | Stopping | ReqSent | AckRcvd | AckSent) => (&[], state),
        (Rxr, Opened) => (&[Ser], Opened),
    };
    Some(result)
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::*;

    #[test]
    fn table_is_that_of_the_rfc() {
        let mut table = String::new();
        for event in Event::ALL {
            writeln!(table, "{event:?}").unwrap();
            for state in State::ALL {
                let cell = match transition(state, event) {
                    None => "-".to_owned(),
                    Some((actions, next)) => {
                        let mut words: Vec<String> =
                            actions.iter().map(|a| format!("{a:?}").to_lowercase()).collect();
                        words.push(format!("/{next:?}"));
                        words.join(" ")
                    }
                };
                writeln!(table, "  {state:<9} {cell}", state = format!("{state:?}")).unwrap();
            }
        }
        insta::assert_snapshot!(table);
    }

    /// What `Machine` relies on: it reports one layer signal per event.
    #[test]
    fn a_transition_has_at_most_one_layer_action() {
        for (state, event) in all_pairs() {
            let Some((actions, _)) = transition(state, event) else { continue };
            let layer = actions
                .iter()
                .filter(|a| matches!(a, Action::Tlu | Action::Tld | Action::Tls | Action::Tlf));
            assert!(layer.count() <= 1, "{state:?} {event:?}");
        }
    }

    #[test]
    fn this_layer_up_and_down_bracket_the_opened_state() {
        for (state, event) in all_pairs() {
            let Some((actions, next)) = transition(state, event) else { continue };
            let enters = state != State::Opened && next == State::Opened;
            let leaves = state == State::Opened && next != State::Opened;
            assert_eq!(actions.contains(&Action::Tlu), enters, "{state:?} {event:?}");
            assert_eq!(actions.contains(&Action::Tld), leaves, "{state:?} {event:?}");
        }
    }

    #[test]
    fn timeouts_occur_in_the_timed_states_only() {
        for state in State::ALL {
            for event in [Event::TimeoutPlus, Event::TimeoutMinus] {
                assert_eq!(transition(state, event).is_some(), state.is_timed(), "{state:?}");
            }
        }
    }

    /// A state in which the timer runs is entered from one in which it does not only by an action
    /// that starts it.
    #[test]
    fn the_timer_is_started_on_the_way_into_timed_states() {
        let starts = [Action::Scr, Action::Str, Action::Zrc];
        for (state, event) in all_pairs() {
            let Some((actions, next)) = transition(state, event) else { continue };
            if !state.is_timed() && next.is_timed() {
                assert!(actions.iter().any(|a| starts.contains(a)), "{state:?} {event:?}");
            }
        }
    }

    fn all_pairs() -> impl Iterator<Item = (State, Event)> {
        State::ALL.into_iter().flat_map(|s| Event::ALL.into_iter().map(move |e| (s, e)))
    }
}
