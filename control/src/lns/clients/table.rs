//! How far a client is, as a table.

/// What a client is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Nothing, until an operator wants it.
    Idle,
    /// It waits for a server that may be tried.
    Backoff,
    /// SCCRQ is sent.
    Connecting,
    /// The tunnel is up; the call is placed, or awaited from the server.
    Calling,
    /// The call is up; PPP negotiates.
    Negotiating,
    /// A network protocol is up.
    Up,
}

impl State {
    #[cfg(test)]
    const ALL: [Self; 6] =
        [Self::Idle, Self::Backoff, Self::Connecting, Self::Calling, Self::Negotiating, Self::Up];

    /// The word that `show clients` uses.
    pub fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Backoff => "backoff",
            Self::Connecting => "connecting",
            Self::Calling => "calling",
            Self::Negotiating => "negotiating",
            Self::Up => "up",
        }
    }

    /// Whether a tunnel is there or asked for.
    pub fn has_tunnel(self) -> bool {
        matches!(self, Self::Connecting | Self::Calling | Self::Negotiating | Self::Up)
    }
}

/// What happens to a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// It is time to dial.
    Dial,
    /// The control connection is up.
    TunnelUp,
    /// The call is connected.
    CallUp,
    /// The first network protocol is up.
    NetworkUp,
    /// The last network protocol is down, the link is not.
    NetworkDown,
    /// Tunnel, call or link are over, or it took too long, and there is to be another attempt.
    Failed,
    /// The same, and there is to be none.
    GaveUp,
    /// An operator wants it dialled anew.
    Clear,
    /// The process ends.
    ShutDown,
}

impl Event {
    #[cfg(test)]
    const ALL: [Self; 9] = [
        Self::Dial,
        Self::TunnelUp,
        Self::CallUp,
        Self::NetworkUp,
        Self::NetworkDown,
        Self::Failed,
        Self::GaveUp,
        Self::Clear,
        Self::ShutDown,
    ];
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Choose a server and ask it for a tunnel.
    Connect,
    /// Ask for the call, or wait for the server's.
    PlaceCall,
    /// End link, call and tunnel, whatever there is of them.
    HangUp,
    /// Count a failure of the server, and find out when which one is to be tried.
    Redial,
    /// Take every server for good again.
    Forget,
    /// Tell that it is up, and leave it alone.
    Announce,
    /// The network has to come back within the time of a set-up.
    AwaitNetwork,
    /// Wait for nothing.
    Rest,
}

/// What follows from an event, and the next state. What does not fit the state is left over from a
/// tunnel that is gone, and changes nothing.
pub fn transition(state: State, event: Event) -> (&'static [Action], State) {
    use {Action as A, Event as E, State as S};
    match (state, event) {
        (S::Idle | S::Backoff, E::Dial) => (&[A::Connect], S::Connecting),
        (S::Idle | S::Backoff, E::Clear) => (&[A::Forget, A::Connect], S::Connecting),
        (S::Idle, E::ShutDown) => (&[], S::Idle),
        (S::Backoff, E::ShutDown) => (&[A::Rest], S::Idle),

        (S::Connecting, E::TunnelUp) => (&[A::PlaceCall], S::Calling),
        (S::Calling, E::CallUp) => (&[], S::Negotiating),
        (S::Negotiating, E::NetworkUp) => (&[A::Announce], S::Up),
        (S::Up, E::NetworkDown) => (&[A::AwaitNetwork], S::Negotiating),

        (S::Connecting | S::Calling | S::Negotiating | S::Up, E::Failed) => {
            (&[A::HangUp, A::Redial], S::Backoff)
        }
        (S::Connecting | S::Calling | S::Negotiating | S::Up, E::GaveUp) => {
            (&[A::HangUp, A::Forget, A::Rest], S::Idle)
        }
        (S::Connecting | S::Calling | S::Negotiating | S::Up, E::Clear) => {
            (&[A::HangUp, A::Forget, A::Connect], S::Connecting)
        }
        (S::Connecting | S::Calling | S::Negotiating | S::Up, E::ShutDown) => {
            (&[A::HangUp, A::Rest], S::Idle)
        }

        (
            S::Idle | S::Backoff,
            E::TunnelUp | E::CallUp | E::NetworkUp | E::NetworkDown | E::Failed | E::GaveUp,
        ) => (&[], state),
        (S::Connecting, E::Dial | E::CallUp | E::NetworkUp | E::NetworkDown) => (&[], state),
        (S::Calling, E::Dial | E::TunnelUp | E::NetworkUp | E::NetworkDown) => (&[], state),
        (S::Negotiating, E::Dial | E::TunnelUp | E::CallUp | E::NetworkDown) => (&[], state),
        (S::Up, E::Dial | E::TunnelUp | E::CallUp | E::NetworkUp) => (&[], state),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table() {
        let mut table = String::new();
        for state in State::ALL {
            table += &format!("{state:?}\n");
            for event in Event::ALL {
                let (actions, next) = transition(state, event);
                if !actions.is_empty() || next != state {
                    table += &format!("  {event:?}: {actions:?} -> {next:?}\n");
                }
            }
        }
        insta::assert_snapshot!(table);
    }

    #[test]
    fn whoever_leaves_a_tunnel_hangs_up_first() {
        for state in State::ALL {
            for event in Event::ALL {
                let (actions, next) = transition(state, event);
                let connects = actions.contains(&Action::Connect);
                if state.has_tunnel() && (connects || !next.has_tunnel()) {
                    assert_eq!(actions[0], Action::HangUp, "{state:?} {event:?}");
                }
                assert_eq!(
                    next.has_tunnel() && !state.has_tunnel(),
                    connects && !state.has_tunnel()
                );
            }
        }
    }
}
