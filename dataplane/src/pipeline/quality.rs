//! Echo-Requests of our own (RFC 1661 section 5.8), by which the quality of sessions is measured.
//!
//! A request carries in its data when it was sent, its number, and a tag that nobody else can make: the
//! worker that gets the reply needs to know nothing else, and a subscriber can make no latency up. A
//! reply without that data, as its peer leaves it out or puts something else there, is an answer all
//! the same, by its identifier: but nobody knows how long it took.

use zerocopy::network_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::encap::Framing;
use super::pacer::Pacer;
use super::{Context, Pipeline};
use crate::frame::Frame;
use crate::quality::Settings;
use crate::tables::quality::{Answer, Record};
use crate::tables::{Decap, Guard, Tables};
use crate::verdict::{DropReason, Verdict};
use crate::wire::checksum::Sum;
use crate::wire::ppp::{self, Echo};

/// The most requests made by one [`Pipeline::monitor`]: a moment's work beside that of a batch.
pub const ECHOES_MAX: usize = super::BATCH_MAX / 2;

/// The most session indices looked at for them.
const LOOKS_MAX: u32 = 256;

/// Identifiers of workers' requests have this bit, those of control have not: by it the steering
/// program (LCP_ECHO_WORKERS) tells whom a reply is for.
const IDENTIFIER_WORKERS: u8 = 0x80;

/// An Echo-Request of ours.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Request {
    echo: Echo,
    /// When it was sent, in the workers' time, nanoseconds.
    sent_at: U64,
    /// Its number in its session.
    sequence: U32,
    /// Of the session, the number and the time.
    tag: U32,
}

/// One worker's share of the monitoring.
#[derive(Debug)]
pub(super) struct Monitor {
    settings: Settings,
    pacer: Pacer,
}

impl Monitor {
    /// `None` where nothing is monitored.
    pub(super) fn new(tables: &Tables, worker: usize) -> Option<Self> {
        let settings = tables.limits().quality.filter(|settings| settings.is_valid())?;
        let interval = u64::from(settings.interval_ms) * 1_000_000;
        let pacer = Pacer::new(interval, worker, tables.limits().workers);
        Some(Self { settings, pacer })
    }
}

impl Pipeline {
    /// Whether [`Pipeline::monitor`] is to be called, as often as frames are looked for.
    #[inline]
    pub fn is_monitoring(&self) -> bool {
        self.monitor.is_some()
    }

    /// How long [`Pipeline::monitor`] has nothing to do, by the time that was set last, nanoseconds.
    pub fn monitor_wait(&self) -> Option<u64> {
        self.monitor.as_ref().map(|monitor| monitor.pacer.wait(self.special.now))
    }

    /// Makes the Echo-Requests that are due, at most [`ECHOES_MAX`], each in a frame of `take`, and
    /// puts them with their verdicts behind `frames` and `verdicts`. Returns whether more may be due.
    /// Counts as [`Pipeline::process`] does, but nothing of a session's traffic.
    pub fn monitor(
        &mut self,
        guard: &Guard<'_>,
        mut take: impl FnMut() -> Option<Frame>,
        frames: &mut Vec<Frame>,
        verdicts: &mut Vec<Verdict>,
    ) -> bool {
        let Some(monitor) = &mut self.monitor else { return false };
        let mut context = Context {
            guard,
            identification: &mut self.identification,
            special: &mut self.special,
            shard: self.tables.shard(self.worker),
        };
        let patience = monitor.settings.patience();
        monitor.pacer.advance(context.special.now, guard.quality().end());
        let (due, more) = find_due(&mut monitor.pacer, guard);
        for (record, slot) in due.into_iter().flatten() {
            // Without a frame nothing is sent, and nothing lost by it.
            let Some(mut frame) = take() else { return false };
            context.shard.count_originated();
            let request = context.request(slot, record.send(patience));
            frame.reset(guard.tables().host_port(), request.as_bytes());
            let sent = context.send_request(&mut frame, slot);
            verdicts.push(sent.unwrap_or_else(|reason| context.refuse(&mut frame, reason)));
            frames.push(frame);
        }
        more
    }
}

/// The records and slots of the sessions that are due, and whether there may be more of them. In
/// stages, as each session is a cache miss or three: what one reads, the one before has asked for.
fn find_due<'a>(
    pacer: &mut Pacer,
    guard: &'a Guard<'_>,
) -> ([Option<(&'a Record, u32)>; ECHOES_MAX], bool) {
    let table = guard.quality();
    let mut looks = LOOKS_MAX;
    let indices = [(); ECHOES_MAX].map(|()| pacer.poll(&mut looks));
    indices.iter().flatten().for_each(|index| table.prefetch(*index));
    let due = indices.map(|index| {
        let record = table.record(index?)?;
        let slot = record.slot()?;
        guard.prefetch_decap(slot);
        guard.prefetch_encap(slot);
        Some((record, slot))
    });
    // Not all places taken: everything that is due was looked at, or looks ran out.
    (due, looks == 0 || indices.iter().all(Option::is_some))
}

impl Context<'_> {
    fn request(&self, slot: u32, sequence: u32) -> Request {
        let session = self.guard.decap(slot);
        let sent_at = self.special.now;
        let echo = Echo {
            code: ppp::ECHO_REQUEST,
            // Another one each time, as the data is another one.
            identifier: IDENTIFIER_WORKERS | sequence as u8,
            length: U16::new(size_of::<Request>() as u16),
            magic: session.magic,
        };
        Request {
            echo,
            sent_at: U64::new(sent_at),
            sequence: U32::new(sequence),
            tag: U32::new(self.guard.quality().tag(session.key, sequence, sent_at)),
        }
    }

    /// As the subscriber's own packets go, to meet what they meet.
    fn send_request(&mut self, frame: &mut Frame, slot: u32) -> Result<Verdict, DropReason> {
        let way = self.way_to_peer(slot, |_| Framing::whole(ppp::LCP))?;
        let sum = Sum::default().octets(frame.octets());
        let headers = way.session().outer_headers;
        let outer = (headers.traffic_class(0), headers.no_checksum());
        self.encapsulate(frame, &way, sum, outer)
    }

    /// An Echo-Reply of a session, proven to be as long as it says. What its magic number is, nobody
    /// minds: some peers send ours back. A looped link sends back requests, not replies.
    pub(super) fn echo_reply(
        &mut self,
        session: &Decap,
        packet: &[u8],
    ) -> Result<Verdict, DropReason> {
        let table = self.guard.quality();
        let settings = table.settings().ok_or(DropReason::EchoReply)?;
        let record = table.record(session.index).ok_or(DropReason::EchoReply)?;
        let (echo, _) = Echo::ref_from_prefix(packet).map_err(|_| DropReason::EchoMalformed)?;
        if record.slot().is_none() || echo.identifier & IDENTIFIER_WORKERS == 0 {
            return Err(DropReason::EchoReply);
        }
        let patience = settings.patience();
        let ours = Request::ref_from_prefix(packet).ok().and_then(|(request, _)| {
            let (sequence, sent_at) = (request.sequence.get(), request.sent_at.get());
            let tag = table.tag(session.key, sequence, sent_at);
            (request.tag.get() == tag).then_some((sequence, sent_at))
        });
        let answer = match ours {
            Some((sequence, sent_at)) => {
                let microseconds = self.special.now.saturating_sub(sent_at) / 1000;
                if microseconds > u64::from(settings.loss_after_ms) * 1000 {
                    return Err(DropReason::EchoLate);
                }
                record.answer(sequence, patience, u32::try_from(microseconds).ok())
            }
            None => {
                let sequence = record.sequence_of(echo.identifier, !IDENTIFIER_WORKERS);
                record.answer(sequence, patience, None)
            }
        };
        match answer {
            Answer::First => {
                self.shard.count_measured();
                Ok(Verdict::Measured)
            }
            Answer::Again => Err(DropReason::EchoReply),
            Answer::Late => Err(DropReason::EchoLate),
        }
    }
}
