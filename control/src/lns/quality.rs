//! The quality of sessions: who they are, which the data plane knows by their IDs alone; and those that
//! it finds silent.
//!
//! Where the workers ask a session whether it is there, control does not ask, too: it asks the workers
//! now and then which sessions have not answered lately, and tests the links of those itself. A link
//! is given up by nobody else.

use std::net::IpAddr;
use std::time::Duration;

use xlns_dataplane::api::SessionKey;
use xlns_dataplane::quality::SessionQuality;

use super::Lns;
use crate::admin::{QualityFilter, Subject};
use crate::config::{Config, LacConfig};
use crate::l2tp::{SessionId, TunnelId};
use crate::time::Time;

/// The questions about silent sessions.
#[derive(Debug)]
pub struct Silence {
    /// From the end of one round to the beginning of the next.
    interval: Duration,
    /// Requests without an answer that are silence.
    unanswered_min: u8,
    /// When the next round begins; `None` during one.
    next: Option<Time>,
    /// From which session on the data plane is to be asked; `None` while an answer is awaited, or it
    /// is not time yet.
    due: Option<u32>,
}

impl Silence {
    /// `None` where no profile's links are tested by way of the workers.
    pub fn new(config: &Config) -> Option<Self> {
        let settings = config.quality_settings()?;
        let of_profile = |lac: &LacConfig| lac.echo_interval_seconds.filter(|_| lac.quality);
        let intervals = config.lac_profiles();
        let shortest = intervals.iter().filter_map(of_profile).filter(|seconds| *seconds > 0).min();
        let interval = Duration::from_secs(shortest?);
        let unanswered_min = u8::try_from(settings.patience() + 1).unwrap_or(u8::MAX);
        Some(Self { interval, unanswered_min, next: Some(Time::ZERO + interval), due: None })
    }

    /// When [`Silence::handle_timeout`] wants to be called.
    pub fn poll_timeout(&self) -> Option<Time> {
        self.next
    }

    /// Begins a round when it is time.
    pub fn handle_timeout(&mut self, now: Time) {
        if self.next.take_if(|at| *at <= now).is_some() {
            self.due = Some(0);
        }
    }
}

impl Lns {
    /// Which sessions the data plane is to be asked about, for [`Lns::handle_silence`]: from which one
    /// on, and how many requests they left unanswered.
    pub fn poll_silence_question(&mut self) -> Option<(u32, u8)> {
        let silence = self.silence.as_mut()?;
        let cursor = silence.due.take()?;
        Some((cursor, silence.unanswered_min))
    }

    /// Sessions that do not answer the workers, and from which one on there may be more. Without an
    /// answer of the data plane, none: it is asked again later.
    pub fn handle_silence(
        &mut self,
        now: Time,
        sessions: &[(SessionKey, SessionQuality)],
        next_cursor: Option<u32>,
    ) {
        if let Some(silence) = &mut self.silence {
            silence.due = next_cursor;
            silence.next = next_cursor.is_none().then(|| now + silence.interval);
        }
        for (key, _) in sessions {
            let entry = self.tunnels.get(&TunnelId(key.local_tunnel_id));
            let index = entry.and_then(|entry| entry.calls.get(&SessionId(key.local_session_id)));
            let Some(index) = index.copied() else { continue };
            if let Some(link) = self.calls.get_mut(index).and_then(|call| call.link_mut()) {
                link.probe(now);
                self.drive_call(now, index);
            }
        }
    }

    /// Who has the session, if it is wanted; the address is the one wanted, where that is the
    /// session's among others.
    pub fn quality_subject(&self, key: SessionKey, filter: &QualityFilter) -> Option<Subject<'_>> {
        let entry = self.tunnels.get(&TunnelId(key.local_tunnel_id))?;
        let index = entry.calls.get(&SessionId(key.local_session_id))?;
        let call = self.calls.get(*index)?;
        let wanted = |wanted: &IpAddr| super::show::has_address(call, *wanted);
        let subject = Subject {
            user: call.user.as_deref().unwrap_or(""),
            address: filter.address.filter(wanted).or_else(|| super::show::address(call)),
            lac: self.profile(entry.profile).map_or("", |lac| lac.config.name.as_str()),
            peer: entry.peer,
        };
        filter.matches(key, &subject).then_some(subject)
    }
}
