//! Workers without a kernel: one machine, some queues, tunnels with many sessions. What leaves is what
//! came, once, and each session's packets in the order in which they came.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use proptest::prelude::*;

use super::super::handle::Status;
use super::super::look::Look;
use super::super::{Io, Worker, WorkerParts};
use super::*;
use crate::api::{Command, RouteTarget, Session, SessionKey, SessionOptions};
use crate::counters::WorkerCounters;
use crate::port::PortId;
use crate::port::xsk::queue::Wire;
use crate::port::xsk::{Memory, umem};
use crate::tables::{self, Limits, PortInfo, PortKind, Writer};
use crate::verdict::DropReason;
use crate::wire::checksum::Sum;

const ACCESS: usize = 0;
const CORE: usize = 1;
const FRAMES: u32 = 512;
const RING: u32 = 128;
const L2TP_PORT: u16 = 1701;
const ENDPOINT: [u8; 4] = [192, 0, 2, 1];
const PEER: [u8; 4] = [172, 16, 0, 1];
const ROUTER: [u8; 4] = [198, 51, 100, 1];

/// Sessions of each tunnel; a tunnel's packets come by the queue of the worker with its number.
const SESSIONS: u16 = 200;

fn subscriber(tunnel: usize, session: u16) -> [u8; 4] {
    let [high, low] = session.to_be_bytes();
    [10, tunnel as u8, high, low]
}

fn session(tunnel: usize, id: u16) -> Command {
    Command::SessionSet(Box::new(Session {
        key: SessionKey { local_tunnel_id: 1 + tunnel as u16, local_session_id: id },
        peer_tunnel_id: 9,
        peer_session_id: id,
        local: (Ipv4Addr::from(ENDPOINT), L2TP_PORT).into(),
        peer: (Ipv4Addr::from(PEER), L2TP_PORT).into(),
        send_acfc: false,
        send_pfc: false,
        magic: 0,
        peer_mru: 1492,
        prefixes: vec![IpNet::from(IpAddr::from(subscriber(tunnel, id)))],
        source_check: true,
        gateway: None,
        options: SessionOptions::default(),
    }))
}

fn writer(workers: usize) -> Writer {
    let ethernet = PortInfo { kind: PortKind::Ethernet, mac: [2; 6], mtu: 1500, vlan: None };
    let host = PortInfo { kind: PortKind::Host, mac: [0; 6], mtu: 1500, vlan: None };
    let limits = Limits {
        sessions_max: u32::from(SESSIONS) * workers as u32,
        routes_max: 16,
        workers,
        l2tp_port: L2TP_PORT,
        l2tp_port_count: 1,
        gateways: Default::default(),
        quality: None,
        ports: vec![ethernet, ethernet, host],
    };
    let (_, mut writer) = tables::new(&limits).unwrap();
    let route = |prefix: &str, port, gateway: [u8; 4]| Command::RouteSet {
        prefix: prefix.parse().unwrap(),
        target: RouteTarget::Neighbor { port, gateway: gateway.into() },
    };
    let neighbor = |port, address: [u8; 4]| Command::NeighborSet {
        port,
        address: address.into(),
        mac: [6; 6],
    };
    let mut commands = vec![
        Command::HostAddressSet { address: ENDPOINT.into(), tunnel_endpoint: true },
        route("0.0.0.0/0", CORE as u16, ROUTER),
        neighbor(CORE as u16, ROUTER),
        route("172.16.0.0/16", ACCESS as u16, PEER),
        neighbor(ACCESS as u16, PEER),
    ];
    for tunnel in 0..workers {
        commands.extend((1..=SESSIONS).map(|id| session(tunnel, id)));
    }
    commands.iter().for_each(|command| writer.apply(command).unwrap());
    writer
}

fn ipv4(source: [u8; 4], destination: [u8; 4], flags: u16, payload: &[u8]) -> Vec<u8> {
    let [high, low] = (20 + payload.len() as u16).to_be_bytes();
    let [flags, offset] = flags.to_be_bytes();
    let mut packet = vec![0x45, 0, high, low, 7, 7, flags, offset, 64, 17, 0, 0];
    packet.extend(source);
    packet.extend(destination);
    let sum = Sum::default().octets(&packet).checksum();
    packet[10..12].copy_from_slice(&sum.to_bytes());
    packet.extend(payload);
    packet
}

fn ethernet(packet: &[u8]) -> Vec<u8> {
    [&[2; 6][..], &[6; 6], &[0x08, 0x00], packet].concat()
}

/// The tunnel's UDP datagram with packet number `serial` of a session.
fn datagram(tunnel: usize, session: u16, serial: u32) -> Vec<u8> {
    let data = [&[0, 99, 0, 99, 0, 36, 0, 0][..], &[0; 24], &serial.to_be_bytes()].concat();
    let inner = ipv4(subscriber(tunnel, session), [8, 8, 8, 8], 0, &data);
    let mut message = vec![0, 2, 0, 1 + tunnel as u8];
    message.extend(session.to_be_bytes());
    message.extend([0xff, 0x03, 0x00, 0x21]);
    message.extend(inner);
    let words = [L2TP_PORT, L2TP_PORT, 8 + message.len() as u16, 0];
    [words.map(u16::to_be_bytes).concat(), message].concat()
}

fn upstream(tunnel: usize, session: u16, serial: u32) -> Vec<u8> {
    ethernet(&ipv4(PEER, ENDPOINT, 0, &datagram(tunnel, session, serial)))
}

/// The sender and the number of a packet that left.
fn sender_and_serial(frame: &[u8]) -> ([u8; 4], u32) {
    let source = frame[26..30].try_into().unwrap();
    (source, u32::from_be_bytes(frame[frame.len() - 4..].try_into().unwrap()))
}

/// Workers, and the far ends of their queues: `[worker][port]`.
struct Rig {
    workers: Vec<Worker>,
    wires: Vec<Vec<Wire>>,
    memory: Arc<Memory>,
    writer: Writer,
    /// The last number that left, and that came, of each sender.
    left: HashMap<[u8; 4], u32>,
    came: HashMap<(usize, u16), u32>,
    sent: u64,
    received: u64,
}

impl Rig {
    fn new(count: usize, mode: api::Handoff) -> Self {
        let writer = writer(count);
        let (memory, pools) =
            umem::pools(Memory::heap(FRAMES * count as u32), &vec![FRAMES; count]);
        let (mut workers, mut wires) = (Vec::new(), Vec::new());
        let handoff = mesh(count, mode).unwrap();
        for (index, (pool, handoff)) in pools.into_iter().zip(handoff).enumerate() {
            let ends = (0..2).map(|port| Queue::pair(PortId(port), RING));
            let (queues, ends): (Vec<_>, Vec<_>) = ends.unzip();
            let parts = WorkerParts {
                index,
                core: None,
                ports: queues.into_iter().map(|queue| vec![queue].into_boxed_slice()).collect(),
                host: None,
                pool,
                busy_poll: true,
                start: crate::worker::start_of_time(),
                handoff,
            };
            let status = Arc::new(Status::new(&parts).unwrap());
            let mut worker = Worker::new(parts, writer.tables(), status);
            // Tests say what moves, not the machine's load.
            worker.io.handoff.as_mut().unwrap().balance = None;
            worker.turn(Look::Rings);
            workers.push(worker);
            wires.push(ends);
        }
        let (left, came) = Default::default();
        Self { workers, wires, memory, writer, left, came, sent: 0, received: 0 }
    }

    /// The next packet of a session arrives, if there is room.
    fn deliver(&mut self, tunnel: usize, session: u16) {
        let serial = self.came.entry((tunnel, session)).or_default();
        let frame = upstream(tunnel, session, *serial + 1);
        if self.wires[tunnel][ACCESS].deliver(&self.memory, &frame) {
            *serial += 1;
            self.sent += 1;
        }
    }

    /// Up to `most` packets leave by the worker's queue towards the core.
    fn collect(&mut self, worker: usize, most: usize) {
        for _ in 0..most {
            let Some(frame) = self.wires[worker][CORE].collect(&self.memory) else { break };
            let (sender, serial) = sender_and_serial(&frame);
            let last = self.left.insert(sender, serial).unwrap_or(0);
            assert!(serial > last, "{sender:?}: {serial} after {last}");
            self.received += 1;
        }
    }

    fn move_share(&mut self, tunnel: usize, share: Share, to: usize) {
        let Worker { io, pipeline, .. } = &mut self.workers[tunnel];
        let Io { handoff: Some(handoff), ports, .. } = io else { panic!("no handoff") };
        let from = handoff.owners[usize::from(share)];
        if handoff.moving.is_none() && usize::from(from) != to {
            pipeline.shares().set_active(true);
            handoff.begin_move(from, to as u8, vec![share], ports, pipeline.shares(), u64::MAX);
        }
    }

    /// Turns and collects until nothing is under way any more.
    fn finish(&mut self) {
        for _ in 0..100 {
            for worker in 0..self.workers.len() {
                self.workers[worker].turn(Look::Host);
                self.collect(worker, usize::MAX);
            }
        }
        for worker in &mut self.workers {
            assert!(!worker.io.handoff.as_ref().unwrap().is_restless());
            assert_eq!(worker.missing(), 0);
        }
    }

    fn counters(&self) -> Vec<WorkerCounters> {
        self.writer.tables().shards().iter().map(|shard| shard.worker()).collect()
    }

    /// Each worker's sum is right, and all that came left or was dropped because a link was full.
    fn check(&self) {
        let counters = self.counters();
        for worker in &counters {
            let settled = worker.transmitted + worker.dropped + worker.joined + worker.handed_out;
            assert_eq!(worker.received + worker.handed_in, settled, "{worker:?}");
        }
        let sum = |of: fn(&WorkerCounters) -> u64| counters.iter().map(of).sum::<u64>();
        assert_eq!(sum(|worker| worker.handed_out), sum(|worker| worker.handed_in));
        assert_eq!(sum(|worker| worker.received), self.sent);
        assert_eq!(sum(|worker| worker.transmitted), self.received);
        let mut drops = crate::counters::DropCounts::default();
        self.writer.tables().shards().iter().for_each(|shard| shard.add_drops(&mut drops));
        let full = drops.0[DropReason::HandoffFull as usize];
        let ring = drops.0[DropReason::TransmitFull as usize];
        assert_eq!(sum(|worker| worker.dropped), full + ring, "another reason");
        assert_eq!(self.sent, self.received + full + ring);
        let sessions = self.writer.session_counters(0, usize::MAX).0;
        let counted: u64 = sessions.iter().map(|(_, session)| session.upstream_packets).sum();
        assert_eq!(counted, self.received + ring);
    }
}

#[test]
fn one_tunnel_is_shared_and_every_packet_leaves_once_in_order() {
    let mut rig = Rig::new(2, api::Handoff::Always);
    for round in 0..100 {
        for number in 0..40 {
            rig.deliver(0, 1 + (round * 40 + number * 7) % SESSIONS);
        }
        rig.workers[0].turn(Look::Rings);
        rig.workers[1].turn(Look::Rings);
        rig.collect(0, 64);
        rig.collect(1, 64);
    }
    rig.finish();
    rig.check();
    let [first, second] = &rig.counters()[..] else { panic!() };
    assert_eq!((first.received, second.received), (4000, 0));
    assert_eq!(first.dropped + second.dropped, 0);
    assert_eq!(first.handed_out, second.handed_in);
    // Half of the shares, by a hash.
    assert!((1600..2400).contains(&second.transmitted), "{second:?}");
}

#[test]
fn a_worker_that_is_behind_gets_no_more_than_its_part() {
    let mut rig = Rig::new(2, api::Handoff::Always);
    // The second worker never has a turn.
    for number in 0..2000 {
        rig.deliver(0, 1 + number % SESSIONS);
        if number % 32 == 31 {
            rig.workers[0].turn(Look::Rings);
            rig.collect(0, 64);
        }
    }
    let lent = rig.workers[0].io.handoff.as_ref().unwrap().missing();
    assert_eq!(lent, FRAMES / LENT_PART);
    assert_eq!(rig.workers[0].missing(), 0);
    let before = rig.counters()[0].clone();
    assert!(before.dropped > 0 && before.transmitted > 0);
    rig.finish();
    rig.check();
    assert_eq!(rig.counters()[1].handed_in, u64::from(lent));
}

#[test]
fn frames_wait_until_those_of_before_have_left() {
    let mut rig = Rig::new(2, api::Handoff::Auto);
    let limits = rig.writer.tables().limits().clone();
    let mut frame = Frame::allocate(1).remove(0);
    frame.reset(PortId(0), &upstream(0, 5, 1));
    let share = crate::pipeline::spread::share_of(&limits, &frame).unwrap();
    rig.deliver(0, 5);
    rig.workers[0].turn(Look::Rings);
    rig.move_share(0, share, 1);
    // The first packet is on the transmit ring: the second one waits, and does not overtake it.
    rig.deliver(0, 5);
    for _ in 0..3 {
        rig.workers[0].turn(Look::Rings);
        rig.workers[1].turn(Look::Rings);
    }
    assert_eq!(rig.workers[0].io.handoff.as_ref().unwrap().waiting.len(), 1);
    assert_eq!(rig.counters()[1].handed_in, 0);
    rig.collect(1, 64);
    rig.collect(0, 64);
    rig.finish();
    assert_eq!(rig.counters()[1].handed_in, 1);
    // And back: the second worker has it on its ring.
    rig.deliver(0, 5);
    rig.workers[0].turn(Look::Rings);
    rig.workers[1].turn(Look::Rings);
    rig.move_share(0, share, 0);
    rig.deliver(0, 5);
    for _ in 0..3 {
        rig.workers[0].turn(Look::Rings);
        rig.workers[1].turn(Look::Rings);
    }
    assert_eq!(rig.workers[0].io.handoff.as_ref().unwrap().waiting.len(), 1);
    rig.collect(0, 64);
    rig.collect(1, 64);
    rig.finish();
    rig.check();
    assert_eq!((rig.received, rig.counters()[1].handed_in), (4, 2));
}

#[test]
fn a_move_that_takes_too_long_is_given_up_in_order() {
    let mut rig = Rig::new(2, api::Handoff::Auto);
    for share in 0..=Share::MAX {
        // Nothing is under way: each goes at the next turn.
        rig.move_share(0, share, 1);
        rig.workers[0].turn(Look::Host);
    }
    // The second worker stands still; what comes home meanwhile waits until it is enough.
    for id in 1..=40 {
        rig.deliver(0, id);
    }
    rig.workers[0].turn(Look::Rings);
    let owners = rig.workers[0].io.handoff.as_ref().unwrap().owners.clone();
    assert!(owners.iter().all(|owner| *owner == 1));
    let Worker { io, pipeline, .. } = &mut rig.workers[0];
    let Io { handoff: Some(handoff), ports, .. } = io else { panic!() };
    let all = (0..=Share::MAX).collect();
    handoff.begin_move(1, 0, all, ports, pipeline.shares(), u64::MAX);
    let mut waited = 0;
    for number in 0..WAITING_MAX as u16 {
        rig.deliver(0, 1 + number % SESSIONS);
        rig.workers[0].turn(Look::Rings);
        let handoff = rig.workers[0].io.handoff.as_ref().unwrap();
        waited = waited.max(handoff.waiting.len());
        if handoff.moving.is_none() {
            break;
        }
    }
    assert_eq!(waited, (FRAMES / WAITING_PART) as usize - 1);
    let handoff = rig.workers[0].io.handoff.as_ref().unwrap();
    assert!(handoff.moving.is_none() && handoff.owners.iter().all(|owner| *owner == 1));
    rig.finish();
    rig.check();
    assert_eq!(rig.counters()[0].transmitted, 0);
}

#[test]
fn who_sleeps_is_woken_by_a_frame_and_who_has_one_does_not_sleep() {
    let mut rig = Rig::new(2, api::Handoff::Always);
    fn handoff(rig: &mut Rig, worker: usize) -> &mut Handoff {
        rig.workers[worker].io.handoff.as_mut().unwrap()
    }
    assert!(handoff(&mut rig, 1).lie_down());
    for id in 1..=20 {
        rig.deliver(0, id);
    }
    rig.workers[0].turn(Look::Rings);
    assert_eq!(handoff(&mut rig, 1).wake().read().unwrap(), 1);
    assert!(!handoff(&mut rig, 1).lie_down());
    // It is awake: nobody rings.
    rig.deliver(0, 1);
    rig.deliver(0, 2);
    rig.workers[0].turn(Look::Rings);
    assert!(handoff(&mut rig, 1).wake().read().is_err());
    rig.finish();
    rig.check();
}

#[test]
fn who_gets_nothing_any_more_is_told() {
    let mut rig = Rig::new(2, api::Handoff::Auto);
    rig.move_share(0, 3, 1);
    rig.finish();
    let inbound = |rig: &Rig| rig.workers[1].io.handoff.as_ref().unwrap().inbound();
    let retire = |rig: &Rig| rig.workers[0].io.handoff.as_ref().unwrap().retire();
    retire(&rig);
    assert_eq!(inbound(&rig), 1);
    rig.move_share(0, 3, 0);
    rig.finish();
    assert_eq!(inbound(&rig), 1);
    retire(&rig);
    assert_eq!(inbound(&rig), 0);
}

#[test]
fn a_datagram_that_came_in_fragments_goes_where_its_session_is() {
    let mut rig = Rig::new(2, api::Handoff::Always);
    for id in 1..=SESSIONS {
        let datagram = datagram(0, id, 1);
        let (first, last) = datagram.split_at(48);
        // More fragments; at offset 48.
        for (flags, part) in [(0x2000, first), (6, last)] {
            let frame = ethernet(&ipv4(PEER, ENDPOINT, flags, part));
            assert!(rig.wires[0][ACCESS].deliver(&rig.memory, &frame));
        }
        rig.workers[0].turn(Look::Rings);
        rig.workers[1].turn(Look::Rings);
        rig.collect(0, 64);
        rig.collect(1, 64);
    }
    rig.finish();
    let counters = rig.counters();
    assert_eq!(rig.received, SESSIONS.into());
    assert_eq!(counters[0].joined, SESSIONS.into());
    assert!(counters[1].transmitted > 50 && counters[0].transmitted > 50, "{counters:?}");
    assert_eq!(
        counters[0].received,
        counters[0].transmitted + counters[0].joined + counters[0].handed_out
    );
}

#[derive(Debug, Clone)]
enum Step {
    Deliver(usize, u16, u8),
    Turn(usize),
    Collect(usize, u8),
    Move(usize, Share, usize),
}

fn steps(workers: usize) -> impl Strategy<Value = Vec<Step>> {
    // Few, so that a share moves while its packets are under way.
    let sessions = 1..=4u16;
    let step = prop_oneof![
        4 => (0..workers, sessions, 1..8u8).prop_map(|(t, s, n)| Step::Deliver(t, s, n)),
        4 => (0..workers).prop_map(Step::Turn),
        3 => (0..workers, 1..40u8).prop_map(|(worker, most)| Step::Collect(worker, most)),
        2 => (0..workers, any::<u8>(), 0..workers).prop_map(|(t, s, to)| Step::Move(t, s, to)),
    ];
    prop::collection::vec(step, 0..600)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    /// Whatever moves when, whoever has a turn when, however slowly packets leave: each session's
    /// packets leave in order, and each frame is accounted for.
    #[test]
    fn order_outlives_every_schedule(always: bool, steps in steps(3)) {
        let mode = if always { api::Handoff::Always } else { api::Handoff::Auto };
        let mut rig = Rig::new(3, mode);
        for step in steps {
            match step {
                Step::Deliver(tunnel, session, count) => {
                    (0..count).for_each(|_| rig.deliver(tunnel, session));
                }
                Step::Turn(worker) => {
                    rig.workers[worker].turn(Look::Rings);
                }
                Step::Collect(worker, most) => rig.collect(worker, most.into()),
                Step::Move(tunnel, share, to) => {
                    // The shares of the few sessions there are.
                    let mut frame = Frame::allocate(1).remove(0);
                    frame.reset(PortId(0), &upstream(tunnel, 1 + u16::from(share) % 4, 1));
                    let limits = rig.writer.tables().limits();
                    let share = crate::pipeline::spread::share_of(limits, &frame).unwrap();
                    rig.move_share(tunnel, share, to);
                }
            }
        }
        rig.finish();
        rig.check();
    }
}

struct Over<'a>(&'a std::sync::atomic::AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Three workers on threads of their own, shares moving all the time; the wires are worked from here.
#[test]
fn order_outlives_threads() {
    const PACKETS: u64 = 6_000;
    // Where the machine has other work, it takes longer until each worker has had a turn with some.
    const PACKETS_MAX: u64 = 100 * PACKETS;
    let mut rig = Rig::new(3, api::Handoff::Auto);
    let mut workers = std::mem::take(&mut rig.workers);
    let over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for (index, worker) in workers.iter_mut().enumerate() {
            let over = &over;
            scope.spawn(move || {
                let mut turns = 0u32;
                while !over.load(Ordering::Relaxed) {
                    if worker.turn(Look::Rings) == 0 {
                        std::thread::yield_now();
                    }
                    turns = turns.wrapping_add(1);
                    if index == 0 && turns.is_multiple_of(16) {
                        let Worker { io, pipeline, .. } = &mut *worker;
                        let Io { handoff: Some(handoff), ports, .. } = io else { panic!() };
                        let share = turns.wrapping_mul(0x9e37_79b1).to_be_bytes()[0];
                        let from = handoff.owners[usize::from(share)];
                        if handoff.moving.is_none() {
                            let to = (from + 1) % 3;
                            pipeline.shares().set_active(true);
                            let shares = pipeline.shares();
                            let moved = (0..=Share::MAX)
                                .filter(|other| other % 8 == share % 8)
                                .filter(|other| handoff.owners[usize::from(*other)] == from)
                                .collect();
                            handoff.begin_move(from, to, moved, ports, shares, u64::MAX);
                        }
                    }
                }
            });
        }
        // Also where an assertion fails: nobody would wait for the workers' end in vain.
        let _over = Over(&over);
        let (mut dropped, mut idle) = (0, 3);
        while rig.received + dropped < rig.sent.max(PACKETS) {
            if rig.sent < PACKETS || (idle > 0 && rig.sent < PACKETS_MAX) {
                let number = (rig.sent % u64::from(SESSIONS)) as u16;
                rig.deliver(0, 1 + number);
            }
            (0..3).for_each(|worker| rig.collect(worker, 8));
            let counters = rig.counters();
            dropped = counters.iter().map(|worker| worker.dropped).sum();
            idle = counters.iter().filter(|worker| worker.transmitted == 0).count();
        }
    });
    rig.workers = workers;
    rig.finish();
    rig.check();
    let counters = rig.counters();
    assert!(counters.iter().all(|worker| worker.transmitted > 0), "{counters:?}");
}
