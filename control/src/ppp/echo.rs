//! Whether the peer is still there: LCP Echo-Requests at an interval (RFC 1661 section 5.8). For links
//! over which nothing else watches; or else, for the time from which it has found the peer silent.

use super::frame::{code, protocol};
use super::transmit::Context;
use crate::time::Time;

/// Identifiers of control's requests are below the workers', whose replies the steering program tells
/// apart by it.
const IDENTIFIER_MASK: u8 = 0x7f;

/// What is remembered of the Echo-Requests of one link.
#[derive(Debug, Default)]
pub struct Echo {
    /// When the next is due.
    at: Option<Time>,
    /// Sent since the last reply.
    unanswered: u32,
    /// Of the one sent last; each has one of its own.
    identifier: u8,
}

impl Echo {
    /// LCP is open.
    pub fn start(&mut self, context: &Context<'_>) {
        self.unanswered = 0;
        let interval = context.config.echo_interval.filter(|_| !context.config.echo_when_probed);
        self.at = interval.map(|interval| context.now + interval);
    }

    /// Somebody else has found the peer silent: requests are sent from now on.
    pub fn probe(&mut self, context: &Context<'_>) {
        if self.at.is_none() && context.config.echo_interval.is_some() {
            self.unanswered = 0;
            self.at = Some(context.now);
        }
    }

    /// LCP is open no more.
    pub fn stop(&mut self) {
        self.at = None;
    }

    /// When [`Echo::handle_timeout`] wants to be called.
    pub fn poll_timeout(&self) -> Option<Time> {
        self.at
    }

    /// Sends a request when one is due. Whether the peer is to be given up instead.
    pub fn handle_timeout(&mut self, context: &mut Context<'_>, magic: u32) -> bool {
        let Some(interval) = context.config.echo_interval else { return false };
        if self.at.is_none_or(|at| at > context.now) {
            return false;
        }
        if self.unanswered >= context.config.echo_failures.max(1) {
            return true;
        }
        self.unanswered += 1;
        self.identifier = self.identifier.wrapping_add(1) & IDENTIFIER_MASK;
        self.at = Some(context.now + interval);
        let parts: [&[u8]; 1] = [&magic.to_be_bytes()];
        context.transmit.push(protocol::LCP, code::ECHO_REQUEST, self.identifier, &parts);
        false
    }

    /// A reply came; one to an earlier request is as good as one to the last.
    pub fn handle_reply(&mut self, context: &Context<'_>, identifier: u8) -> bool {
        let age = self.identifier.wrapping_sub(identifier) & IDENTIFIER_MASK;
        let asked = identifier <= IDENTIFIER_MASK && u32::from(age) < self.unanswered;
        if asked {
            self.unanswered = 0;
            if context.config.echo_when_probed {
                self.at = None;
            }
        }
        asked
    }
}
