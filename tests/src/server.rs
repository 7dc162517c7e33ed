//! The peer as LNS: stock xl2tpd and pppd in a guest, for those that dial.

use std::net::Ipv4Addr;
use std::time::Duration;

use crate::uml::{Guest, Job};
use crate::{LabError, Result};

/// How long a command in the guest may take.
const COMMAND_WAIT: Duration = Duration::from_secs(20);

/// Its address on every PPP link.
pub const SERVER_GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 98, 0, 1);

/// What it hands out: the first is the one that a single client gets.
const RANGE: &str = "10.98.0.10-10.98.0.99";

/// A network behind it: an address of the guest, reachable through a session only.
pub const BEHIND: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);

/// The log of every pppd of it.
const LOG: &str = "/run/pppd-server.log";

/// What it wants of those that dial.
#[derive(Debug, Clone)]
pub struct Options {
    /// Of the tunnel; none: whoever asks is let in.
    pub secret: Option<String>,
    /// Whether it wants to see that the dialler knows it.
    pub challenge: bool,
    /// Names and passwords.
    pub users: Vec<(String, String)>,
    /// Options of pppd, one a line: which proof it demands, among others.
    pub pppd: String,
}

/// A running xl2tpd; dropped, it is ended, and every pppd of it.
#[derive(Debug)]
pub struct Server<'a> {
    guest: &'a Guest,
    xl2tpd: Job,
    log: Job,
}

impl<'a> Server<'a> {
    /// Starts it.
    ///
    /// # Errors
    /// Where it does not start.
    pub fn start(guest: &'a Guest, options: &Options) -> Result<Self> {
        let challenge = if options.challenge { "yes" } else { "no" };
        let pppd = guest.write(
            "options.server",
            &format!(
                "auth\nname server\nrefuse-eap\nnodefaultroute\nnoccp\nipcp-accept-remote\n\
                 ms-dns 192.0.2.53\nmtu 1460\nmru 1460\nlcp-echo-interval 1\n\
                 lcp-echo-failure 5\ndebug\ndebug\nlogfile {LOG}\n{}",
                options.pppd
            ),
        )?;
        let config = guest.write(
            "xl2tpd-server.conf",
            &format!(
                "[global]\nport = 1701\nauth file = /run/l2tp-secrets\n\n[lns default]\n\
                 ip range = {RANGE}\nlocal ip = {SERVER_GATEWAY}\nchallenge = {challenge}\n\
                 ppp debug = yes\npppoptfile = {pppd}\nlength bit = yes\n"
            ),
        )?;
        let line = |(name, password): &(String, String)| format!("{name:?} * {password:?} *\n");
        let secrets: String = options.users.iter().map(line).collect();
        let secrets = guest.write("secrets", &secrets)?;
        let tunnel = options.secret.as_ref().map(|secret| format!("* * {secret}\n"));
        let tunnel = guest.write("l2tp-secrets", &tunnel.unwrap_or_default())?;
        guest.check(
            &format!(
                "install -m 600 {secrets} /etc/ppp/chap-secrets &&
                 install -m 600 {secrets} /etc/ppp/pap-secrets &&
                 install -m 600 {tunnel} /run/l2tp-secrets &&
                 : > /etc/ppp/options && : > {LOG} && ip addr replace {BEHIND}/32 dev lo"
            ),
            COMMAND_WAIT,
        )?;
        let log = guest.start(&format!("exec tail -n +1 -f {LOG}"))?;
        let xl2tpd = start_xl2tpd(guest, &config)?;
        Ok(Self { guest, xl2tpd, log })
    }

    /// What all its pppd said so far.
    pub fn log(&self) -> &crate::output::Output {
        self.log.output()
    }

    /// Waits for a line of pppd that contains `text`, from line `mark` on.
    ///
    /// # Errors
    /// Where it does not come.
    pub fn wait_line(&self, mark: usize, wait: Duration, text: &str) -> Result<String> {
        self.log().wait_for(mark, wait, text).ok_or_else(|| self.error(&format!("no {text:?}")))
    }

    /// Hangs up: every pppd ends its link and says so; xl2tpd goes on.
    ///
    /// # Errors
    /// Where none runs.
    pub fn hang_up(&self) -> Result<()> {
        self.guest.check("killall pppd", COMMAND_WAIT).map(|_| ())
    }

    /// Ends all of it as a crash would: it says goodbye to nobody.
    ///
    /// # Errors
    /// Where the guest is gone.
    pub fn crash(&self) -> Result<()> {
        self.guest.signal(&self.xl2tpd, "KILL")?;
        self.guest.run("killall -q -KILL pppd", COMMAND_WAIT).map(|_| ())
    }

    /// What both programs said, as an error.
    pub fn error(&self, what: &str) -> LabError {
        self.guest.error(format!(
            "xl2tpd as LNS: {what}; pppd said:\n{}\nxl2tpd said:\n{}",
            self.log().text(),
            self.xl2tpd.output().text()
        ))
    }
}

/// Starts xl2tpd and waits until it listens.
fn start_xl2tpd(guest: &Guest, config: &str) -> Result<Job> {
    let xl2tpd = guest.start(&format!(
        "exec xl2tpd -D -c {config} -p /run/xl2tpd-server.pid -C /run/xl2tpd-server-control 2>&1"
    ))?;
    let listens = xl2tpd.output().wait_for(0, COMMAND_WAIT, "Listening on IP address");
    listens.map(|_| xl2tpd.clone()).ok_or_else(|| {
        guest.error(format!("xl2tpd does not listen; it said: {}", xl2tpd.output().text()))
    })
}

impl Drop for Server<'_> {
    fn drop(&mut self) {
        let _ = self.guest.run(
            "killall -q pppd || exit 0
             for i in $(seq 20); do pidof -q pppd || exit 0; sleep 0.1; done
             killall -q -KILL pppd",
            COMMAND_WAIT,
        );
        if self.xl2tpd.status().is_none() {
            let _ = self.guest.signal(&self.xl2tpd, "TERM");
            let _ = self.guest.wait(&self.xl2tpd, COMMAND_WAIT);
        }
        let _ = self.guest.signal(&self.log, "TERM");
    }
}
