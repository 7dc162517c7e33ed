//! Peers: the tables do not need them, the steering program does.

use std::net::IpAddr;

use super::Writer;
use super::check;
use crate::api::{CommandError, PEERS_MAX};
use crate::tables::SteerChange;

impl Writer {
    pub(super) fn peer_set(&mut self, address: IpAddr) -> Result<(), CommandError> {
        check::unicast(address)?;
        if !self.peers.contains_key(&address) && self.peers.len() >= PEERS_MAX {
            return Err(CommandError::Invalid(format!("more than {PEERS_MAX} peers")));
        }
        if self.peers.insert(address, true).is_none() {
            self.steer_changes.push(SteerChange::Peer { address, present: true });
        }
        Ok(())
    }

    pub(super) fn peer_remove(&mut self, address: IpAddr) -> Result<(), CommandError> {
        if self.peers.remove(&address).is_none() {
            return Err(CommandError::NoSuchEntry);
        }
        self.steer_changes.push(SteerChange::Peer { address, present: false });
        Ok(())
    }

    /// Ends a resynchronisation: removes what was not named since it began.
    pub(super) fn sweep_peers(&mut self) -> Result<(), CommandError> {
        let unnamed = self.peers.iter().filter(|(_, named)| !**named);
        let unnamed: Vec<_> = unnamed.map(|(address, _)| *address).collect();
        unnamed.into_iter().try_for_each(|address| self.peer_remove(address))
    }
}
