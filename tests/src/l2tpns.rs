//! l2tpns, another LNS, and the RADIUS server that it cannot be without, in one namespace.
//!
//! Both are the programs of their Debian packages with a configuration of their own: that of the
//! machine is neither read nor written. l2tpns reads two files at fixed places; in its mount
//! namespace a folder of ours lies over theirs.

use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::lab::require;
use crate::netns::Netns;
use crate::process::Process;
use crate::{Lab, LabError, Result};

/// From its start until it takes tunnels: it listens for others of its cluster, at least for 3.1 s.
const START_WAIT: Duration = Duration::from_secs(30);

/// How long the RADIUS server may take.
const RADIUS_WAIT: Duration = Duration::from_secs(20);

/// Both programs know it.
const RADIUS_SECRET: &str = "radius-secret";

/// What it may vary in.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where tunnels end; an address of the namespace.
    pub address: Ipv4Addr,
    /// Of the tunnel.
    pub secret: String,
    /// Every user's password.
    pub password: String,
    /// What it proposes, the most wanted first: `chap`, `pap`.
    pub authentication: &'static str,
    /// Its address on every PPP link.
    pub gateway: Ipv4Addr,
    /// Subscribers' addresses, CIDR form.
    pub pool: String,
    /// Destinations behind every subscriber, CIDR form.
    pub routes: Vec<String>,
    /// The first 64 bits of every subscriber's IPv6 address, as `2001:db8::`; none: no IPv6.
    pub ipv6_prefix: Option<String>,
    /// More lines of its configuration.
    pub lines: String,
    /// Receive buffer of its sockets, octets; none: the system's default.
    pub receive_buffer: Option<u32>,
}

impl Settings {
    /// The usual ones, for tunnels that end at `address`.
    pub fn new(address: Ipv4Addr) -> Self {
        Self {
            address,
            secret: "tunnel-secret".to_owned(),
            password: "common-password".to_owned(),
            authentication: "chap,pap",
            gateway: Ipv4Addr::new(10, 99, 255, 1),
            pool: "10.99.0.0/16".to_owned(),
            routes: Vec::new(),
            ipv6_prefix: None,
            lines: String::new(),
            receive_buffer: None,
        }
    }

    /// Its configuration file.
    fn startup(&self, folder: &Path) -> String {
        let Self { address, secret, authentication, gateway, lines, .. } = self;
        let ipv6 = self.ipv6_prefix.as_ref().map(|prefix| format!("set ipv6_prefix {prefix}\n"));
        format!(
            "set debug 3\nset pid_file \"{}\"\nset hostname \"l2tpns\"\n\
             set l2tp_secret \"{secret}\"\nset bind_address {address}\nset send_garp no\n\
             set iftun_address {gateway}\nset peer_address {gateway}\n\
             set cluster_interface {CLUSTER_INTERFACE}\nset cluster_hb_timeout 31\n\
             set primary_dns 192.0.2.53\nset primary_radius 127.0.0.1\n\
             set radius_secret \"{RADIUS_SECRET}\"\nset radius_authtypes \"{authentication}\"\n\
             set allow_duplicate_users yes\n{}{lines}",
            folder.join("pid").display(),
            ipv6.unwrap_or_default()
        )
    }

    /// What RADIUS says of whoever knows the password.
    fn users(&self) -> String {
        let replies: Vec<_> = self
            .routes
            .iter()
            .map(|route| format!("\tFramed-Route += \"{route} 0.0.0.0 1\""))
            .collect();
        format!("DEFAULT Cleartext-Password := {:?}\n{}\n", self.password, replies.join(",\n"))
    }
}

/// It wants an interface with an address for its heartbeat, also where it is alone.
const CLUSTER_INTERFACE: &str = "cluster0";

/// Both programs; dropped, they are ended.
#[derive(Debug)]
pub struct L2tpns {
    l2tpns: Process,
    /// Ended after it.
    radius: Process,
}

impl L2tpns {
    /// Starts both and waits until tunnels are taken; `name` names folder and logs. A namespace has
    /// one at a time: ports and the interface for the heartbeat are fixed.
    ///
    /// # Errors
    /// Where one of them is not installed, or does not come up; names the log.
    pub fn start(lab: &Lab, namespace: &Netns, name: &str, settings: &Settings) -> Result<Self> {
        require("l2tpns", "l2tpns")?;
        require("freeradius", "freeradius")?;
        let folder = lab.scratch().join(name);
        let radius = start_radius(lab, namespace, name, &folder, &settings.users())?;
        if namespace.ip(&format!("link show dev {CLUSTER_INTERFACE}")).is_err() {
            namespace.ip(&format!("link add {CLUSTER_INTERFACE} type veth peer cluster1"))?;
            namespace.ip(&format!("addr add 169.254.99.1/30 dev {CLUSTER_INTERFACE}"))?;
            namespace.ip("link set cluster1 up")?;
            namespace.ip(&format!("link set {CLUSTER_INTERFACE} up"))?;
        }
        let etc = folder.join("etc");
        write(&etc.join("ip_pool"), &format!("{}\n", settings.pool))?;
        write(&etc.join("users"), "")?;
        let startup = folder.join("startup");
        write(&startup, &settings.startup(&folder))?;
        let _buffer = settings.receive_buffer.map(DefaultBuffer::set).transpose()?;
        let mut command = namespace.command("unshare");
        // At its end it signals its whole process group: it gets one of its own.
        command
            .args(["--mount", "sh", "-c"])
            .arg("mount --bind \"$1\" /etc/l2tpns && exec setsid l2tpns -c \"$2\"")
            .arg("l2tpns")
            .args([&etc, &startup])
            .stdin(Stdio::null());
        let l2tpns = Process::spawn("l2tpns", &mut command, &lab.log(&format!("{name}-l2tpns")))?;
        // Before that it answers no SCCRQ.
        l2tpns.wait_line(START_WAIT, "declaring myself the master")?;
        Ok(Self { l2tpns, radius })
    }

    /// l2tpns itself: its log, its process ID.
    pub fn process(&self) -> &Process {
        &self.l2tpns
    }

    /// An error where one of them has ended.
    ///
    /// # Errors
    /// That; names the log.
    pub fn check(&mut self) -> Result<()> {
        for process in [&mut self.l2tpns, &mut self.radius] {
            if let Some(status) = process.status() {
                let what = format!("{} ended: {status}", process.name());
                return Err(LabError::with_log(what, process.log()));
            }
        }
        Ok(())
    }

    /// Ends it as a crash would: nobody is told.
    pub fn crash(&mut self) {
        self.l2tpns.signal(Signal::SIGKILL);
    }
}

/// FreeRADIUS on the loopback address: takes everybody with the common password.
fn start_radius(
    lab: &Lab,
    namespace: &Netns,
    name: &str,
    folder: &Path,
    users: &str,
) -> Result<Process> {
    let folder = folder.join("radius");
    write(&folder.join("users"), users)?;
    write(&folder.join("radiusd.conf"), &radius_config(&folder))?;
    let mut command = namespace.command("freeradius");
    command.args(["-f", "-l", "stdout", "-d"]).arg(&folder).stdin(Stdio::null());
    let radius = Process::spawn("freeradius", &mut command, &lab.log(&format!("{name}-radius")))?;
    radius.wait_line(RADIUS_WAIT, "Ready to process requests")?;
    Ok(radius)
}

/// All that it needs in one file; a refusal is not held back, and nothing is logged by request.
fn radius_config(folder: &Path) -> String {
    let listen = |kind: &str, port: u16| {
        format!("listen {{\n    type = {kind}\n    ipaddr = 127.0.0.1\n    port = {port}\n}}\n")
    };
    let (auth, accounting) = (listen("auth", 1812), listen("acct", 1813));
    let folder = folder.display();
    format!(
        r#"name = radiusd
prefix = /usr
libdir = /usr/lib/freeradius
confdir = {folder}
raddbdir = {folder}
logdir = {folder}
run_dir = {folder}
pidfile = {folder}/pid
max_request_time = 5
max_requests = 65536
hostname_lookups = no
proxy_requests = no
security {{
    max_attributes = 200
    reject_delay = 0
    status_server = no
}}
client lab {{
    ipaddr = 127.0.0.1
    secret = {RADIUS_SECRET}
    require_message_authenticator = no
}}
thread pool {{
    start_servers = 4
    max_servers = 4
    min_spare_servers = 1
    max_spare_servers = 4
    max_queue_size = 65536
}}
modules {{
    files {{
        filename = {folder}/users
    }}
    chap {{
    }}
    pap {{
    }}
    always ok {{
        rcode = ok
    }}
}}
server default {{
{auth}{accounting}authorize {{
    chap
    files
    pap
}}
authenticate {{
    Auth-Type PAP {{
        pap
    }}
    Auth-Type CHAP {{
        chap
    }}
}}
accounting {{
    ok
}}
}}
"#
    )
}

/// The size of receive buffers of sockets made while it lives; then what it was before, also where
/// this process is killed meanwhile.
struct DefaultBuffer {
    keeper: Child,
}

impl DefaultBuffer {
    const PATH: &str = "/proc/sys/net/core/rmem_default";

    /// Waits for the end of its input, which comes with the end of this process at the latest. In a
    /// process group of its own it does not hear Ctrl-C.
    const KEEPER: &str = "trap '' INT TERM HUP; cat > /dev/null; echo \"$2\" > \"$1\"";

    fn set(octets: u32) -> Result<Self> {
        let failed = |error| LabError::io(Self::PATH, &error);
        let before = std::fs::read_to_string(Self::PATH).map_err(failed)?;
        let keeper = Command::new("sh")
            .args(["-c", Self::KEEPER, "keeper", Self::PATH, before.trim()])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .map_err(failed)?;
        let buffer = Self { keeper };
        std::fs::write(Self::PATH, octets.to_string()).map_err(failed)?;
        Ok(buffer)
    }
}

impl Drop for DefaultBuffer {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

/// Writes a file that has secrets, and the folder around it.
fn write(path: &PathBuf, text: &str) -> Result<()> {
    let failed = |error| LabError::io(&format!("write {}", path.display()), &error);
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    std::fs::write(path, text).map_err(failed)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn radius_tells_the_routes() {
        let mut settings = Settings::new(Ipv4Addr::LOCALHOST);
        assert_eq!(settings.users(), "DEFAULT Cleartext-Password := \"common-password\"\n\n");
        settings.routes = vec!["198.51.100.0/24".to_owned(), "203.0.113.0/24".to_owned()];
        assert_eq!(
            settings.users(),
            "DEFAULT Cleartext-Password := \"common-password\"\n\
             \tFramed-Route += \"198.51.100.0/24 0.0.0.0 1\",\n\
             \tFramed-Route += \"203.0.113.0/24 0.0.0.0 1\"\n"
        );
    }

    #[test]
    fn ipv6_is_spoken_where_it_has_a_prefix() {
        let mut settings = Settings::new(Ipv4Addr::LOCALHOST);
        assert!(!settings.startup(Path::new("/run")).contains("ipv6_prefix"));
        settings.ipv6_prefix = Some("2001:db8:99::".to_owned());
        assert!(settings.startup(Path::new("/run")).contains("set ipv6_prefix 2001:db8:99::\n"));
    }
}
