//! The two LNSs in the guest: xlns on its NICs, and the kernel's own L2TP under xl2tpd and pppd.

use std::time::Duration;

use serde_json::Value;

use crate::deadline;
use crate::guest::{Guest, Job};
use crate::server::{Options, Server};
use crate::topology::{ACCESS_PORT, CORE_GATEWAY, CORE_PORT, GATEWAY, LNS_ADDRESS, SUBSCRIBERS};
use crate::xlns::{is_up, rows};
use crate::{Lab, Result};

/// What tunnels are authenticated by.
pub const SECRET: &str = "tunnel-secret";

/// The subscriber's name and password.
pub const LOGIN: [&str; 2] = ["alice", "alice-password"];

/// How long a command in the guest may take: a program starts a hundred times slower there.
const COMMAND_WAIT: Duration = Duration::from_secs(60);

/// How long the programs of xlns may take until both ports are up.
const READY_WAIT: Duration = Duration::from_secs(120);

/// xlnsd's socket in the guest.
const ADMIN_SOCKET: &str = "/run/xlns-admin.sock";

/// How long a NIC's interrupt waits for more packets, nanoseconds. QEMU raises one for each frame, as
/// no NIC does on whose packets a machine works: both LNSs would be measured by their interrupts.
const MODERATION_NANOSECONDS: u32 = 2_000_000;

/// What the guest's network needs before any LNS: addresses, packets forwarded, and interrupts
/// moderated, by the kernel for want of a NIC that does.
pub fn network() -> String {
    let moderation = |port: &str| {
        format!(
            "echo {MODERATION_NANOSECONDS} > /sys/class/net/{port}/gro_flush_timeout\n\
             echo 1 > /sys/class/net/{port}/napi_defer_hard_irqs\n"
        )
    };
    [addresses(), moderation(ACCESS_PORT), moderation(CORE_PORT)].concat()
}

fn addresses() -> String {
    format!(
        "ip link set lo up\n\
         ip addr add {LNS_ADDRESS}/24 dev {ACCESS_PORT}\n\
         ip addr add {CORE_GATEWAY}/24 dev {CORE_PORT}\n\
         sysctl -q -w net.ipv4.ip_forward=1 net.ipv6.conf.all.disable_ipv6=1\n\
         sysctl -q -w net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0\n\
         ip link set {ACCESS_PORT} up\nip link set {CORE_PORT} up\n"
    )
}

/// xlns, under `xlns run`; dropped, it is ended.
#[derive(Debug)]
pub struct Xlns<'a> {
    guest: &'a Guest,
    job: Job,
    program: String,
}

impl<'a> Xlns<'a> {
    /// Starts it, with more lines for its configuration, and waits until both ports are up.
    ///
    /// # Errors
    /// Where it does not get there.
    pub fn start(lab: &Lab, guest: &'a Guest, more: &str) -> Result<Self> {
        let program = lab.program("xlns")?.display().to_string();
        for program in ["xlnsd", "xlns-dataplane"] {
            lab.program(program)?;
        }
        let config = guest.write("xlns.toml", &(configuration() + more))?;
        let job = guest.start(&format!("exec {program} run --config {config} --log info"))?;
        let xlns = Self { guest, job, program };
        let mut last = String::new();
        let ready = deadline::poll(READY_WAIT, || match xlns.ports() {
            Ok(ports) => (ports.len() == 2).then_some(()),
            Err(error) => {
                last = error.to_string();
                xlns.job.status().map(|_| ())
            }
        });
        if ready.is_none() || xlns.job.status().is_some() {
            return Err(xlns.error(&format!("is not ready: {last}")));
        }
        Ok(xlns)
    }

    /// The rows of `xlns show WHAT --json`.
    ///
    /// # Errors
    /// Where it fails or writes no JSON.
    pub fn show(&self, what: &str) -> Result<Vec<Value>> {
        let program = &self.program;
        let script = format!("{program} show {what} --json --socket {ADMIN_SOCKET}");
        rows(&self.guest.check(&script, COMMAND_WAIT)?)
    }

    /// The ports that carry packets, as `xlns show ports` has them.
    ///
    /// # Errors
    /// Where it fails.
    pub fn ports(&self) -> Result<Vec<Value>> {
        Ok(self.show("ports")?.into_iter().filter(is_up).collect())
    }

    /// What it said.
    pub fn log(&self) -> String {
        self.job.output().text()
    }

    /// Ends it as a service manager does.
    ///
    /// # Errors
    /// Where it does not end in time, or not as it should.
    pub fn stop(self) -> Result<()> {
        self.guest.signal(&self.job, "TERM")?;
        match self.guest.wait(&self.job, COMMAND_WAIT) {
            Some(0) => Ok(()),
            status => Err(self.error(&format!("is told to end: {status:?}"))),
        }
    }

    /// An error, with all that it said.
    pub fn error(&self, what: &str) -> crate::LabError {
        self.guest.error(format!("xlns {what}; it said:\n{}", self.log()))
    }
}

impl Drop for Xlns<'_> {
    fn drop(&mut self) {
        if self.job.status().is_none() {
            let _ = self.guest.signal(&self.job, "TERM");
            let _ = self.guest.wait(&self.job, COMMAND_WAIT);
        }
    }
}

/// One worker: each NIC of the guest has one queue.
fn configuration() -> String {
    let [user, password] = LOGIN;
    format!(
        "[lns]\nhost_name = \"xlns-lab\"\nlisten = [\"{LNS_ADDRESS}\"]\ngateway = \"{GATEWAY}\"\n\n\
         [admin]\nsocket = \"{ADMIN_SOCKET}\"\n\n\
         [dataplane]\nsocket = \"/run/xlns-dataplane.sock\"\n\n\
         [l2tp]\nsessions_max = 1000\n\n\
         [ppp]\nauthentication = [\"chap-md5\"]\n\n\
         [[lac]]\nname = \"lab\"\nsecret = \"{SECRET}\"\n\n\
         [[pool]]\nname = \"lab\"\nprefixes = [\"{SUBSCRIBERS}\"]\n\n\
         [[port]]\ninterface = \"{ACCESS_PORT}\"\n\n[[port]]\ninterface = \"{CORE_PORT}\"\n\n\
         [[user]]\nname = \"{user}\"\npassword = \"{password}\"\n\n"
    )
}

/// Starts xl2tpd and pppd as LNS over the kernel's own L2TP.
///
/// # Errors
/// Where it does not start.
pub fn start_kernel(guest: &Guest) -> Result<Server<'_>> {
    let [user, password] = LOGIN;
    let options = Options {
        secret: Some(SECRET.to_owned()),
        challenge: true,
        users: vec![(user.to_owned(), password.to_owned())],
        // What pppd says goes through the console: little, while a packet is measured.
        pppd: "require-chap\nnoipv6\nlcp-echo-interval 30\n".to_owned(),
    };
    Server::start(guest, &options)
}

/// Whether the kernel itself carries a session's packets; else xl2tpd would.
///
/// # Errors
/// Where it does not.
pub fn check_kernel(guest: &Guest) -> Result<()> {
    guest.check("grep -q SESSION /proc/net/pppol2tp", COMMAND_WAIT).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_is_one_of_xlns() {
        let config = xlns_control::config::Config::parse("lab", &configuration()).unwrap();
        assert_eq!(config.port.len(), 2);
    }
}
