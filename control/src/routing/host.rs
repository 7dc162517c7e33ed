//! What we put into the kernel's tables: the subscriber prefixes as routes to `xlns0`, so that the
//! host and a routing daemon see them, and the gateway's address, so that the host answers for it.

use std::time::Duration;

use super::{Routing, Uplinks};
use crate::netlink::{KernelRequest, Path, ROUTE_PROTOCOL};
use crate::time::Time;

/// When an installation that the kernel refused is tried again.
const RETRY: Duration = Duration::from_secs(5);

/// The state of the installation.
#[derive(Debug, Default)]
pub(super) struct Installation {
    /// The link it is on.
    link: Option<u32>,
    pub(super) retry_at: Option<Time>,
    shut_down: bool,
}

impl Routing {
    /// Takes our routes and our address out of the kernel.
    pub fn shutdown(&mut self) {
        self.installation.shut_down = true;
        self.installation.retry_at = None;
        self.set_uplinks(Uplinks::default());
        let Some(link) = self.installation.link.take() else { return };
        for prefix in &self.config.subscriber_prefixes {
            self.kernel.push_back(KernelRequest::RemoveRoute { prefix: *prefix, link });
        }
        if let Some(address) = self.config.gateway {
            self.kernel.push_back(KernelRequest::RemoveAddress { address, link });
        }
    }

    /// The TUN device is there: after a start, or again after the data plane was restarted.
    pub(super) fn install(&mut self, link: u32) {
        if self.installation.shut_down {
            return;
        }
        self.installation.link = Some(link);
        self.installation.retry_at = None;
        if let Some(address) = self.config.gateway {
            self.kernel.push_back(KernelRequest::AddAddress { address, link });
        }
        for prefix in &self.config.subscriber_prefixes {
            self.kernel.push_back(KernelRequest::AddRoute { prefix: *prefix, link });
        }
        self.settle_uplinks();
    }

    /// The TUN device, where it is up.
    pub(super) fn tun_link(&self) -> Option<u32> {
        self.installation.link
    }

    /// The TUN device is gone, and what was on it.
    pub(super) fn forget_installation(&mut self, link: u32) {
        if self.installation.link == Some(link) {
            self.installation.link = None;
            self.installation.retry_at = None;
            self.uplink.forget_link(link);
        }
    }

    pub(super) fn retry_installation(&mut self, link: u32) {
        if self.installation.link == Some(link) {
            self.installation.retry_at.get_or_insert(self.now + RETRY);
        }
    }

    pub(super) fn handle_installation_timeout(&mut self) {
        if self.installation.retry_at.is_some_and(|at| at <= self.now)
            && let Some(link) = self.installation.link
        {
            self.install(link);
        }
    }

    /// Removes routes of ours that an earlier run with other prefixes left.
    pub(super) fn remove_leftovers(&mut self) {
        for (prefix, entry) in self.routes.iter() {
            if self.config.subscriber_prefixes.contains(&prefix) {
                continue;
            }
            for candidate in &entry.candidates {
                if candidate.protocol != ROUTE_PROTOCOL {
                    continue;
                }
                let Path::Hops(hops) = &candidate.path else { continue };
                for hop in hops {
                    let link = hop.link;
                    if self.links.lookup(link).is_some_and(|link| self.is_tun(link)) {
                        self.kernel.push_back(KernelRequest::RemoveRoute { prefix, link });
                    }
                }
            }
        }
    }
}
