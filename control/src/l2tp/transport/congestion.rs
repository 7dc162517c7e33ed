//! Slow start and congestion avoidance (RFC 2661 Appendix A).

/// Messages that we have under way at most, whatever the peer offers (some say 800, docs/peers.md
/// row 16): with more, one loss costs a long retransmission for no gain in speed.
pub const SEND_WINDOW_MAX: u16 = 256;

/// How many messages may be under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Congestion {
    /// CWND.
    pub(super) window: u16,
    /// SSTHRESH.
    pub(super) threshold: u16,
    /// Acknowledgements since CWND last grew, in congestion avoidance.
    acknowledgements: u16,
    /// What the peer offers, and the largest CWND.
    pub(super) advertised: u16,
}

impl Congestion {
    pub(super) fn new(advertised: u16) -> Self {
        let advertised = advertised.clamp(1, SEND_WINDOW_MAX);
        Self { window: 1, threshold: advertised, acknowledgements: 0, advertised }
    }

    /// What the peer offers becomes known: SSTHRESH begins with it, and CWND stays below it.
    pub(super) fn advertise(&mut self, advertised: u16) {
        let Self { advertised, .. } = Self::new(advertised);
        self.window = self.window.min(advertised);
        (self.threshold, self.advertised) = (advertised, advertised);
    }

    /// An acknowledgement came, for however many messages: one more in slow start, one more for a
    /// window of them after that.
    pub(super) fn on_acknowledgement(&mut self) {
        if self.window >= self.threshold {
            self.acknowledgements += 1;
            if self.acknowledgements < self.window {
                return;
            }
        }
        self.acknowledgements = 0;
        self.window = (self.window + 1).min(self.advertised);
    }

    /// A retransmission is due.
    pub(super) fn on_loss(&mut self) {
        self.threshold = (self.window / 2).max(1);
        self.window = 1;
        self.acknowledgements = 0;
    }
}
