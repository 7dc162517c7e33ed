//! What workers know of the quality of sessions: a line for each session index, written as Echo-Requests
//! leave and replies come.
//!
//! The worker that sends and the one that the reply reaches may be two: what they share is changed word
//! by word, and a request is found again by what it carries, not by what somebody remembers. All of the
//! session's record is in one cache line.

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::sync::atomic::{
    AtomicU32, AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};

use zerocopy::FromBytes;

use super::epoch::arena::Arena;
use crate::quality::{CLASSES, HALF_LIFE, Recent, SessionQuality, Settings, class_of};

/// The records, by session index. Empty where nothing is monitored.
#[derive(Debug)]
pub struct QualityTable {
    settings: Option<Settings>,
    records: Arena<Record>,
    /// Indices from here on were never used.
    end: AtomicU32,
    /// Makes tags that only this process can make.
    tags: RandomState,
}

impl QualityTable {
    pub(super) fn new(settings: Option<Settings>, indices: u32) -> io::Result<Self> {
        let settings = settings.filter(|settings| settings.is_valid());
        let count = if settings.is_some() { indices as usize } else { 0 };
        let (end, tags) = (AtomicU32::new(0), RandomState::new());
        Ok(Self { settings, records: Arena::new(count)?, end, tags })
    }

    /// How sessions are monitored; `None`: they are not.
    #[inline]
    pub fn settings(&self) -> Option<Settings> {
        self.settings
    }

    /// Session indices that may be monitored are below it.
    #[inline]
    pub(crate) fn end(&self) -> u32 {
        self.end.load(Relaxed)
    }

    /// The record of the session with this index; `None` where nothing is monitored.
    #[inline]
    pub(crate) fn record(&self, index: u32) -> Option<&Record> {
        self.records.get(index as usize)
    }

    /// Asks the CPU for a record.
    #[inline]
    pub(crate) fn prefetch(&self, index: u32) {
        self.records.prefetch(index as usize);
    }

    /// What shows that a request is ours: of this session, with this number, sent at this time.
    pub(crate) fn tag(&self, key: u32, sequence: u32, sent_at: u64) -> u32 {
        // The upper half: as good as any.
        (self.tags.hash_one((key, sequence, sent_at)) >> 32) as u32
    }

    /// Writer: whether the session with this index is monitored.
    pub(super) fn is_monitored(&self, index: u32) -> bool {
        self.record(index).is_some_and(|record| record.slot().is_some())
    }

    /// Writer: a session has this slot from now on, and is monitored or not.
    pub(super) fn publish(&self, index: u32, slot: u32, monitored: bool) {
        let Some(record) = self.record(index) else { return };
        match (monitored, record.slot().is_some()) {
            (true, was) => {
                if !was {
                    record.resume();
                }
                self.end.fetch_max(index + 1, Relaxed);
                // Release: who finds the slot here finds it written.
                record.slot.store(slot + 1, Release);
            }
            (false, true) => record.slot.store(0, Relaxed),
            // Memory that was never used stays unused.
            (false, false) => {}
        }
    }

    /// Writer: the session with this index is over.
    pub(super) fn withdraw(&self, index: u32) {
        self.publish(index, 0, false);
    }

    /// Writer: begins the record of a session whose index nobody else can reach.
    pub(super) fn begin(&self, index: u32) {
        if let Some(record) = self.record(index) {
            record.clear();
        }
    }

    /// What is known of the session with this index, if it is monitored.
    pub(super) fn read(&self, index: u32) -> Option<SessionQuality> {
        let record = self.record(index)?;
        record.slot().map(|_| record.read())
    }
}

/// Counts of one octet in a word.
const COUNTS_PER_WORD: usize = 8;

/// Words of counts.
const COUNT_WORDS: usize = (CLASSES + 2) / COUNTS_PER_WORD;

/// The places of the counts behind the classes.
const LOST: usize = CLASSES;
const UNTIMED: usize = CLASSES + 1;

/// The jitter is kept in sixteenths, as its gain is one sixteenth.
const JITTER_SHIFT: u32 = 4;

/// One session's.
#[derive(Debug, FromBytes)]
#[repr(C)]
pub(crate) struct Record {
    /// [`Window`].
    window: AtomicU64,
    /// The session's slot, plus one; 0: it is not monitored.
    slot: AtomicU32,
    lost: AtomicU32,
    /// Microseconds; 0: none yet.
    last: AtomicU32,
    min: AtomicU32,
    max: AtomicU32,
    jitter: AtomicU32,
    /// [`Recent`]: the classes, lost, untimed.
    counts: [AtomicU64; COUNT_WORDS],
}

const _: () = assert!(size_of::<Record>() == 64);
const _: () = assert!(COUNT_WORDS * COUNTS_PER_WORD == CLASSES + 2);

/// [`Record::window`] taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Window {
    /// The number of the last request; requests count from 1.
    sequence: u32,
    /// Whether each of the last 32 has a reply, that one in the lowest bit.
    answered: u32,
}

impl Window {
    fn decode(word: u64) -> Self {
        Self { sequence: (word >> 32) as u32, answered: word as u32 }
    }

    fn encode(self) -> u64 {
        u64::from(self.sequence) << 32 | u64::from(self.answered)
    }

    /// After one request more.
    fn next(self) -> Self {
        Self { sequence: self.sequence.wrapping_add(1), answered: self.answered << 1 }
    }

    /// The bit of a request, if it may still be answered.
    fn bit(self, sequence: u32, patience: u32) -> Option<u32> {
        let age = self.sequence.wrapping_sub(sequence);
        (age < patience && age < self.sequence).then(|| 1 << age)
    }
}

/// What a reply was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The first one to its request.
    First,
    /// Not the first one.
    Again,
    /// To a request that is lost already, or was never sent.
    Late,
}

impl Record {
    /// The slot of the session, while it is monitored.
    #[inline]
    pub(crate) fn slot(&self) -> Option<u32> {
        // Acquire: the slot was written before it was published.
        self.slot.load(Acquire).checked_sub(1)
    }

    /// Notes that a request is sent; returns its number. The one whose time is over by it is lost if
    /// nothing has come.
    pub(crate) fn send(&self, patience: u32) -> u32 {
        let next = |word| Some(Window::decode(word).next().encode());
        // The closure never says no.
        let before = self.window.fetch_update(Relaxed, Relaxed, next).unwrap_or_else(|word| word);
        let window = Window::decode(before).next();
        if window.sequence.is_multiple_of(HALF_LIFE) {
            self.halve();
        }
        if patience < window.sequence && window.answered >> patience & 1 == 0 {
            self.lost.fetch_add(1, Relaxed);
            self.count(LOST);
        }
        window.sequence
    }

    /// The number of the request that has these low bits of it.
    pub(crate) fn sequence_of(&self, low: u8, mask: u8) -> u32 {
        let last = Window::decode(self.window.load(Relaxed)).sequence;
        last.wrapping_sub(u32::from((last as u8).wrapping_sub(low) & mask))
    }

    /// Notes a reply to a request, after this time in microseconds; `None`: nobody knows.
    pub(crate) fn answer(&self, sequence: u32, patience: u32, latency: Option<u32>) -> Answer {
        let bit = |word| Window::decode(word).bit(sequence, patience);
        let noted = self.window.fetch_update(Relaxed, Relaxed, |word| {
            let fresh = bit(word)? & !(word as u32);
            (fresh != 0).then_some(word | u64::from(fresh))
        });
        match noted {
            Ok(_) => {}
            Err(word) if bit(word).is_some() => return Answer::Again,
            Err(_) => return Answer::Late,
        }
        match latency {
            Some(latency) => self.measured(latency.max(1)),
            None => self.count(UNTIMED),
        }
        Answer::First
    }

    /// Not 0: that says that there was none.
    fn measured(&self, latency: u32) {
        self.count(class_of(latency));
        let min = self.min.load(Relaxed);
        if min == 0 || latency < min {
            self.min.store(latency, Relaxed);
        }
        self.max.fetch_max(latency, Relaxed);
        let last = self.last.swap(latency, Relaxed);
        if last != 0 {
            let jitter = self.jitter.load(Relaxed);
            let gain = (jitter + (1 << (JITTER_SHIFT - 1))) >> JITTER_SHIFT;
            let difference = last.abs_diff(latency).min(u32::MAX >> (JITTER_SHIFT + 1));
            self.jitter.store(jitter - gain + difference, Relaxed);
        }
    }

    /// One more in this place, unless it is full.
    fn count(&self, place: usize) {
        let shift = 8 * (place % COUNTS_PER_WORD) as u32;
        let Some(word) = self.counts.get(place / COUNTS_PER_WORD) else { return };
        let add = |word: u64| ((word >> shift) as u8 != u8::MAX).then(|| word + (1 << shift));
        // Full is as good as one more.
        let _ = word.fetch_update(Relaxed, Relaxed, add);
    }

    /// What was counted counts half.
    fn halve(&self) {
        const LOWER_BITS: u64 = 0x7f7f_7f7f_7f7f_7f7f;
        for word in &self.counts {
            let halve = |word| Some((word >> 1) & LOWER_BITS);
            let _ = word.fetch_update(Relaxed, Relaxed, halve);
        }
    }

    /// Writer: monitoring goes on after a pause. What was under way then is no loss.
    fn resume(&self) {
        if self.window.load(Relaxed) != 0 {
            self.window.fetch_or(u32::MAX.into(), Relaxed);
        }
    }

    /// Writer: as it was at first. What is zero already is not written.
    fn clear(&self) {
        let words = [&self.window].into_iter().chain(&self.counts);
        for word in words.filter(|word| word.load(Relaxed) != 0) {
            word.store(0, Relaxed);
        }
        let halves = [&self.slot, &self.lost, &self.last, &self.min, &self.max, &self.jitter];
        for half in halves.into_iter().filter(|half| half.load(Relaxed) != 0) {
            half.store(0, Relaxed);
        }
    }

    fn read(&self) -> SessionQuality {
        let window = Window::decode(self.window.load(Relaxed));
        let mut recent = Recent::default();
        let counts = self.counts.iter().flat_map(|word| word.load(Relaxed).to_le_bytes());
        let places = recent.classes.iter_mut().chain([&mut recent.lost, &mut recent.untimed]);
        places.zip(counts).for_each(|(place, count)| *place = count);
        SessionQuality {
            sent: window.sequence,
            lost: self.lost.load(Relaxed),
            unanswered: window.answered.trailing_zeros().min(window.sequence) as u8,
            last_us: self.last.load(Relaxed),
            min_us: self.min.load(Relaxed),
            max_us: self.max.load(Relaxed),
            jitter_us: self.jitter.load(Relaxed) >> JITTER_SHIFT,
            recent,
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PATIENCE: u32 = 4;

    fn record() -> Record {
        Record::read_from_bytes(&[0; size_of::<Record>()]).unwrap()
    }

    #[test]
    fn what_is_answered_in_time_is_not_lost() {
        let record = record();
        for sequence in 1..=300 {
            assert_eq!(record.send(PATIENCE), sequence);
            assert_eq!(record.answer(sequence, PATIENCE, Some(1000)), Answer::First);
        }
        let quality = record.read();
        assert_eq!((quality.sent, quality.lost, quality.unanswered), (300, 0, 0));
        assert_eq!((quality.min_us, quality.max_us, quality.last_us), (1000, 1000, 1000));
        assert_eq!(quality.jitter_us, 0);
        // 127, halved, 128 more, halved, 45 more.
        assert_eq!(quality.recent.requests(), (127 / 2 + 128) / 2 + 45);
    }

    #[test]
    fn what_is_not_is_lost_once_its_time_is_over() {
        let record = record();
        for _ in 0..PATIENCE {
            record.send(PATIENCE);
        }
        assert_eq!((record.read().lost, record.read().unanswered), (0, 4));
        // The first one is as old as one may be that is answered.
        assert_eq!(record.answer(1, PATIENCE, Some(1)), Answer::First);
        record.send(PATIENCE);
        assert_eq!(record.read().lost, 0);
        record.send(PATIENCE);
        assert_eq!((record.read().lost, record.read().recent.lost), (1, 1));
        assert_eq!(record.answer(2, PATIENCE, Some(1)), Answer::Late);
        assert_eq!(record.read().recent.loss(), Some(5000));
    }

    #[test]
    fn twice_never_sent_and_of_long_ago() {
        let record = record();
        assert_eq!(record.answer(0, PATIENCE, None), Answer::Late);
        assert_eq!(record.answer(1, PATIENCE, None), Answer::Late);
        record.send(PATIENCE);
        assert_eq!(record.answer(1, PATIENCE, None), Answer::First);
        assert_eq!(record.answer(1, PATIENCE, Some(5)), Answer::Again);
        for sequence in [0, 2, u32::MAX, 1 << 31] {
            assert_eq!(record.answer(sequence, PATIENCE, Some(5)), Answer::Late, "{sequence}");
        }
        let quality = record.read();
        assert_eq!((quality.recent.untimed, quality.min_us), (1, 0));
        assert_eq!(quality.percentile(5000), None);
    }

    #[test]
    fn numbers_are_found_by_their_low_bits() {
        let record = record();
        for _ in 0..130 {
            record.send(PATIENCE);
        }
        assert_eq!(record.sequence_of(130 & 0x7f, 0x7f), 130);
        assert_eq!(record.sequence_of(127, 0x7f), 127);
        assert_eq!(record.sequence_of(3, 0x7f), 3);
    }

    #[test]
    fn a_pause_loses_nothing_and_a_new_session_begins_anew() {
        let table = QualityTable::new(Some(Settings { interval_ms: 1000, loss_after_ms: 3000 }), 4)
            .unwrap();
        table.begin(2);
        assert_eq!((table.end(), table.read(2)), (0, None));
        table.publish(2, 7, true);
        assert_eq!((table.end(), table.is_monitored(2)), (3, true));
        let record = table.record(2).unwrap();
        assert_eq!(record.slot(), Some(7));
        for _ in 0..3 {
            record.send(PATIENCE);
        }
        table.publish(2, 9, false);
        assert_eq!(table.read(2), None);
        table.publish(2, 9, true);
        for _ in 0..PATIENCE {
            record.send(PATIENCE);
        }
        assert_eq!((table.read(2).unwrap().sent, table.read(2).unwrap().lost), (7, 0));
        table.withdraw(2);
        table.begin(2);
        table.publish(2, 1, true);
        assert_eq!(table.read(2), Some(SessionQuality::default()));
    }

    #[test]
    fn nothing_is_kept_where_nothing_is_monitored() {
        let table = QualityTable::new(None, 4).unwrap();
        table.begin(0);
        table.publish(0, 1, true);
        assert!(!table.is_monitored(0) && table.record(0).is_none());
        let impossible = Settings { interval_ms: 0, loss_after_ms: 1 };
        assert_eq!(QualityTable::new(Some(impossible), 4).unwrap().settings(), None);
    }

    #[test]
    fn tags_depend_on_all_that_they_are_of() {
        let table = QualityTable::new(None, 0).unwrap();
        let tag = table.tag(1, 2, 3);
        assert_eq!(tag, table.tag(1, 2, 3));
        for other in [table.tag(2, 2, 3), table.tag(1, 3, 3), table.tag(1, 2, 4)] {
            assert_ne!(tag, other);
        }
        let stranger = QualityTable::new(None, 0).unwrap();
        assert_ne!(tag, stranger.tag(1, 2, 3));
    }

    #[test]
    fn jitter_is_that_of_rfc_3550() {
        let record = record();
        let mut expected = 0.0;
        let latencies = [20_000, 30_000, 30_000, 5_000, 100_000, 20_000, 21_000];
        for (latency, before) in latencies.iter().zip([None].into_iter().chain(latencies.map(Some)))
        {
            let sequence = record.send(PATIENCE);
            record.answer(sequence, PATIENCE, Some(*latency));
            let difference = before.map_or(0.0, |before: u32| f64::from(before.abs_diff(*latency)));
            expected += (difference - expected) / 16.0;
        }
        assert!((f64::from(record.read().jitter_us) - expected).abs() < 2.0, "{expected}");
    }

    proptest! {
        #[test]
        fn each_request_is_lost_or_answered(
            fates in prop::collection::vec(0u32..8, 1..600), latency: u32
        ) {
            let record = record();
            let (mut answered, mut sent) = (0, Vec::new());
            for fate in &fates {
                sent.push(record.send(PATIENCE));
                // After so many more requests, or never.
                for (age, sequence) in (0..).zip(sent.iter().rev()).take(8) {
                    let at = sent.len() - 1 - age as usize;
                    if fates[at] == age && (*fate != 7 || age == 7) {
                        let answer = record.answer(*sequence, PATIENCE, Some(latency));
                        prop_assert_eq!(answer == Answer::First, age < PATIENCE);
                        answered += u32::from(answer == Answer::First);
                    }
                }
            }
            let open = (0..PATIENCE).count() as u32;
            let quality = record.read();
            prop_assert!(quality.lost + answered <= quality.sent);
            prop_assert!(quality.lost + answered + open >= quality.sent);
            prop_assert!(quality.recent.requests() <= 256);
        }
    }
}
