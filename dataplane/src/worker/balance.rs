//! When a worker hands shares of its queues' sessions to others, and which: a pure function of what
//! was counted in the last window of time.
//!
//! It begins where a worker has no time left and its queues are backed up, window after window, while
//! another one has time to spare. From then on it moves shares from the most loaded of those that
//! have any to the least loaded one, a few at a time, never more than half of what lies between
//! the two: so no move turns the order of the two around, and none follows it back. A share that
//! is larger than that stays: a single session cannot be divided. When all could be done here with
//! ease, for a second, the shares come home. Where for a second nothing can be moved at all, because what
//! takes the time is one session, or comes from the core network, it is given up for some seconds.
//!
//! Loads are thousandths of the time that a worker works. Several workers that decide at once, each
//! for its own queues, see one another's moves two windows later.

use super::WORKERS_MAX;
use crate::pipeline::spread::SHARES;
use crate::verdict::Share;

/// A worker with this load has no time left.
const LOAD_HIGH: u16 = 900;

/// One with this load can take more.
const LOAD_LOW: u16 = 600;

/// Two workers are unequal enough to move shares between them.
const LOAD_GAP: u16 = 200;

/// What two workers do together is done with ease by one.
const LOAD_HOME: u16 = 500;

/// Windows in a row with no time left, before anything is handed out.
const BUSY_WINDOWS: u32 = 3;

/// Windows in a row in which all could be done here, before shares come home: a second.
const CALM_WINDOWS: u32 = 100;

/// Windows before it begins again where nothing could be moved: ten seconds.
const PAUSE_WINDOWS: u32 = 1000;

/// Windows after a move in which the loads do not show it yet.
const SETTLE_WINDOWS: u32 = 2;

/// The most shares of one move: while it lasts, their frames wait.
const MOVE_SHARES_MAX: usize = 32;

const _: () = assert!(LOAD_HOME < LOAD_LOW && LOAD_LOW < LOAD_HIGH);
const _: () = assert!(LOAD_GAP <= LOAD_HIGH - LOAD_LOW);

/// What was counted in a window.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window<'a> {
    /// The load of each worker.
    pub(super) loads: &'a [u16],
    /// Whether most of what this worker received came in full batches: more waits.
    pub(super) is_backed_up: bool,
    /// Frames that this worker received, of each share; counted while shares are divided.
    pub(super) packets: &'a [u32; SHARES],
    /// Who has each share.
    pub(super) owners: &'a [u8; SHARES],
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Decision {
    /// Nothing.
    Stay,
    /// To divide: for now, to count.
    Begin,
    /// Not to divide any more: all shares are here.
    End,
    /// To hand these shares over.
    Move { from: u8, to: u8, shares: Vec<Share> },
}

/// One worker's view.
#[derive(Debug)]
pub(super) struct Balance {
    me: u8,
    is_dividing: bool,
    busy_windows: u32,
    calm_windows: u32,
    settle_windows: u32,
    pause_windows: u32,
}

impl Balance {
    /// Worker number `me`, who has all of its shares.
    pub(super) fn new(me: u8) -> Self {
        Self {
            me,
            is_dividing: false,
            busy_windows: 0,
            calm_windows: 0,
            settle_windows: 0,
            pause_windows: 0,
        }
    }

    /// What to do after a window. What is decided is done, or tried: the counts of the next windows
    /// show which.
    pub(super) fn decide(&mut self, window: &Window<'_>) -> Decision {
        let decision = if self.is_dividing { self.divide(window) } else { self.begin(window) };
        match decision {
            Decision::Stay => {}
            Decision::Begin => self.is_dividing = true,
            Decision::End => self.is_dividing = false,
            Decision::Move { .. } => self.settle_windows = SETTLE_WINDOWS,
        }
        decision
    }

    fn begin(&mut self, window: &Window<'_>) -> Decision {
        if self.pause_windows > 0 {
            self.pause_windows -= 1;
            return Decision::Stay;
        }
        let is_busy = window.load(self.me) >= LOAD_HIGH && window.is_backed_up;
        self.busy_windows = if is_busy { self.busy_windows + 1 } else { 0 };
        let (_, least) = window.least(self.me);
        if self.busy_windows < BUSY_WINDOWS || least > LOAD_LOW {
            return Decision::Stay;
        }
        self.busy_windows = 0;
        self.calm_windows = 0;
        Decision::Begin
    }

    fn divide(&mut self, window: &Window<'_>) -> Decision {
        if self.settle_windows > 0 {
            self.settle_windows -= 1;
            return Decision::Stay;
        }
        let Some((from, most)) = window.most() else { return self.come_home(window) };
        let (to, least) = window.least(from);
        if most < LOAD_HIGH || most - least.min(most) < LOAD_GAP {
            return self.come_home(window);
        }
        let traffic = window.traffic(from);
        let wanted = traffic * u64::from(most - least) / (2 * u64::from(most));
        let shares = window.shares_of(from, wanted);
        if shares.is_empty() {
            return self.come_home(window);
        }
        self.calm_windows = 0;
        Decision::Move { from, to, shares }
    }

    /// Takes back what another worker has, where both loads together are small, for long enough.
    fn come_home(&mut self, window: &Window<'_>) -> Decision {
        let mine = window.load(self.me);
        let others = (0..window.loads.len() as u8).filter(|worker| *worker != self.me);
        let away = others.filter(|worker| window.owners.contains(worker));
        let Some((load, from)) = away.map(|worker| (window.load(worker), worker)).min() else {
            self.calm_windows += 1;
            if self.calm_windows < CALM_WINDOWS {
                return Decision::Stay;
            }
            self.pause_windows = if mine < LOAD_HIGH { 0 } else { PAUSE_WINDOWS };
            return Decision::End;
        };
        self.calm_windows = if mine + load < LOAD_HOME { self.calm_windows + 1 } else { 0 };
        if self.calm_windows < CALM_WINDOWS {
            return Decision::Stay;
        }
        let shares = window.shares_of(from, u64::MAX);
        Decision::Move { from, to: self.me, shares }
    }
}

impl Window<'_> {
    fn load(&self, worker: u8) -> u16 {
        self.loads.get(usize::from(worker)).copied().unwrap_or(u16::MAX)
    }

    /// Frames of the shares that `worker` has.
    fn traffic(&self, worker: u8) -> u64 {
        let shares = self.owners.iter().zip(self.packets);
        shares.filter(|(owner, _)| **owner == worker).map(|(_, packets)| u64::from(*packets)).sum()
    }

    /// The most loaded of those workers whose shares had traffic.
    fn most(&self) -> Option<(u8, u16)> {
        let mut has_traffic = [false; WORKERS_MAX];
        for (owner, packets) in self.owners.iter().zip(self.packets) {
            if let Some(has) = has_traffic.get_mut(usize::from(*owner)) {
                *has |= *packets > 0;
            }
        }
        let workers = self.loads.iter().zip(has_traffic).enumerate().filter(|(_, (_, has))| *has);
        workers.map(|(worker, (load, _))| (worker as u8, *load)).max_by_key(|(_, load)| *load)
    }

    /// The least loaded worker beside `from`; of several, the next one behind it, so that workers
    /// that begin at once do not all choose the same.
    fn least(&self, from: u8) -> (u8, u16) {
        let count = self.loads.len();
        let behind = (1..count).map(|step| ((usize::from(from) + step) % count) as u8);
        let least = behind.map(|worker| (worker, self.load(worker))).min_by_key(|(_, load)| *load);
        least.unwrap_or((from, u16::MAX))
    }

    /// Shares of `from` with `wanted` frames together at most, the largest first.
    fn shares_of(&self, from: u8, wanted: u64) -> Vec<Share> {
        let mut shares: Vec<(u32, Share)> = (0..=Share::MAX)
            .filter(|share| self.owners[usize::from(*share)] == from)
            .map(|share| (self.packets[usize::from(share)], share))
            .collect();
        shares.sort_unstable_by(|a, b| b.cmp(a));
        let mut left = wanted;
        let mut fits = |packets: u32| {
            let fits = u64::from(packets) <= left;
            left -= if fits { u64::from(packets) } else { 0 };
            fits
        };
        let is_home = wanted == u64::MAX;
        shares
            .into_iter()
            .filter(|(packets, _)| (*packets > 0 || is_home) && fits(*packets))
            .map(|(_, share)| share)
            .take(MOVE_SHARES_MAX)
            .collect()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const ALL_MINE: [u8; SHARES] = [0; SHARES];
    const EVEN: [u32; SHARES] = [100; SHARES];

    fn window<'a>(
        loads: &'a [u16],
        owners: &'a [u8; SHARES],
        packets: &'a [u32; SHARES],
    ) -> Window<'a> {
        Window { loads, is_backed_up: true, packets, owners }
    }

    fn dividing() -> Balance {
        Balance { is_dividing: true, ..Balance::new(0) }
    }

    #[test]
    fn it_begins_after_some_busy_windows_in_a_row() {
        let mut balance = Balance::new(0);
        let busy = window(&[950, 100], &ALL_MINE, &EVEN);
        let idle = window(&[899, 100], &ALL_MINE, &EVEN);
        let decisions = [&busy, &busy, &idle, &busy, &busy, &busy].map(|w| balance.decide(w));
        assert_eq!(decisions[5], Decision::Begin);
        assert!(decisions[..5].iter().all(|decision| *decision == Decision::Stay));
    }

    #[test]
    fn it_does_not_begin_without_a_backlog_or_with_nobody_to_help() {
        for refused in [
            Window { is_backed_up: false, ..window(&[1000, 0], &ALL_MINE, &EVEN) },
            window(&[1000, 601], &ALL_MINE, &EVEN),
            window(&[1000], &ALL_MINE, &EVEN),
        ] {
            let mut balance = Balance::new(0);
            for _ in 0..10 {
                assert_eq!(balance.decide(&refused), Decision::Stay);
            }
        }
    }

    #[test]
    fn a_move_takes_half_of_what_lies_between_and_no_more_than_32_shares() {
        let decision = dividing().decide(&window(&[1000, 900, 0], &ALL_MINE, &EVEN));
        let Decision::Move { from: 0, to: 2, shares } = decision else { panic!("{decision:?}") };
        assert_eq!(shares.len(), MOVE_SHARES_MAX);
        // 10 shares, the others without traffic: 5 are half.
        let mut packets = [0; SHARES];
        packets[..10].fill(100);
        let decision = dividing().decide(&window(&[1000, 0], &ALL_MINE, &packets));
        let Decision::Move { shares, .. } = decision else { panic!("{decision:?}") };
        assert_eq!(shares, [9, 8, 7, 6, 5]);
    }

    #[test]
    fn a_share_that_is_all_the_traffic_stays() {
        let mut packets = [0; SHARES];
        packets[7] = 100_000;
        packets[8] = 10;
        let decision = dividing().decide(&window(&[1000, 0], &ALL_MINE, &packets));
        assert_eq!(decision, Decision::Move { from: 0, to: 1, shares: vec![8] });
        packets[8] = 0;
        assert_eq!(dividing().decide(&window(&[1000, 0], &ALL_MINE, &packets)), Decision::Stay);
    }

    #[test]
    fn after_a_move_the_loads_settle_first() {
        let mut balance = dividing();
        let busy = window(&[1000, 0], &ALL_MINE, &EVEN);
        assert!(matches!(balance.decide(&busy), Decision::Move { .. }));
        assert_eq!(balance.decide(&busy), Decision::Stay);
        assert_eq!(balance.decide(&busy), Decision::Stay);
        assert!(matches!(balance.decide(&busy), Decision::Move { .. }));
    }

    #[test]
    fn equals_do_not_move_anything() {
        for loads in [[1000, 801], [899, 0], [950, 940]] {
            assert_eq!(dividing().decide(&window(&loads, &ALL_MINE, &EVEN)), Decision::Stay);
        }
    }

    #[test]
    fn a_worker_that_has_too_much_gives_shares_to_a_third_or_back() {
        let mut owners = ALL_MINE;
        owners[..64].fill(1);
        let decision = dividing().decide(&window(&[700, 1000, 500], &owners, &EVEN));
        assert!(matches!(decision, Decision::Move { from: 1, to: 2, .. }), "{decision:?}");
        let decision = dividing().decide(&window(&[300, 1000, 500], &owners, &EVEN));
        assert!(matches!(decision, Decision::Move { from: 1, to: 0, .. }), "{decision:?}");
    }

    #[test]
    fn shares_come_home_after_a_calm_second_and_then_it_ends() {
        let mut balance = dividing();
        let mut owners = ALL_MINE;
        owners[10..50].fill(1);
        let none = [0; SHARES];
        let mut homeward = Vec::new();
        for _ in 0..500 {
            match balance.decide(&window(&[200, 200], &owners, &none)) {
                Decision::Stay => {}
                Decision::Move { from: 1, to: 0, shares } => {
                    shares.iter().for_each(|share| owners[usize::from(*share)] = 0);
                    homeward.push(shares.len());
                }
                Decision::End => break,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(homeward, [32, 8]);
        assert!(!balance.is_dividing);
    }

    #[test]
    fn a_calm_that_is_too_short_brings_nothing_home() {
        let mut balance = dividing();
        let mut owners = ALL_MINE;
        owners[10] = 1;
        let calm = window(&[200, 200], &owners, &EVEN);
        let busy = window(&[400, 200], &owners, &EVEN);
        for _ in 0..5 {
            for _ in 1..CALM_WINDOWS {
                assert_eq!(balance.decide(&calm), Decision::Stay);
            }
            assert_eq!(balance.decide(&busy), Decision::Stay);
        }
    }

    #[test]
    fn where_nothing_can_be_moved_it_is_given_up_for_a_while() {
        let mut packets = [0; SHARES];
        for traffic in [0, 100_000] {
            packets[7] = traffic;
            let one = window(&[1000, 0], &ALL_MINE, &packets);
            let mut balance = dividing();
            let ended = (1..).find(|_| balance.decide(&one) == Decision::End);
            assert_eq!(ended, Some(CALM_WINDOWS));
            let begun = (1..).find(|_| balance.decide(&one) == Decision::Begin);
            assert_eq!(begun, Some(PAUSE_WINDOWS + BUSY_WINDOWS));
        }
    }

    /// A simple machine: two workers, a load that is what they are given. Shares move until both
    /// have time, and stay then.
    #[test]
    fn loads_even_out_and_do_not_swing() {
        let mut balance = Balance::new(0);
        let mut owners = ALL_MINE;
        let mut moves = 0;
        for _ in 0..1000 {
            let mine = owners.iter().filter(|owner| **owner == 0).count();
            // All of it is 1.5 times what a worker can do; dividing costs a fifth of it.
            let cost = |shares: usize| shares * 1500 / SHARES;
            let loads = [cost(mine) + cost(SHARES - mine) / 5, cost(SHARES - mine)];
            let loads = loads.map(|load| load.min(1000) as u16);
            if let Decision::Move { to, shares, .. } =
                balance.decide(&window(&loads, &owners, &EVEN))
            {
                moves += 1;
                shares.iter().for_each(|share| owners[usize::from(*share)] = to);
            }
        }
        let mine = owners.iter().filter(|owner| **owner == 0).count();
        assert!((96..=160).contains(&mine), "{mine} of {SHARES} are here after {moves} moves");
        assert!(moves <= 6, "{moves}");
    }
}
