//! The automaton of RFC 1661 section 4 at work: one instance for LCP and one for each NCP.
//!
//! [`automaton::transition`] decides, this carries out: it sends the packets, runs the Restart timer
//! and the three counters of section 4.6, and matches answers to requests. What is asked for and
//! granted is left to a [`Policy`].

use rand::RngCore;

use super::automaton::{self, Action, Event, State};
use super::frame::{PACKET_HEADER_OCTETS, Packet, code};
use super::option::{OptionList, Options, Reply};
use super::policy::Policy;
use super::transmit::{Context, truncate};
use super::{Config, Discard, DownCause};
use crate::time::Time;

mod prospects;

/// What the layers above and below have to know (section 4.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// This-Layer-Up.
    Up,
    /// This-Layer-Down.
    Down,
    /// This-Layer-Started.
    Started,
    /// This-Layer-Finished.
    Finished,
}

/// Why a packet came to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// It had no effect.
    Discard(Discard),
    /// The negotiation failed for good; the automaton was not told.
    Fail(DownCause),
}

impl From<DownCause> for Stop {
    fn from(cause: DownCause) -> Self {
        Self::Fail(cause)
    }
}

/// The packet that an action answers, and the verdict on it where it is a Configure-Request.
#[derive(Clone, Copy, Default)]
struct Received<'a> {
    packet: Option<&'a Packet<'a>>,
    reply: Option<&'a Reply>,
}

/// One control protocol.
#[derive(Debug)]
pub struct Machine<P> {
    /// What is asked for and granted.
    pub policy: P,
    restart_at: Option<Time>,
    restart_count: u32,
    /// Configure-Naks sent without a Configure-Ack, for Max-Failure.
    naks_sent: u32,
    /// Configure-Naks and -Rejects sent without a Configure-Ack.
    refusals_sent: u32,
    /// Configure-Naks and -Rejects received without a Configure-Ack.
    refusals: u32,
    state: State,
    /// The identifier used last.
    identifier: u8,
    /// The identifier of the Configure-Request or Terminate-Request sent last.
    request_identifier: u8,
    /// No valid answer to our last Configure-Request has come yet.
    unanswered: bool,
    /// The last Configure-Request was sent once more at the sight of the peer's.
    repeated: bool,
    /// The last negotiation came to nothing, by silence or by a catastrophic reject, or this one is
    /// only a question of whether the peer is still deaf.
    failed: bool,
    /// The peer has negotiated since the negotiation began here.
    heard: bool,
    /// A Configure-Request of the peer was acknowledged, and nothing has said since that it is over:
    /// with an answer to ours that was lost, the peer is in Opened.
    granted: bool,
}

impl<P: Policy> Machine<P> {
    /// A machine in the Initial state.
    pub fn new(policy: P) -> Self {
        Self {
            policy,
            restart_at: None,
            restart_count: 0,
            naks_sent: 0,
            refusals_sent: 0,
            refusals: 0,
            state: State::Initial,
            identifier: 0,
            request_identifier: 0,
            unanswered: false,
            repeated: false,
            failed: false,
            heard: false,
            granted: false,
        }
    }

    /// The automaton's state.
    pub fn state(&self) -> State {
        self.state
    }

    /// Whether there is somebody above that wants this protocol up, and a layer below that is.
    pub fn is_running(&self) -> bool {
        !matches!(self.state, State::Initial | State::Starting)
    }

    /// Takes over what somebody else has negotiated with the peer: open from the beginning.
    pub fn adopt(&mut self, config: &Config, policy: P) {
        self.policy = policy;
        self.state = State::Opened;
        self.restart_count = config.max_configure;
    }

    /// When [`Machine::handle_timeout`] wants to be called.
    pub fn poll_timeout(&self) -> Option<Time> {
        self.restart_at
    }

    /// An identifier not used for the packets just before.
    pub fn next_identifier(&mut self) -> u8 {
        self.identifier = self.identifier.wrapping_add(1);
        self.identifier
    }

    /// The Restart timer may have run out.
    pub fn handle_timeout(&mut self, context: &mut Context<'_>) -> Option<Signal> {
        if self.restart_at.is_none_or(|at| at > context.now) {
            return None;
        }
        if self.state == State::Stopped {
            self.begin_anew(context);
            self.failed = true;
            return None;
        }
        let event = if self.restart_count > 0 { Event::TimeoutPlus } else { Event::TimeoutMinus };
        self.handle_event(context, event)
    }

    /// An event that is not the reception of a packet.
    pub fn handle_event(&mut self, context: &mut Context<'_>, event: Event) -> Option<Signal> {
        self.apply(context, event, Received::default())
    }

    /// A packet for which the table has `event`: the codes that only LCP has, and rejects.
    pub fn handle_packet_event(
        &mut self,
        context: &mut Context<'_>,
        event: Event,
        packet: &Packet<'_>,
    ) -> Option<Signal> {
        self.apply(context, event, Received { packet: Some(packet), reply: None })
    }

    /// Our request has just gone out, and what comes next was received before that: it says nothing
    /// about a loss, and nothing needs repeating.
    pub fn suppress_repeat(&mut self) {
        self.repeated = true;
    }

    /// A packet with one of the codes that all control protocols share, or an unknown one.
    ///
    /// # Errors
    /// When the packet has no effect, or ends the negotiation.
    pub fn handle(
        &mut self,
        context: &mut Context<'_>,
        packet: &Packet<'_>,
        rng: &mut dyn RngCore,
    ) -> Result<Option<Signal>, Stop> {
        if !self.is_running() {
            return Err(Stop::Discard(Discard::Phase));
        }
        let result = self.on_packet(context, packet, rng);
        self.heard |= packet.code <= code::CONFIGURE_REJECT;
        result
    }

    fn on_packet(
        &mut self,
        context: &mut Context<'_>,
        packet: &Packet<'_>,
        rng: &mut dyn RngCore,
    ) -> Result<Option<Signal>, Stop> {
        let event = match packet.code {
            code::CONFIGURE_REQUEST => return self.on_configure_request(context, packet, rng),
            code::CONFIGURE_ACK => self.on_configure_ack(context.config, packet)?,
            code::CONFIGURE_NAK => self.on_configure_nak(context.config, packet, rng)?,
            code::CONFIGURE_REJECT => self.on_configure_reject(context.config, packet)?,
            code::TERMINATE_REQUEST => Event::Rtr,
            code::TERMINATE_ACK => Event::Rta,
            code::CODE_REJECT => {
                // The codes of the automaton itself cannot be done without; the rest can.
                let rejected = packet.data.first().ok_or(Stop::Discard(Discard::Content))?;
                match *rejected {
                    code::CONFIGURE_REQUEST..=code::CODE_REJECT => Event::RxjMinus,
                    rejected => {
                        self.policy.on_code_reject(rejected);
                        Event::RxjPlus
                    }
                }
            }
            _ => Event::Ruc,
        };
        Ok(self.handle_packet_event(context, event, packet))
    }

    fn on_configure_request(
        &mut self,
        context: &mut Context<'_>,
        packet: &Packet<'_>,
        rng: &mut dyn RngCore,
    ) -> Result<Option<Signal>, Stop> {
        let options = Options::parse(packet.data).map_err(|_| Stop::Discard(Discard::Content))?;
        if matches!(self.state, State::Closed | State::Closing | State::Stopping) {
            // Here good and bad requests are treated alike (section 4.1), and nothing is granted.
            return Ok(self.handle_packet_event(context, Event::RcrPlus, packet));
        }
        let naks_exhausted = self.naks_sent >= context.config.max_failure;
        let reply = self.policy.judge(context.config, &options, naks_exhausted, rng)?;
        if reply != Reply::Ack {
            self.count_refusal_sent(context.config)?;
        }
        self.repeat_request(context);
        let event = if reply == Reply::Ack { Event::RcrPlus } else { Event::RcrMinus };
        Ok(self.apply(context, event, Received { packet: Some(packet), reply: Some(&reply) }))
    }

    /// A peer that speaks while our request is unanswered may have missed it: its end came up later
    /// than ours. Waiting for the Restart timer would cost the user seconds, so the request is sent
    /// again at once.
    ///
    /// Two things keep this from doing harm where the request was not lost but has crossed the
    /// peer's. It is done only while no request of the peer was acknowledged, and before one is: the
    /// peer cannot be in Opened yet, where a Configure-Request would tear the link down again, and
    /// two ends that both do this would never come to rest. And each request is repeated once.
    fn repeat_request(&mut self, context: &mut Context<'_>) {
        if self.state == State::ReqSent && self.unanswered && !self.repeated {
            self.repeated = true;
            self.send_configure_request(context);
        }
    }

    /// An answer counts when it is the first to our last request (sections 5.2 to 5.4). Where none
    /// is awaited because nothing is negotiated, the table decides.
    fn is_answer(&self, packet: &Packet<'_>) -> Result<bool, Stop> {
        if !self.state.is_negotiating() && self.state != State::Opened {
            return Ok(false);
        }
        if self.unanswered && packet.identifier == self.request_identifier {
            Ok(true)
        } else {
            Err(Stop::Discard(Discard::Unsolicited))
        }
    }

    fn on_configure_ack(&mut self, config: &Config, packet: &Packet<'_>) -> Result<Event, Stop> {
        if self.is_answer(packet)? {
            if packet.data != self.policy.request(config).octets() {
                return Err(Stop::Discard(Discard::Content));
            }
            if !self.policy.is_complete() {
                return Err(Stop::Fail(DownCause::NegotiationFailed("our options")));
            }
            self.unanswered = false;
            self.refusals = 0;
        }
        Ok(Event::Rca)
    }

    fn on_configure_nak(
        &mut self,
        config: &Config,
        packet: &Packet<'_>,
        rng: &mut dyn RngCore,
    ) -> Result<Event, Stop> {
        if self.is_answer(packet)? {
            let options =
                Options::parse(packet.data).map_err(|_| Stop::Discard(Discard::Content))?;
            self.count_refusal(config)?;
            // Of several values for one option a single one is to be selected (section 5.3).
            for option in options.first_of_each() {
                self.policy.on_nak(config, option, rng)?;
            }
        }
        Ok(Event::Rcn)
    }

    fn on_configure_reject(&mut self, config: &Config, packet: &Packet<'_>) -> Result<Event, Stop> {
        if self.is_answer(packet)? {
            let options =
                Options::parse(packet.data).map_err(|_| Stop::Discard(Discard::Content))?;
            let request = self.policy.request(config);
            if !is_part_of(&options, &request) {
                return Err(Stop::Discard(Discard::Content));
            }
            self.count_refusal(config)?;
            for option in options.iter() {
                self.policy.on_reject(option)?;
            }
        }
        Ok(Event::Rcn)
    }

    /// Refusals restart the counter of the Restart timer (section 4.1), so they need a bound of their
    /// own (section 4.5): as many as requests may go without an answer.
    fn count_refusal(&mut self, config: &Config) -> Result<(), Stop> {
        self.unanswered = false;
        self.refusals += 1;
        if self.refusals > config.max_configure {
            return Err(Stop::Fail(DownCause::NegotiationFailed("our options")));
        }
        Ok(())
    }

    /// A peer that insists would go on for ever: each Configure-Ack of it restarts our counter.
    /// Lost replies look like that too, so it is left as many tries as requests without an answer,
    /// beyond the Naks that it is granted.
    fn count_refusal_sent(&mut self, config: &Config) -> Result<(), Stop> {
        self.refusals_sent = self.refusals_sent.saturating_add(1);
        if self.refusals_sent > config.max_failure.saturating_add(config.max_configure) {
            return Err(Stop::Fail(DownCause::NegotiationFailed("the peer's options")));
        }
        Ok(())
    }

    fn apply(
        &mut self,
        context: &mut Context<'_>,
        event: Event,
        received: Received<'_>,
    ) -> Option<Signal> {
        let before = self.state;
        let (actions, next) = automaton::transition(before, event)?;
        self.state = next;
        let mut signal = None;
        for action in actions {
            match action {
                Action::Tlu => signal = Some(Signal::Up),
                Action::Tld => signal = Some(Signal::Down),
                Action::Tls => signal = Some(Signal::Started),
                Action::Tlf => signal = Some(Signal::Finished),
                Action::Irc => {
                    self.restart_count = if actions.contains(&Action::Str) {
                        context.config.max_terminate
                    } else {
                        context.config.max_configure
                    };
                }
                Action::Zrc => {
                    self.restart_count = 0;
                    self.start_timer(context);
                }
                Action::Scr => {
                    self.renew_request(context.config, before);
                    self.send_configure_request(context);
                }
                Action::Str => {
                    if event != Event::TimeoutPlus {
                        self.request_identifier = self.next_identifier();
                    }
                    self.restart_count = self.restart_count.saturating_sub(1);
                    self.start_timer(context);
                    let identifier = self.request_identifier;
                    context.transmit.push(P::PROTOCOL, code::TERMINATE_REQUEST, identifier, &[]);
                }
                Action::Sca | Action::Scn | Action::Sta | Action::Scj | Action::Ser => {
                    self.answer(context, *action, received);
                }
            }
        }
        // Not a request that is refused: it may be an old one that was late.
        if matches!(event, Event::Down | Event::Rtr | Event::Rta | Event::RxjMinus) {
            self.granted = false;
        }
        // Stopped has no Restart timer, but maybe a pause.
        let pauses = (before, next) == (State::Stopped, State::Stopped) && self.granted;
        if !next.is_timed() && !pauses {
            self.restart_at = None;
        }
        if !next.is_negotiating() {
            self.unanswered = false;
        }
        self.note_failure(event, before, next);
        signal
    }

    /// Prepares the next Configure-Request: a retransmission keeps its identifier, everything else
    /// gets a new one (section 5.1), and a negotiation that begins anew forgets the last one.
    fn renew_request(&mut self, config: &Config, before: State) {
        if !before.is_negotiating() {
            self.policy.reset(config);
            self.naks_sent = 0;
            self.refusals_sent = 0;
            self.refusals = 0;
            self.failed = false;
            self.heard = false;
        }
        if !self.unanswered {
            self.request_identifier = self.next_identifier();
            self.unanswered = true;
            self.repeated = false;
        }
    }

    fn send_configure_request(&mut self, context: &mut Context<'_>) {
        self.restart_count = self.restart_count.saturating_sub(1);
        self.start_timer(context);
        let options = self.policy.request(context.config);
        let identifier = self.request_identifier;
        let parts = [options.octets()];
        context.transmit.push(P::PROTOCOL, code::CONFIGURE_REQUEST, identifier, &parts);
    }

    fn answer(&mut self, context: &mut Context<'_>, action: Action, received: Received<'_>) {
        let Some(packet) = received.packet else { return };
        let identifier = packet.identifier;
        let limit = usize::from(context.peer_mru).saturating_sub(PACKET_HEADER_OCTETS);
        let transmit = &mut *context.transmit;
        match (action, received.reply) {
            (Action::Sca, _) => {
                self.naks_sent = 0;
                self.refusals_sent = 0;
                self.granted = true;
                transmit.push(P::PROTOCOL, code::CONFIGURE_ACK, identifier, &[packet.data]);
            }
            (Action::Scn, Some(Reply::Nak(options))) => {
                self.naks_sent = self.naks_sent.saturating_add(1);
                transmit.push(P::PROTOCOL, code::CONFIGURE_NAK, identifier, &[options.octets()]);
            }
            (Action::Scn, Some(Reply::Reject(options))) => {
                let parts = [options.octets()];
                transmit.push(P::PROTOCOL, code::CONFIGURE_REJECT, identifier, &parts);
            }
            (Action::Sta, _) => {
                transmit.push(P::PROTOCOL, code::TERMINATE_ACK, identifier, &[]);
            }
            (Action::Scj, _) => {
                let rejected = truncate(packet.octets, limit);
                let identifier = self.next_identifier();
                transmit.push(P::PROTOCOL, code::CODE_REJECT, identifier, &[rejected]);
            }
            (Action::Ser, _)
                if packet.code == code::ECHO_REQUEST && self.policy.may_send(code::ECHO_REPLY) =>
            {
                let data = truncate(packet.data.get(4..).unwrap_or(&[]), limit.saturating_sub(4));
                let magic = self.policy.magic().to_be_bytes();
                transmit.push(P::PROTOCOL, code::ECHO_REPLY, identifier, &[&magic, data]);
            }
            _ => {}
        }
    }

    fn start_timer(&mut self, context: &Context<'_>) {
        self.restart_at = Some(context.now + context.config.restart_timer);
    }
}

/// Whether every rejected option is one that was asked for (section 5.4).
fn is_part_of(rejected: &Options<'_>, request: &OptionList) -> bool {
    let Ok(request) = Options::parse(request.octets()) else { return false };
    rejected.iter().all(|option| request.iter().any(|asked| asked == option))
}

#[cfg(test)]
mod tests;
