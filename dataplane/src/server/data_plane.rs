//! The running data plane: the tables' writer, the steering program's handle, workers and sockets.

use std::sync::Arc;

use super::setup::{self, SetUp};
use crate::api::{Command, CommandError, Configuration, Counters, PortStatus, SessionKey};
use crate::counters::{DropCounts, PortCounters, SessionCounters};
use crate::port::PortId;
use crate::port::xsk::Socket;
use crate::tables::SteerChange;

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
    /// Why it was refused.
    pub fn apply(&mut self, command: &Command) -> Result<(), CommandError> {
        let applied = self.parts.writer.apply(command);
        // Also after a refusal: what a command before it left must not wait.
        for change in self.parts.writer.take_steer_changes() {
            self.steer(change)?;
        }
        applied
    }

    fn steer(&mut self, change: SteerChange) -> Result<(), CommandError> {
        let steer = &mut self.parts.steer;
        let result = match change {
            SteerChange::HostAddress { address, endpoint: Some(endpoint) } => {
                steer.set_host_address(address, endpoint)
            }
            SteerChange::HostAddress { address, endpoint: None } => {
                steer.remove_host_address(address)
            }
            SteerChange::SubscriberPrefix { prefix, present: true } => {
                steer.set_subscriber_prefix(prefix)
            }
            SteerChange::SubscriberPrefix { prefix, present: false } => {
                steer.remove_subscriber_prefix(prefix)
            }
        };
        result.map_err(|error| {
            tracing::warn!(%error, ?change, "the steering program does not take a change");
            CommandError::Invalid(error.to_string())
        })
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
                ..PortCounters::default()
            };
            for shard in shards {
                shard.add_port(PortId(index as u16), &mut total);
            }
            total
        };
        let steer = |index| {
            let counters = parts.steer.counters(index).into_iter();
            counters.map(|(name, packets)| (name.to_owned(), packets)).collect()
        };
        let workers = parts.workers.iter().zip(shards);
        Counters {
            workers: workers.map(|(worker, shard)| worker.counters(shard)).collect(),
            ports: names.iter().enumerate().map(port).collect(),
            drops,
            steer: (0..parts.ports.len()).map(steer).collect(),
            sessions: parts.writer.sessions(),
            routes: parts.writer.routes(),
            neighbors: parts.writer.neighbors(),
        }
    }

    /// Gives the ports back to the kernel, stops the workers, and lets go of the rest.
    pub fn stop(self) {
        let SetUp { ports, mut steer, sockets, memory, workers, writer } = self.parts;
        for port in 0..ports.len() {
            if let Err(error) = steer.detach(port) {
                tracing::warn!(port, %error, "cannot detach the steering program");
            }
        }
        setup::stop(workers);
        drop(sockets);
        drop(writer);
        debug_assert_eq!(Arc::strong_count(&memory), 1, "frames outlive their workers");
    }
}

/// Frames that the kernel dropped for want of frames or room. A socket whose interface is gone
/// counts no more.
fn dropped(sockets: &[Socket]) -> u64 {
    sockets.iter().map(|socket| socket.kernel_dropped().unwrap_or_default()).sum()
}
