//! Hand-off: a worker gives shares of the sessions that come by its queues to other workers.
//!
//! Each pair of workers has a [`link`] in either direction. Who owns a queue finds out the share of
//! each frame and no more ([`crate::pipeline::Pipeline::divide`]), and gives it to the worker that has
//! the share; that one processes it as if it had received it, and sends it by its own queues. It never hands it on.
//! [`Balance`] decides who has which share.
//!
//! Order within a share, and so within a session, is that of arrival, also while the share moves: its
//! new frames wait here until all older ones have left the worker that had it, not only its
//! hands but its transmit rings, too. They wait for a few rings' worth of time; where that takes too
//! long or too many wait, the share stays where it was, and what waited follows the rest.
//!
//! Bounds: a worker lends others a quarter of its frames at most, and what the links hold; a frame
//! that does not fit is dropped as [`crate::verdict::DropReason::HandoffFull`], not processed here, where it would overtake
//! those of its session that wait there.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam::utils::CachePadded;
use nix::sys::eventfd::{EfdFlags, EventFd};

use super::WORKERS_MAX;
use super::balance::{Balance, Decision, Window};
use super::bell::Bell;
use super::meter::Load;
use crate::api;
use crate::frame::Frame;
use crate::pipeline::BATCH_MAX;
use crate::pipeline::spread::{SHARES, Shares};
use crate::port::xsk::link::{self, Inlet, Outlet};
use crate::port::xsk::{Pool, Queue};
use crate::verdict::Share;

mod turn;

#[cfg(all(test, not(loom)))]
mod tests;

/// Frames that one worker has of another and has not looked at: at 50 ns each, 25 us of delay, and 12 KiB
/// of rings for each pair of workers.
const LINK_FRAMES: u32 = 512;

/// The part of its frames that a worker lends.
const LENT_PART: u32 = 4;

/// Where so many frames wait for their shares to move, or this part of all that a worker has, the move is
/// given up.
const WAITING_ENOUGH: u32 = 256;
const WAITING_PART: u32 = 8;

/// Frames that can wait; it is looked at between turns, so that there is room for those of one.
const WAITING_MAX: usize = 2 * WAITING_ENOUGH as usize;

/// The longest that a move may take, nanoseconds: some times what a full transmit ring takes.
const MOVE_NANOSECONDS_MAX: u64 = 20_000_000;

const _: () = assert!(WORKERS_MAX <= u64::BITS as usize, "a bit for each worker");
const _: () = assert!(WAITING_ENOUGH as usize + BATCH_MAX <= WAITING_MAX);

/// What workers know of one another.
#[derive(Debug)]
struct Board {
    posts: Box<[CachePadded<Post>]>,
}

/// One worker's; read by the others.
#[derive(Debug)]
struct Post {
    /// Who may have given it frames.
    inbound: AtomicU64,
    load: Load,
    bell: Bell,
    wake: Arc<EventFd>,
}

/// One worker's side.
#[derive(Debug)]
pub struct Handoff {
    me: usize,
    board: Arc<Board>,
    /// To each worker; none to itself.
    outlets: Box<[Option<Outlet>]>,
    /// From each worker.
    inlets: Box<[Option<Inlet>]>,
    /// Who has each share of what comes by this worker's queues.
    owners: Box<[u8; SHARES]>,
    /// `None` where shares are not moved.
    balance: Option<Balance>,
    moving: Option<Move>,
    /// Frames of the shares that move, and the lane that they came by.
    waiting: Vec<(usize, Frame)>,
    /// Frames that others have of this worker.
    lent: u32,
    lent_max: u32,
    waiting_enough: u32,
    drain: Drain,
    /// The shares of a batch, and those of its frames that stay; empty between batches.
    shares: Vec<Option<Share>>,
    kept: Vec<Frame>,
    loads: Vec<u16>,
}

/// Shares under way from one worker to another.
#[derive(Debug)]
struct Move {
    from: u8,
    to: u8,
    shares: Vec<Share>,
    is_moving: Box<[bool; SHARES]>,
    mark: Mark,
    /// When it began, nanoseconds.
    since: u64,
}

/// What has to be over before frames of the share may go elsewhere.
#[derive(Debug)]
enum Mark {
    /// So many frames of each of this worker's queues have been sent.
    Sent(Box<[u64]>),
    /// So many frames given to the other worker have left it.
    Given(u32),
}

/// What this worker has to say of frames that it took: when they have left.
#[derive(Debug, Default)]
struct Drain {
    /// Whether some were taken of which it was not said.
    is_due: bool,
    /// Whether the marks are set.
    is_marked: bool,
    /// Frames submitted by each queue.
    sent: Vec<u64>,
    /// Frames taken by then from each worker.
    taken: Vec<u32>,
}

/// The hand-off of each of `workers` workers; `None` for all where there is none.
///
/// # Errors
/// No descriptor left.
pub fn mesh(workers: usize, mode: api::Handoff) -> io::Result<Vec<Option<Handoff>>> {
    assert!(workers <= WORKERS_MAX);
    if mode == api::Handoff::Off || workers < 2 {
        return Ok((0..workers).map(|_| None).collect());
    }
    let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
    let post = |_| {
        let wake = Arc::new(EventFd::from_flags(flags)?);
        let inbound = AtomicU64::new(0);
        Ok(CachePadded::new(Post { inbound, load: Load::default(), bell: Bell::new(), wake }))
    };
    let board = Board { posts: (0..workers).map(post).collect::<io::Result<_>>()? };
    let board = Arc::new(board);
    let mut outlets: Vec<Vec<Option<Outlet>>> = Vec::with_capacity(workers);
    let mut inlets: Vec<Vec<Option<Inlet>>> = (0..workers).map(|_| Vec::new()).collect();
    for giver in 0..workers {
        let mut row = Vec::with_capacity(workers);
        for (taker, inlets) in inlets.iter_mut().enumerate() {
            let ends = (giver != taker).then(|| link::pair(LINK_FRAMES));
            let (outlet, inlet) = ends.unzip();
            row.push(outlet);
            inlets.push(inlet);
        }
        outlets.push(row);
    }
    let ends = outlets.into_iter().zip(inlets).enumerate();
    Ok(ends
        .map(|(me, (outlets, inlets))| Some(Handoff::new(me, &board, outlets, inlets, mode)))
        .collect())
}

impl Handoff {
    fn new(
        me: usize,
        board: &Arc<Board>,
        outlets: Vec<Option<Outlet>>,
        inlets: Vec<Option<Inlet>>,
        mode: api::Handoff,
    ) -> Self {
        let workers = outlets.len();
        let owner = |share: usize| match mode {
            api::Handoff::Always => (share % workers) as u8,
            api::Handoff::Auto | api::Handoff::Off => me as u8,
        };
        Self {
            me,
            board: Arc::clone(board),
            outlets: outlets.into_boxed_slice(),
            inlets: inlets.into_boxed_slice(),
            owners: Box::new(std::array::from_fn(owner)),
            balance: (mode == api::Handoff::Auto).then(|| Balance::new(me as u8)),
            moving: None,
            waiting: Vec::with_capacity(WAITING_MAX),
            lent: 0,
            lent_max: u32::MAX,
            waiting_enough: WAITING_ENOUGH,
            drain: Drain { taken: vec![0; workers], ..Drain::default() },
            shares: Vec::with_capacity(BATCH_MAX),
            kept: Vec::with_capacity(BATCH_MAX),
            loads: Vec::with_capacity(workers),
        }
    }

    /// What wakes this worker.
    pub(super) fn wake(&self) -> Arc<EventFd> {
        Arc::clone(&self.board.posts[self.me].wake)
    }

    /// Begins with a pool of that many frames; what others have from the start goes there.
    pub(super) fn begin(&mut self, frames: u32, shares: &mut Shares) {
        self.lent_max = (frames / LENT_PART).max(1);
        self.waiting_enough = (frames / WAITING_PART).clamp(1, WAITING_ENOUGH);
        let me = self.me as u8;
        for share in (0..=Share::MAX).filter(|share| self.owners[usize::from(*share)] != me) {
            shares.set_elsewhere(share, true);
            shares.set_active(true);
            self.announce(self.owners[usize::from(share)]);
        }
    }

    /// Tells a worker that it may get frames from here.
    fn announce(&self, to: u8) {
        self.board.posts[usize::from(to)].inbound.fetch_or(1 << self.me, Ordering::Release);
    }

    /// Who may have given frames, a bit each.
    #[inline(always)]
    fn inbound(&self) -> u64 {
        self.board.posts[self.me].inbound.load(Ordering::Acquire)
    }

    /// Gives a frame to the worker that has its share, or has it wait while that moves.
    ///
    /// # Errors
    /// The frame, where there is no room.
    #[inline]
    fn give(&mut self, lane: usize, share: Share, frame: Frame) -> Result<(), Frame> {
        if let Some(moving) = &self.moving
            && moving.is_moving[usize::from(share)]
        {
            if self.waiting.len() == WAITING_MAX {
                return Err(frame);
            }
            self.waiting.push((lane, frame));
            return Ok(());
        }
        self.give_to(self.owners[usize::from(share)], frame)
    }

    #[inline]
    fn give_to(&mut self, owner: u8, frame: Frame) -> Result<(), Frame> {
        let Some(outlet) = self.outlets[usize::from(owner)].as_mut() else { return Err(frame) };
        if self.lent >= self.lent_max {
            return Err(frame);
        }
        outlet.give(frame)?;
        self.lent += 1;
        Ok(())
    }

    /// Frames that the pool misses: lent, or waiting.
    pub(super) fn missing(&self) -> u32 {
        self.lent + self.waiting.len() as u32
    }

    /// Whether a long sleep could leave something undone.
    pub(super) fn is_restless(&self) -> bool {
        self.lent > 0 || self.moving.is_some() || self.drain.is_due
    }

    /// Lies down to sleep. Returns whether it may: nothing waits.
    pub(super) fn lie_down(&mut self) -> bool {
        self.board.posts[self.me].bell.lie_down();
        let mut inbound = self.inbound();
        while inbound != 0 {
            let giver = inbound.trailing_zeros() as usize;
            inbound &= inbound - 1;
            if self.inlets[giver].as_mut().is_some_and(Inlet::is_waiting) {
                self.rise();
                return false;
            }
        }
        true
    }

    /// Is awake again.
    pub(super) fn rise(&self) {
        self.board.posts[self.me].bell.rise();
    }

    /// Shows what was given, wakes who sleeps, takes chunks back. Returns how many frames were given.
    fn submit(&mut self, pool: &mut Pool) -> u64 {
        let mut given = 0;
        for (worker, outlet) in self.outlets.iter_mut().enumerate() {
            let Some(outlet) = outlet.as_mut().filter(|outlet| outlet.lent() > 0) else { continue };
            let new = outlet.submit();
            let post = &self.board.posts[worker];
            if new > 0 && post.bell.is_needed() {
                // The counter of an eventfd that is not read is full after 2^64 wakes.
                let _ = post.wake.write(1);
            }
            given += u64::from(new);
            self.lent -= outlet.take_back(pool);
        }
        given
    }

    /// Says of frames that were taken that they have left, once they have.
    fn drain(&mut self, ports: &[Box<[Queue]>]) {
        let Self { drain, inlets, .. } = self;
        if drain.is_marked {
            if !have_sent(ports, &drain.sent) {
                return;
            }
            for (inlet, taken) in inlets.iter_mut().zip(&drain.taken) {
                if let Some(inlet) = inlet.as_mut().filter(|inlet| !inlet.is_drained()) {
                    inlet.set_drained(*taken);
                }
            }
        }
        let mut all = inlets.iter().flatten();
        drain.is_due = !all.all(Inlet::is_drained);
        drain.is_marked = drain.is_due;
        if drain.is_due {
            drain.sent.clear();
            drain.sent.extend(queues(ports).map(Queue::submitted));
            for (inlet, taken) in inlets.iter().zip(&mut drain.taken) {
                *taken = inlet.as_ref().map_or(0, Inlet::taken);
            }
        }
    }

    /// Has frames of these shares wait until those of before have left their worker.
    fn begin_move(
        &mut self,
        from: u8,
        to: u8,
        moved: Vec<Share>,
        ports: &[Box<[Queue]>],
        shares: &mut Shares,
        now: u64,
    ) {
        let mark = match &self.outlets[usize::from(from)] {
            Some(outlet) => Mark::Given(outlet.given()),
            None => Mark::Sent(queues(ports).map(Queue::submitted).collect()),
        };
        let mut is_moving = Box::new([false; SHARES]);
        for share in &moved {
            is_moving[usize::from(*share)] = true;
            shares.set_elsewhere(*share, true);
        }
        if usize::from(to) != self.me {
            self.announce(to);
        }
        self.moving = Some(Move { from, to, shares: moved, is_moving, mark, since: now });
    }

    /// Whether what moves can go on, and to whom: to where it was going, or back.
    fn outcome(&self, ports: &[Box<[Queue]>], now: u64) -> Option<u8> {
        let moving = self.moving.as_ref()?;
        let is_over = match &moving.mark {
            Mark::Sent(sent) => have_sent(ports, sent),
            Mark::Given(given) => self.outlets[usize::from(moving.from)]
                .as_ref()
                .is_none_or(|outlet| outlet.has_drained(*given)),
        };
        let is_enough = self.waiting.len() >= self.waiting_enough as usize
            || now.saturating_sub(moving.since) >= MOVE_NANOSECONDS_MAX;
        if is_over { Some(moving.to) } else { is_enough.then_some(moving.from) }
    }

    /// Ends a move: from here on `owner` has what moved. What waited is still to be given to it.
    fn end_move(&mut self, owner: u8, shares: &mut Shares) {
        let Some(moving) = self.moving.take() else { return };
        for share in moving.shares {
            self.owners[usize::from(share)] = owner;
            shares.set_elsewhere(share, usize::from(owner) != self.me);
        }
    }

    /// What to do after a window with this load.
    fn decide(&mut self, is_backed_up: bool, shares: &mut Shares) -> Decision {
        self.retire();
        if self.moving.is_some() {
            return Decision::Stay;
        }
        let Some(balance) = &mut self.balance else { return Decision::Stay };
        let mut packets = [0; SHARES];
        shares.take_packets(&mut packets);
        self.loads.clear();
        self.loads.extend(self.board.posts.iter().map(|post| post.load.permille()));
        let owners = &*self.owners;
        balance.decide(&Window { loads: &self.loads, is_backed_up, packets: &packets, owners })
    }

    /// Tells workers that have nothing of this one's any more that they get nothing.
    fn retire(&self) {
        let going = self.moving.as_ref().map(|moving| moving.to);
        for (worker, outlet) in self.outlets.iter().enumerate() {
            let owner = worker as u8;
            let is_idle = outlet.as_ref().is_some_and(|outlet| outlet.lent() == 0);
            let post = &self.board.posts[worker];
            let bit = 1 << self.me;
            if is_idle
                && post.inbound.load(Ordering::Relaxed) & bit != 0
                && going != Some(owner)
                && !self.owners.contains(&owner)
            {
                post.inbound.fetch_and(!bit, Ordering::Release);
            }
        }
    }
}

fn queues(ports: &[Box<[Queue]>]) -> impl Iterator<Item = &Queue> {
    ports.iter().flat_map(|queues| queues.iter())
}

fn have_sent(ports: &[Box<[Queue]>], marks: &[u64]) -> bool {
    queues(ports).zip(marks).all(|(queue, mark)| queue.has_sent(*mark))
}
