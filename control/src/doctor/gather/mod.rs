//! Reads a machine: files below a root, so that a test has a tree of its own, and what only the
//! kernel's sockets tell.

mod device;
mod files;
mod host;
mod port;
mod running;

use std::path::Path;

use super::machine::{Machine, Plan};
use files::Files;

/// Reads the machine that this process is on, in its network namespace, and what xlnsd at `socket`
/// says.
pub fn gather(plan: Plan, socket: &Path) -> Machine {
    let files = Files::below(Path::new("/"));
    let host = host::read(&files, &plan.tun_name);
    let names = plan.ports.iter().map(|port| port.interface.as_str());
    let ports = port::read(&files, &host, names);
    Machine { host, ports, plan, running: running::read(socket) }
}
