//! The running data plane: the tables' writer, the steering program's handle, workers and sockets.

use std::sync::Arc;

use xlns_bpf::{Reason, Steer};

use super::setup::{self, SetUp};
use super::troubles;
use crate::api::{
    Command, CommandError, Configuration, Counters, PortStatus, SessionKey, SteerCounter,
};
use crate::counters::{DropCounts, PortCounters, SessionCounters};
use crate::port::PortId;
use crate::port::xsk::{Socket, kernel};
use crate::quality::SessionQuality;
use crate::tables::{SteerChange, Writer};

/// Ports, workers and tables under one configuration.
pub struct DataPlane {
    configuration: Configuration,
    parts: SetUp,
}

impl DataPlane {
    /// Sets everything up and starts the workers.
    ///
    /// # Errors
    /// What failed and what to do.
    pub fn start(configuration: Configuration) -> Result<Self, String> {
        let parts = setup::set_up(&configuration)?;
        Ok(Self { configuration, parts })
    }

    /// The configuration in force.
    pub fn configuration(&self) -> &Configuration {
        &self.configuration
    }

    /// The ports as they came up.
    pub fn ports(&self) -> &[PortStatus] {
        &self.parts.ports
    }

    /// Number of workers.
    pub fn workers(&self) -> u16 {
        self.parts.workers.len() as u16
    }

    /// Carries out one command, in the tables and in the steering program.
    ///
    /// # Errors
    /// Why it was refused; neither shows it then.
    pub fn apply(&mut self, command: &Command) -> Result<(), CommandError> {
        let SetUp { writer, steer, workers, .. } = &mut self.parts;
        carry_out(writer, command, |change| tell(steer, change))?;
        match (command, workers.first()) {
            (Command::Inject { key, frame }, Some(worker)) => {
                let taken = worker.inject(*key, frame);
                taken.ok_or_else(|| CommandError::Invalid("the worker's queue is full".into()))
            }
            _ => Ok(()),
        }
    }

    /// Forgets a resynchronisation whose control process is gone; the next one begins its own.
    pub fn abandon_resync(&mut self) {
        self.parts.writer.resync_abandon();
    }

    /// Frees what the workers have let go of; final counters of ended sessions.
    pub fn reclaim(&mut self) -> Vec<(SessionKey, SessionCounters)> {
        self.parts.writer.reclaim()
    }

    /// Counters of at most `limit` sessions from `cursor` on, and where to go on.
    pub fn session_counters(
        &self,
        cursor: u32,
        limit: usize,
    ) -> (Vec<(SessionKey, SessionCounters)>, Option<u32>) {
        self.parts.writer.session_counters(cursor, limit)
    }

    /// Counters of these sessions.
    pub fn session_counters_of(&self, keys: &[SessionKey]) -> Vec<(SessionKey, SessionCounters)> {
        self.parts.writer.session_counters_of(keys)
    }

    /// The quality of at most `limit` sessions from `cursor` on that leave `unanswered_min` requests
    /// unanswered, and where to go on.
    pub fn session_quality(
        &self,
        cursor: u32,
        limit: usize,
        unanswered_min: u8,
    ) -> (Vec<(SessionKey, SessionQuality)>, Option<u32>) {
        self.parts.writer.session_quality(cursor, limit, unanswered_min)
    }

    /// Everything that is counted, but sessions.
    pub fn counters(&self) -> Counters {
        let parts = &self.parts;
        let shards = parts.writer.tables().shards();
        let mut drops = DropCounts::default();
        for shard in shards {
            shard.add_drops(&mut drops);
        }
        let mut names: Vec<&str> = parts.ports.iter().map(|port| port.interface.as_str()).collect();
        names.push(&self.configuration.tun_name);
        let port = |(index, name): (usize, &&str)| {
            let mut total = PortCounters {
                interface: (*name).to_owned(),
                kernel_dropped: parts.sockets.get(index).map_or(0, |sockets| dropped(sockets)),
                troubles: parts.ports.get(index).map_or_else(Vec::new, |port| {
                    troubles::of_port(port, &kernel::link(name), parts.stalled(index))
                }),
                ..PortCounters::default()
            };
            for shard in shards {
                shard.add_port(PortId(index as u16), &mut total);
            }
            total
        };
        let workers = parts.workers.iter().zip(shards);
        Counters {
            workers: workers.map(|(worker, shard)| worker.counters(shard)).collect(),
            ports: names.iter().enumerate().map(port).collect(),
            drops,
            steer: steer_counters((0..parts.ports.len()).map(|port| parts.steer.counters(port))),
            sessions: parts.writer.sessions(),
            routes: parts.writer.routes(),
            neighbors: parts.writer.neighbors(),
        }
    }

    /// Gives the ports back to the kernel, stops the workers, and lets go of the rest. The programs go
    /// last: a driver whose queues are shared with sockets would have to take those apart meanwhile,
    /// on which virtio_net has hung.
    pub fn stop(self) {
        let SetUp { ports, mut steer, sockets, memory, workers, writer } = self.parts;
        for port in 0..ports.len() {
            if let Err(error) = steer.remove_sockets(port) {
                tracing::warn!(port, %error, "cannot keep frames from the workers");
            }
        }
        setup::stop(workers);
        drop(sockets);
        for port in 0..ports.len() {
            if let Err(error) = steer.detach(port) {
                tracing::warn!(port, %error, "cannot detach the steering program");
            }
        }
        drop(writer);
        debug_assert_eq!(Arc::strong_count(&memory), 1, "frames outlive their workers");
    }
}

/// The steering program's counters of each port, joined by reason.
fn steer_counters(ports: impl Iterator<Item = Vec<(Reason, u64)>>) -> Vec<SteerCounter> {
    let counter = |reason: &Reason| SteerCounter {
        name: reason.name().to_owned(),
        explanation: reason.explanation().to_owned(),
        packets: Vec::new(),
    };
    let mut counters: Vec<_> = Reason::ALL.iter().map(counter).collect();
    for port in ports {
        for (counter, (_, packets)) in counters.iter_mut().zip(port) {
            counter.packets.push(packets);
        }
    }
    counters
}

const _: () = assert!(crate::api::PEERS_MAX <= xlns_bpf::PEERS_MAX, "the program has room");

/// Carries out a command in the tables, and tells the steering program what it has to learn. What
/// the program does not take is taken back from the tables: they never differ, and the same command
/// may be tried again.
fn carry_out(
    writer: &mut Writer,
    command: &Command,
    mut steer: impl FnMut(SteerChange) -> Result<(), String>,
) -> Result<(), CommandError> {
    let mut result = writer.apply(command);
    // All of them, also after a refusal: the end of a resynchronisation brings many.
    for change in writer.take_steer_changes() {
        let Err(reason) = steer(change) else { continue };
        tracing::warn!(reason, ?change, "the steering program does not take a change");
        result = result.and(Err(CommandError::Invalid(reason)));
        if let Some(undo) = undo(change) {
            // In the tables since just now.
            let _ = writer.apply(&undo);
            for change in writer.take_steer_changes() {
                // An entry that was never made has not to be removed.
                let _ = steer(change);
            }
        }
    }
    result
}

/// What takes an addition back. A removal stays: what the program still has of it does no harm.
fn undo(change: SteerChange) -> Option<Command> {
    match change {
        SteerChange::HostAddress { address, endpoint: Some(_) } => {
            Some(Command::HostAddressRemove { address })
        }
        SteerChange::SubscriberPrefix { prefix, present: true } => {
            Some(Command::SubscriberPrefixRemove { prefix })
        }
        SteerChange::Peer { address, present: true } => Some(Command::PeerRemove { address }),
        SteerChange::HostAddress { endpoint: None, .. }
        | SteerChange::SubscriberPrefix { present: false, .. }
        | SteerChange::Peer { present: false, .. } => None,
    }
}

fn tell(steer: &mut Steer, change: SteerChange) -> Result<(), String> {
    let told = match change {
        SteerChange::HostAddress { address, endpoint: Some(endpoint) } => {
            steer.set_host_address(address, endpoint)
        }
        SteerChange::HostAddress { address, endpoint: None } => steer.remove_host_address(address),
        SteerChange::SubscriberPrefix { prefix, present: true } => {
            steer.set_subscriber_prefix(prefix)
        }
        SteerChange::SubscriberPrefix { prefix, present: false } => {
            steer.remove_subscriber_prefix(prefix)
        }
        SteerChange::Peer { address, present: true } => steer.set_peer(address),
        SteerChange::Peer { address, present: false } => steer.remove_peer(address),
    };
    told.map_err(|error| error.to_string())
}

/// Frames that the kernel dropped for want of frames or room. A socket whose interface is gone
/// counts no more.
fn dropped(sockets: &[Socket]) -> u64 {
    sockets.iter().map(|socket| socket.kernel_dropped().unwrap_or_default()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{self, PORTS_MAX, Reply, WORKERS_MAX};
    use crate::counters::WorkerCounters;
    use crate::tables::{self, Limits, PortInfo, PortKind};
    use crate::verdict::DropReason;

    fn writer() -> Writer {
        let port = |kind| PortInfo { kind, mac: [2; 6], mtu: 1500, vlan: None };
        let limits = Limits {
            sessions_max: 4,
            routes_max: 4,
            workers: 1,
            l2tp_port: 1701,
            l2tp_port_count: 1,
            gateways: Default::default(),
            quality: None,
            ports: vec![port(PortKind::Ethernet), port(PortKind::Host)],
        };
        tables::new(&limits).unwrap().1
    }

    fn subscribers(prefix: &str) -> Command {
        Command::SubscriberPrefixSet { prefix: prefix.parse().unwrap() }
    }

    fn full(_: SteerChange) -> Result<(), String> {
        Err("full".into())
    }

    #[test]
    fn what_the_steering_program_refuses_is_refused_each_time_and_is_not_in_the_tables() {
        let mut writer = writer();
        let refused = Err(CommandError::Invalid("full".into()));
        let address = "192.0.2.1".parse().unwrap();
        for command in
            [subscribers("10.0.0.0/8"), Command::HostAddressSet { address, tunnel_endpoint: true }]
        {
            assert_eq!(carry_out(&mut writer, &command, full), refused);
            assert_eq!(carry_out(&mut writer, &command, full), refused);
        }
        let mut told = Vec::new();
        let mut take = |change| {
            told.push(change);
            Ok(())
        };
        carry_out(&mut writer, &subscribers("10.0.0.0/8"), &mut take).unwrap();
        let prefix = "10.0.0.0/8".parse().unwrap();
        assert_eq!(told, [SteerChange::SubscriberPrefix { prefix, present: true }]);
    }

    #[test]
    fn the_counters_of_as_many_ports_and_workers_as_can_be_fit_a_message() {
        let largest = || Reason::ALL.iter().map(|reason| (*reason, u64::MAX)).collect();
        let steer = steer_counters((0..PORTS_MAX).map(|_| largest()));
        assert_eq!(steer.len(), Reason::ALL.len());
        assert!(steer.iter().all(|counter| counter.packets.len() == PORTS_MAX));
        assert_eq!(steer[0].explanation, Reason::ALL[0].explanation());
        let worker = WorkerCounters {
            core: Some(u16::MAX),
            received: u64::MAX,
            originated: u64::MAX,
            transmitted: u64::MAX,
            dropped: u64::MAX,
            joined: u64::MAX,
            measured: u64::MAX,
            waiting: u64::MAX,
            handed_out: u64::MAX,
            handed_in: u64::MAX,
            batches: u64::MAX,
            load_permille: u16::MAX,
            frames_free: u64::MAX,
        };
        let port = PortCounters {
            interface: "x".repeat(15),
            received_packets: u64::MAX,
            received_bytes: u64::MAX,
            transmitted_packets: u64::MAX,
            transmitted_bytes: u64::MAX,
            kernel_dropped: u64::MAX,
            troubles: vec!["x".repeat(250); 3],
        };
        let counters = Counters {
            workers: vec![worker; WORKERS_MAX],
            ports: vec![port; PORTS_MAX + 1],
            drops: DropCounts(vec![u64::MAX; DropReason::COUNT]),
            steer,
            sessions: u32::MAX,
            routes: u32::MAX,
            neighbors: u32::MAX,
        };
        let counters = Box::new(counters);
        assert!(api::encode(&Reply::Counters { number: u64::MAX, counters }).is_ok());
    }

    #[test]
    fn an_address_whose_change_is_refused_leaves_the_program_too() {
        let mut writer = writer();
        let address = "192.0.2.1".parse().unwrap();
        let set = |tunnel_endpoint| Command::HostAddressSet { address, tunnel_endpoint };
        carry_out(&mut writer, &set(false), |_| Ok(())).unwrap();
        let mut removed = Vec::new();
        let result = carry_out(&mut writer, &set(true), |change| match change {
            SteerChange::HostAddress { endpoint: Some(true), .. } => Err("full".into()),
            other => {
                removed.push(other);
                Ok(())
            }
        });
        assert_eq!(result, Err(CommandError::Invalid("full".into())));
        assert_eq!(removed, [SteerChange::HostAddress { address, endpoint: None }]);
    }

    #[test]
    fn one_change_that_fails_keeps_no_other_back() {
        let mut writer = writer();
        let prefixes = ["10.0.0.0/8", "100.64.0.0/10", "2001:db8::/32"];
        for prefix in prefixes {
            carry_out(&mut writer, &subscribers(prefix), |_| Ok(())).unwrap();
        }
        carry_out(&mut writer, &Command::ResyncBegin, |_| Ok(())).unwrap();
        let mut seen = 0;
        let end = carry_out(&mut writer, &Command::ResyncEnd, |change| {
            seen += 1;
            full(change)
        });
        assert!(end.is_err());
        assert_eq!(seen, prefixes.len());
    }
}
