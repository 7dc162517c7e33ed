//! Echo-Requests of workers: made, answered in every way that there is, lost.

use super::*;
use crate::quality::{SessionQuality, Settings};
use crate::tables::Reader;
use crate::wire::ppp;

const SETTINGS: Settings = Settings { interval_ms: 1000, loss_after_ms: 3000 };
const MILLISECOND: u64 = 1_000_000;
const SECOND: u64 = 1000 * MILLISECOND;
const MAGIC: u32 = 0x1111_1111;

/// Where PPP begins in a frame of ours: behind Ethernet, IPv4, UDP and L2TP.
const PPP: usize = 14 + 20 + 8 + 6;

struct Bench {
    tables: Arc<Tables>,
    writer: Writer,
    reader: Reader,
    pipeline: Pipeline,
    pool: MemoryPool,
    now: u64,
}

fn key(id: u32) -> SessionKey {
    SessionKey {
        local_tunnel_id: 7 + (id >> 15) as u16,
        local_session_id: 1 + (id & 0x7fff) as u16,
    }
}

fn session(id: u32, options: SessionOptions) -> Session {
    Session {
        key: key(id),
        // The peer has assigned the same.
        peer_tunnel_id: key(id).local_tunnel_id,
        peer_session_id: key(id).local_session_id,
        local: (Ipv4Addr::from(ENDPOINT), L2TP_PORT).into(),
        peer: (Ipv4Addr::from(PEER), L2TP_PORT).into(),
        send_acfc: true,
        send_pfc: true,
        magic: MAGIC,
        peer_mru: 1460,
        prefixes: Vec::new(),
        source_check: true,
        gateway: None,
        options,
    }
}

fn monitored() -> SessionOptions {
    SessionOptions { quality: true, ..SessionOptions::DEFAULT }
}

impl Bench {
    fn new(sessions: u32, settings: Option<Settings>, options: SessionOptions) -> Self {
        let (kind, mac) = (PortKind::Ethernet, [2, 0, 0, 0, 0, 1]);
        let host = PortInfo { kind: PortKind::Host, mac: [0; 6], mtu: 1500, vlan: None };
        let limits = Limits {
            sessions_max: sessions.max(4),
            routes_max: 16,
            workers: 1,
            l2tp_port: L2TP_PORT,
            l2tp_port_count: 1,
            gateways: Default::default(),
            quality: settings,
            ports: vec![PortInfo { kind, mac, mtu: 1500, vlan: None }, host],
        };
        let (tables, mut writer) = tables::new(&limits).unwrap();
        let (port, peer) = (0, IpAddr::from(PEER));
        let target = RouteTarget::Neighbor { port, gateway: peer };
        let neighbor = Command::NeighborSet { port, address: peer, mac: [4; 6] };
        let sessions = (0..sessions).map(|id| Command::SessionSet(Box::new(session(id, options))));
        let commands = [neighbor, Command::RouteSet { prefix: peer.into(), target }];
        for command in commands.into_iter().chain(sessions) {
            writer.apply(&command).unwrap();
        }
        let reader = tables.register(0);
        let pipeline = Pipeline::new(Arc::clone(&tables), 0);
        let mut bench =
            Self { tables, writer, reader, pipeline, pool: MemoryPool::new(256), now: 1 << 40 };
        // Time begins when it is looked at first.
        bench.ask();
        bench
    }

    /// The PPP packets of the requests that are due, at most those of one step, and whether more may
    /// be.
    fn step(&mut self) -> (Vec<Vec<u8>>, bool) {
        let (mut frames, mut verdicts) = (Vec::new(), Vec::new());
        self.pipeline.set_time(self.now);
        let guard = self.reader.guard();
        let pool = &mut self.pool;
        let take = || pool.receive(PortId(1), &[]);
        let more = self.pipeline.monitor(&guard, take, &mut frames, &mut verdicts);
        assert_eq!(frames.len(), verdicts.len());
        let mut sent = Vec::new();
        for (frame, verdict) in frames.into_iter().zip(verdicts) {
            if verdict == Verdict::Transmit(PortId(0)) {
                sent.push(frame.octets().to_vec());
            }
            self.pool.recycle(frame);
        }
        (sent, more)
    }

    /// The frames of all requests that are due.
    fn ask(&mut self) -> Vec<Vec<u8>> {
        let mut sent = Vec::new();
        loop {
            let (frames, more) = self.step();
            sent.extend(frames);
            if !more {
                return sent;
            }
        }
    }

    /// The request of the only session at the next interval.
    fn request(&mut self) -> Vec<u8> {
        self.now += SECOND;
        let mut sent = self.ask();
        assert_eq!(sent.len(), 1);
        sent.remove(0)[PPP..].to_vec()
    }

    /// Lets an LCP packet in from the session.
    fn answer(&mut self, id: u32, packet: &[u8]) -> Verdict {
        let SessionKey { local_tunnel_id, local_session_id } = key(id);
        let mut l2tp = [0x0002, local_tunnel_id, local_session_id].map(u16::to_be_bytes).concat();
        l2tp.extend([0xc0, 0x21]);
        l2tp.extend(packet);
        let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 9, 8, 0];
        frame.extend(ipv4(17, PEER, ENDPOINT, 64, &udp(L2TP_PORT, L2TP_PORT, &l2tp)));
        self.pipeline.set_time(self.now);
        let guard = self.reader.guard();
        let mut frames = [self.pool.receive(PortId(0), &frame).unwrap()];
        let mut verdicts = Vec::new();
        self.pipeline.process(&guard, &mut frames, &mut verdicts);
        frames.into_iter().for_each(|frame| self.pool.recycle(frame));
        verdicts[0]
    }

    fn quality(&self) -> SessionQuality {
        self.writer.session_quality(0, 1, 0).0[0].1
    }
}

/// The reply that a peer makes of a request: its own magic number, all else as it came.
fn reply(request: &[u8]) -> Vec<u8> {
    let packet = &request[4..];
    assert_eq!(&request[..4], [0xff, 0x03, 0xc0, 0x21], "nothing is left out of LCP");
    assert_eq!((packet[0], &packet[4..8]), (ppp::ECHO_REQUEST, &MAGIC.to_be_bytes()[..]));
    assert_eq!(usize::from(packet[3]), packet.len());
    [&[ppp::ECHO_REPLY], &packet[1..4], &[0x22; 4], &packet[8..]].concat()
}

fn alone() -> Bench {
    Bench::new(1, Some(SETTINGS), monitored())
}

#[test]
fn a_reply_is_measured_and_its_repetition_is_not() {
    let mut bench = alone();
    let request = bench.request();
    bench.now += 20 * MILLISECOND;
    assert_eq!(bench.answer(0, &reply(&request)), Verdict::Measured);
    bench.now += MILLISECOND;
    assert_eq!(bench.answer(0, &reply(&request)), Verdict::Drop(DropReason::EchoReply));
    let quality = bench.quality();
    // One at the start of the bench.
    assert_eq!((quality.sent, quality.lost, quality.unanswered), (2, 0, 0));
    assert_eq!((quality.last_us, quality.min_us, quality.max_us), (20_000, 20_000, 20_000));
    assert_eq!(quality.percentile(9900), Some(20_000));
    let worker = bench.tables.shard(0).worker();
    assert_eq!((worker.originated, worker.measured, worker.dropped), (2, 1, 1));
    // It is no packet of the subscriber's.
    assert_eq!(counters(&bench.writer), [SessionCounters::default()]);
}

#[test]
fn each_request_has_another_identifier_of_the_workers() {
    let mut bench = alone();
    let identifiers: Vec<_> = (0..200).map(|_| bench.request()[5]).collect();
    assert!(identifiers.iter().all(|identifier| identifier & 0x80 != 0));
    assert!(identifiers.windows(2).all(|pair| pair[0] != pair[1]));
}

#[test]
fn a_forged_time_is_not_believed() {
    let mut bench = alone();
    let request = bench.request();
    bench.now += 100 * MILLISECOND;
    // Sent later than it was: each octet of the time, the number and the tag.
    for place in 8..24 {
        let mut forged = reply(&request);
        forged[place] ^= 1;
        let verdict = bench.answer(0, &forged);
        // By its identifier the first one is an answer, as that of a peer that sends no data back.
        let expected = match place {
            8 => Verdict::Measured,
            _ => Verdict::Drop(DropReason::EchoReply),
        };
        assert_eq!(verdict, expected, "{place}");
    }
    let quality = bench.quality();
    assert_eq!((quality.recent.untimed, quality.last_us, quality.min_us), (1, 0, 0));
    assert_eq!(bench.answer(0, &reply(&request)), Verdict::Drop(DropReason::EchoReply));
}

#[test]
fn the_reply_of_another_session_counts_for_none() {
    let mut bench = Bench::new(2, Some(SETTINGS), monitored());
    bench.now += SECOND;
    let sent = bench.ask();
    assert_eq!(sent.len(), 2);
    bench.now += MILLISECOND;
    for frame in sent {
        let own = u32::from(frame[PPP - 1]) - 1;
        bench.answer(1 - own, &reply(&frame[PPP..]));
    }
    // Whether the identifiers agree by chance or not, nobody's latency comes of it.
    let (sessions, _) = bench.writer.session_quality(0, 9, 0);
    assert!(sessions.iter().all(|(_, quality)| quality.last_us == 0));
}

#[test]
fn data_that_is_cut_short_or_long_is_an_answer() {
    let mut bench = alone();
    for length in [8, 9, 23] {
        let request = bench.request();
        let mut cut = reply(&request);
        cut.truncate(length);
        cut[3] = length as u8;
        assert_eq!(bench.answer(0, &cut), Verdict::Measured, "{length}");
    }
    assert_eq!((bench.quality().recent.untimed, bench.quality().last_us), (3, 0));
    // Longer, or padded: what we have sent is there.
    let request = bench.request();
    let mut long = [reply(&request), vec![7; 30]].concat();
    assert_eq!(bench.answer(0, &long), Verdict::Measured);
    let request = bench.request();
    long = [reply(&request), vec![7; 30]].concat();
    long[3] = long.len() as u8;
    assert_eq!(bench.answer(0, &long), Verdict::Measured);
    assert_eq!((bench.quality().recent.untimed, bench.quality().min_us), (3, 1));
}

#[test]
fn our_own_magic_number_in_a_reply_is_none_of_our_business() {
    let mut bench = alone();
    let request = bench.request();
    let mut own = reply(&request);
    own[4..8].copy_from_slice(&MAGIC.to_be_bytes());
    assert_eq!(bench.answer(0, &own), Verdict::Measured);
    // A line that sends everything back sends requests back.
    let request = bench.request();
    assert_eq!(bench.answer(0, &request[4..]), Verdict::Drop(DropReason::EchoLooped));
    assert_eq!(bench.quality().unanswered, 1);
}

#[test]
fn a_reply_is_late_by_the_clock_and_lost_by_the_next_requests() {
    let mut bench = alone();
    let request = bench.request();
    bench.now += 3000 * MILLISECOND + 999;
    assert_eq!(bench.answer(0, &reply(&request)), Verdict::Measured);
    assert_eq!(bench.quality().max_us, 3_000_000);
    let request = bench.request();
    bench.now += 3001 * MILLISECOND;
    assert_eq!(bench.answer(0, &reply(&request)), Verdict::Drop(DropReason::EchoLate));
    // Without data, and of so long ago that it is lost.
    let lost = bench.quality().lost;
    let old = reply(&bench.request());
    for _ in 0..SETTINGS.patience() {
        let request = bench.request();
        bench.answer(0, &reply(&request));
    }
    let mut old = old[..8].to_vec();
    old[3] = 8;
    assert_eq!(bench.answer(0, &old), Verdict::Drop(DropReason::EchoLate));
    // These two, and the one at the start of the bench.
    assert_eq!(bench.quality().lost, lost + 3);
}

#[test]
fn a_peer_that_is_gone_is_all_loss() {
    let mut bench = alone();
    for _ in 0..400 {
        bench.request();
    }
    let quality = bench.quality();
    assert_eq!((quality.sent, quality.lost), (401, 401 - SETTINGS.patience()));
    assert_eq!((quality.unanswered, quality.recent.loss()), (32, Some(10_000)));
}

#[test]
fn replies_that_nobody_waits_for() {
    // Control's identifiers, a session that is not monitored, a data plane that monitors nothing.
    let mut bench = alone();
    let nobody = Verdict::Drop(DropReason::EchoReply);
    assert_eq!(bench.answer(0, &[10, 0x7f, 0, 8, 0, 0, 0, 0]), nobody);
    assert_eq!(bench.answer(0, &[10, 0x80, 0, 9, 0, 0, 0, 0]), {
        Verdict::Drop(DropReason::EchoMalformed)
    });
    let mut bench = Bench::new(1, Some(SETTINGS), SessionOptions::DEFAULT);
    assert_eq!(bench.answer(0, &[10, 0x80, 0, 8, 0, 0, 0, 0]), nobody);
    assert_eq!(bench.writer.session_quality(0, 9, 0), (vec![], None));
    let mut bench = Bench::new(1, None, monitored());
    assert!(!bench.pipeline.is_monitoring());
    assert_eq!(bench.answer(0, &[10, 0x80, 0, 8, 0, 0, 0, 0]), nobody);
}

#[test]
fn requests_are_numbered_where_the_session_is() {
    let sequence = crate::api::SequenceNumbers::Always;
    let mut bench =
        Bench::new(1, Some(SETTINGS), SessionOptions { sequence, first_ns: 0xfffe, ..monitored() });
    let ns: Vec<_> = (0..2)
        .map(|_| {
            bench.now += SECOND;
            let frame = bench.ask().remove(0);
            u16::from_be_bytes([frame[PPP], frame[PPP + 1]])
        })
        .collect();
    assert_eq!(ns, [0xffff, 0]);
}

#[test]
fn a_session_out_of_reach_loses_and_counts_the_reason() {
    let mut bench = alone();
    let command = Command::NeighborRemove { port: 0, address: PEER.into() };
    bench.writer.apply(&command).unwrap();
    for _ in 0..10 {
        bench.now += SECOND;
        assert!(bench.ask().is_empty());
    }
    assert_eq!(bench.quality().sent, 11);
    assert!(bench.quality().lost > 0);
    let worker = bench.tables.shard(0).worker();
    assert_eq!((worker.originated, worker.dropped), (11, 10));
}

#[test]
fn without_frames_nothing_is_sent_and_nothing_lost() {
    let mut bench = alone();
    let held: Vec<_> = std::iter::from_fn(|| bench.pool.receive(PortId(1), &[])).collect();
    for _ in 0..10 {
        bench.now += SECOND;
        let (sent, more) = bench.step();
        assert!(sent.is_empty() && !more);
    }
    assert_eq!((bench.quality().sent, bench.quality().lost), (1, 0));
    held.into_iter().for_each(|frame| bench.pool.recycle(frame));
}

#[test]
fn a_session_that_changes_or_ends() {
    let mut bench = alone();
    let request = bench.request();
    // It moves to another slot; what is known of it stays.
    let moved = Session { peer_mru: 1400, ..session(0, monitored()) };
    bench.writer.apply(&Command::SessionSet(Box::new(moved.clone()))).unwrap();
    bench.now += MILLISECOND;
    assert_eq!(bench.answer(0, &reply(&request)), Verdict::Measured);
    assert_eq!(bench.quality().sent, 2);
    // LCP closes: it is asked no more.
    let closed = Session { options: SessionOptions::DEFAULT, ..moved.clone() };
    bench.writer.apply(&Command::SessionSet(Box::new(closed))).unwrap();
    bench.now += SECOND;
    assert_eq!(bench.ask().len(), 0);
    bench.writer.apply(&Command::SessionSet(Box::new(moved.clone()))).unwrap();
    assert_eq!(bench.quality().sent, 2);
    bench.writer.apply(&Command::SessionRemove(key(0))).unwrap();
    bench.now += SECOND;
    assert_eq!(bench.ask().len(), 0);
    assert_eq!(bench.writer.session_quality(0, 9, 0), (vec![], None));
    // The next session with its index begins anew.
    bench.writer.reclaim();
    let _ = bench.reader.guard();
    bench.writer.reclaim();
    bench.writer.apply(&Command::SessionSet(Box::new(session(5, monitored())))).unwrap();
    assert_eq!(bench.quality(), SessionQuality::default());
}

#[test]
fn a_hundred_thousand_sessions_are_asked_evenly() {
    let mut bench = Bench::new(100_000, Some(SETTINGS), monitored());
    let mut total = 0;
    // As a worker does that looks each 250 microseconds: 25 on average, none left over for long.
    let mut left = 0;
    for _ in 0..4000 {
        bench.now += SECOND / 4000;
        let (sent, more) = bench.step();
        assert!(sent.len() <= ECHOES_MAX);
        left = if more { left + 1 } else { 0 };
        assert!(left < 4, "it falls behind");
        total += sent.len();
    }
    assert!((99_900..=100_100).contains(&total), "{total}");
    let (mut cursor, mut seen) = (0, 0);
    while let (sessions, Some(next)) = bench.writer.session_quality(cursor, 700, 0) {
        seen += sessions.len();
        cursor = next;
    }
    assert!(seen > 99_000);
}

/// Says what a request and its reply cost: `cargo test --release -p xlns-dataplane --lib cost_of --
/// --ignored --nocapture`.
#[test]
#[ignore = "prints figures; needs --release to say something"]
fn cost_of_an_echo() {
    const SESSIONS: u32 = 100_000;
    let mut bench = Bench::new(SESSIONS, Some(SETTINGS), monitored());
    for round in 0..5 {
        let (mut sending, mut receiving, mut count) = (0, 0, 0);
        for _ in 0..4000 {
            bench.now += SECOND / 4000;
            let (mut frames, mut verdicts) = (Vec::new(), Vec::new());
            bench.pipeline.set_time(bench.now);
            let guard = bench.reader.guard();
            let pool = &mut bench.pool;
            let before = crate::worker::start_of_time();
            let take = || pool.receive(PortId(1), &[]);
            bench.pipeline.monitor(&guard, take, &mut frames, &mut verdicts);
            sending += before.elapsed().as_nanos();
            count += frames.len();
            for frame in &mut frames {
                let octets = frame.octets().to_vec();
                let mut l2tp = octets[PPP - 6..PPP].to_vec();
                l2tp.extend([0xc0, 0x21]);
                l2tp.extend(reply(&octets[PPP..]));
                let mut whole = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 9, 8, 0];
                whole.extend(ipv4(17, PEER, ENDPOINT, 64, &udp(L2TP_PORT, L2TP_PORT, &l2tp)));
                frame.reset(PortId(0), &whole);
            }
            let before = crate::worker::start_of_time();
            bench.pipeline.process(&guard, &mut frames, &mut verdicts);
            receiving += before.elapsed().as_nanos();
            frames.into_iter().for_each(|frame| bench.pool.recycle(frame));
        }
        let count = count as u128;
        println!(
            "round {round}: {} ns to ask, {} ns to measure",
            sending / count,
            receiving / count
        );
    }
}
