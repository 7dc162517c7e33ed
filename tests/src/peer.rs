//! The peer: stock xl2tpd and pppd in a guest, as LAC and subscriber in one.
//!
//! xl2tpd opens a tunnel for each of its `lac` sections; the command with a tunnel's ID instead of
//! a section's name makes a further call in that tunnel. Such a call has no section, and xl2tpd
//! reads one option of it by way of a null pointer: with zeros mapped at address 0, as old systems
//! had them, it finds the option off and goes on.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;
use std::time::Duration;

use crate::uml::{Guest, Job};
use crate::{LabError, Result};

/// How long a call may take from the command to its address.
const DIAL_WAIT: Duration = Duration::from_secs(30);

/// How long a command in the guest may take.
const COMMAND_WAIT: Duration = Duration::from_secs(20);

/// xl2tpd's command pipe in the guest.
const CONTROL: &str = "/run/xl2tpd-control";

/// How the subscriber proves who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// CHAP with MD5.
    Chap,
    /// MS-CHAPv2.
    MsChapV2,
    /// PAP.
    Pap,
}

impl Protocol {
    /// As pppd's options call it.
    fn name(self) -> &'static str {
        match self {
            Self::Chap => "chap",
            Self::MsChapV2 => "mschap-v2",
            Self::Pap => "pap",
        }
    }
}

/// A subscriber's access data. The name names the session's interface and logs, too.
#[derive(Debug, Clone)]
pub struct Login {
    /// At most 10 letters: the interface is called `sub-NAME`.
    pub name: String,
    /// What it proves to know.
    pub password: String,
    /// By which protocols; the others are refused, EAP and MS-CHAPv1 always.
    pub protocols: Vec<Protocol>,
    /// More options of pppd, one a line; of contradicting ones it takes the last.
    pub options: String,
}

impl Login {
    /// Access data for these protocols.
    pub fn new(name: &str, password: &str, protocols: &[Protocol]) -> Self {
        Self {
            name: name.into(),
            password: password.into(),
            protocols: protocols.into(),
            options: String::new(),
        }
    }

    /// Access data with CHAP.
    pub fn chap(name: &str, password: &str) -> Self {
        Self::new(name, password, &[Protocol::Chap])
    }

    /// Access data with PAP.
    pub fn pap(name: &str, password: &str) -> Self {
        Self::new(name, password, &[Protocol::Pap])
    }

    /// With one more line of pppd's options.
    pub fn with(mut self, option: &str) -> Self {
        self.options += &format!("{option}\n");
        self
    }

    /// The interface of its session in the guest.
    pub fn interface(&self) -> String {
        format!("sub-{}", self.name)
    }
}

/// Where tunnels lead, and how they are authenticated.
#[derive(Debug, Clone)]
pub struct Tunnel {
    /// The LNS.
    pub lns: Ipv4Addr,
    /// What both sides know; none: whoever asks is let in.
    pub secret: Option<String>,
    /// Whether xl2tpd wants to see that the LNS knows it, too.
    pub challenge: bool,
}

/// A running xl2tpd; dropped, it is ended.
#[derive(Debug)]
pub struct Dialer<'a> {
    guest: &'a Guest,
    xl2tpd: Job,
}

impl<'a> Dialer<'a> {
    /// Starts xl2tpd with one `lac` section per login.
    ///
    /// # Errors
    /// Where it does not start.
    pub fn start(guest: &'a Guest, tunnel: &Tunnel, logins: &[Login]) -> Result<Self> {
        let (lns, challenge) = (tunnel.lns, if tunnel.challenge { "yes" } else { "no" });
        let mut config = String::from("[global]\nport = 1701\nauth file = /run/l2tp-secrets\n");
        let mut secrets = String::new();
        for login in logins {
            let options = guest.write(&format!("options.{}", login.name), &pppd_options(login))?;
            config += &format!(
                "\n[lac {0}]\nlns = {lns}\nchallenge = {challenge}\nppp debug = yes\n\
                 pppoptfile = {options}\nredial = no\n",
                login.name
            );
            secrets += &format!("\"{}\" * \"{}\" *\n", login.name, login.password);
        }
        let config = guest.write("xl2tpd.conf", &config)?;
        let secrets = guest.write("secrets", &secrets)?;
        let tunnel_secrets = tunnel.secret.as_ref().map(|secret| format!("* * {secret}\n"));
        let tunnel_secrets = guest.write("l2tp-secrets", &tunnel_secrets.unwrap_or_default())?;
        guest.check(
            &format!(
                "install -m 600 {secrets} /etc/ppp/chap-secrets &&
                 install -m 600 {secrets} /etc/ppp/pap-secrets &&
                 install -m 600 {tunnel_secrets} /run/l2tp-secrets &&
                 : > /etc/ppp/options &&
                 rm -f /run/pppd-*.log {CONTROL}"
            ),
            COMMAND_WAIT,
        )?;
        let xl2tpd = guest.start(&format!(
            "sysctl -q -w vm.mmap_min_addr=0
                 exec setarch --mmap-page-zero \
                     xl2tpd -D -c {config} -p /run/xl2tpd.pid -C {CONTROL} 2>&1"
        ))?;
        let dialer = Self { guest, xl2tpd };
        // The pipe is made before this line, the socket after it.
        dialer.wait_line(0, COMMAND_WAIT, "Listening on IP address")?;
        Ok(dialer)
    }

    /// xl2tpd itself.
    pub fn xl2tpd(&self) -> &Job {
        &self.xl2tpd
    }

    /// Opens a tunnel and a session in it.
    ///
    /// # Errors
    /// Where the session does not come up.
    pub fn dial(&self, login: &Login) -> Result<Session<'a>> {
        let session = self.start_call(login, &login.name)?;
        session.wait_up(DIAL_WAIT)
    }

    /// Opens a tunnel and a session in it, for IPv6; yields what pppd says of that, too.
    ///
    /// # Errors
    /// Where the session does not come up.
    pub fn dial_ipv6(&self, login: &Login) -> Result<(Session<'a>, LinkLocal)> {
        let session = self.start_call(login, &login.name)?;
        let addresses = session.link_local(DIAL_WAIT)?;
        Ok((session, addresses))
    }

    /// Opens a session in a tunnel that exists.
    ///
    /// # Errors
    /// Where the session does not come up.
    pub fn dial_in_tunnel(&self, tunnel_id: u16, login: &Login) -> Result<Session<'a>> {
        self.start_call_in_tunnel(tunnel_id, login)?.wait_up(DIAL_WAIT)
    }

    /// Gives the command for a call in a tunnel that exists, without waiting for success. Such a
    /// call has no section; pppd finds its options where all look first, and keeps to them.
    ///
    /// # Errors
    /// Where the guest is gone.
    pub fn start_call_in_tunnel(&self, tunnel_id: u16, login: &Login) -> Result<Session<'a>> {
        let options = self.guest.write("options.call", &pppd_options(login))?;
        let install = format!("install -m 600 {options} /etc/ppp/options");
        self.guest.check(&install, COMMAND_WAIT)?;
        let session = self.start_call(login, &tunnel_id.to_string())?;
        let started = session.wait_line(0, DIAL_WAIT, "sent [LCP ConfReq");
        self.guest.check(": > /etc/ppp/options", COMMAND_WAIT)?;
        started.map(|_| session)
    }

    /// Gives the command and follows pppd's log, without waiting for success.
    ///
    /// # Errors
    /// Where the guest is gone.
    pub fn start_call(&self, login: &Login, target: &str) -> Result<Session<'a>> {
        let file = log_file(login);
        // Emptied before pppd can write: jobs start in any order.
        self.guest.check(&format!(": > {file}; echo 'c {target}' > {CONTROL}"), COMMAND_WAIT)?;
        let log = self.guest.start(&format!("exec tail -n +1 -f {file}"))?;
        Ok(Session {
            guest: self.guest,
            login: login.clone(),
            log,
            address: Ipv4Addr::UNSPECIFIED,
            gateway: Ipv4Addr::UNSPECIFIED,
        })
    }

    /// The ID that xl2tpd assigned to its newest tunnel.
    ///
    /// # Errors
    /// Where none was opened.
    pub fn tunnel_id(&self) -> Result<u16> {
        let lines = self.xl2tpd.output().lines();
        let newest = lines.iter().rev().find(|line| line.contains("Connection established to"));
        newest
            .and_then(|line| line.split_once("Local: ")?.1.split(',').next()?.trim().parse().ok())
            .ok_or_else(|| self.error("no tunnel was opened"))
    }

    /// Gives a command to xl2tpd (`d NAME` disconnects a section's tunnel).
    ///
    /// # Errors
    /// Where the guest is gone.
    pub fn command(&self, command: &str) -> Result<()> {
        self.guest.check(&format!("echo '{command}' > {CONTROL}"), COMMAND_WAIT).map(|_| ())
    }

    /// Waits for a line of xl2tpd that contains `text`.
    ///
    /// # Errors
    /// Where it does not come.
    pub fn wait_line(&self, mark: usize, wait: Duration, text: &str) -> Result<String> {
        let line = self.xl2tpd.output().wait_for(mark, wait, text);
        line.ok_or_else(|| self.error(&format!("no {text:?}")))
    }

    /// Ends xl2tpd as a crash would: it says goodbye to nobody. pppd goes on.
    ///
    /// # Errors
    /// Where the guest is gone.
    pub fn crash(&self) -> Result<()> {
        self.guest.signal(&self.xl2tpd, "KILL")
    }

    fn error(&self, what: &str) -> LabError {
        self.guest.error(format!("xl2tpd: {what}; it said: {}", self.xl2tpd.output().text()))
    }
}

impl Drop for Dialer<'_> {
    fn drop(&mut self) {
        // Links first, while there is somebody to answer their Terminate-Requests. A pppd without
        // an answer would ask again for 6 s (RFC 1661 section 4.6).
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
    }
}

/// A subscriber's session, as pppd sees it.
#[derive(Debug)]
pub struct Session<'a> {
    guest: &'a Guest,
    login: Login,
    log: Job,
    /// The subscriber's address.
    pub address: Ipv4Addr,
    /// The address of the other end.
    pub gateway: Ipv4Addr,
}

/// Both ends of IPv6 on a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkLocal {
    /// The subscriber's.
    pub local: Ipv6Addr,
    /// The LNS's.
    pub remote: Ipv6Addr,
}

impl Session<'_> {
    /// Waits until both addresses are known; from then on, what the guest sends from the session's
    /// address leaves through the session.
    ///
    /// # Errors
    /// Where that takes longer than `wait`; with all that pppd said.
    pub fn wait_up(mut self, wait: Duration) -> Result<Self> {
        let local = self.wait_line(0, wait, "local  IP address")?;
        let remote = self.wait_line(0, wait, "remote IP address")?;
        (self.address, self.gateway) = (last_word(&local)?, last_word(&remote)?);
        let (address, interface) = (self.address, self.login.interface());
        let table = 1000 + u32::from(address.octets()[3]);
        self.guest.check(
            &format!(
                "ip rule del pref {table} 2> /dev/null
                 ip rule add pref {table} from {address} iif lo lookup {table} &&
                 ip route replace default dev {interface} table {table}"
            ),
            COMMAND_WAIT,
        )?;
        Ok(self)
    }

    /// Waits until IPv6 is up.
    ///
    /// # Errors
    /// Where that takes longer than `wait`; with all that pppd said.
    pub fn link_local(&self, wait: Duration) -> Result<LinkLocal> {
        let local = self.wait_line(0, wait, "local  LL address")?;
        let remote = self.wait_line(0, wait, "remote LL address")?;
        Ok(LinkLocal { local: last_word(&local)?, remote: last_word(&remote)? })
    }

    /// The address that the guest's kernel makes of the prefix that is advertised to it.
    ///
    /// # Errors
    /// Where it has none after some seconds.
    pub fn advertised_address(&self) -> Result<Ipv6Addr> {
        let interface = self.interface();
        let text = self.guest.check(
            &format!(
                "for i in $(seq 150); do
                     ip -6 -o addr show dev {interface} scope global |
                         sed -n 's,.* inet6 \\([^/]*\\)/.*,\\1,p' | grep . && exit 0
                     sleep 0.1
                 done
                 ip -6 addr; ip -6 route; exit 1"
            ),
            COMMAND_WAIT,
        )?;
        last_word(text.trim_end())
    }

    /// What pppd said so far.
    pub fn log(&self) -> &crate::output::Output {
        self.log.output()
    }

    /// The name of its interface in the guest.
    pub fn interface(&self) -> String {
        self.login.interface()
    }

    /// Waits for a line of pppd that contains `text`.
    ///
    /// # Errors
    /// Where it does not come.
    pub fn wait_line(&self, mark: usize, wait: Duration, text: &str) -> Result<String> {
        self.log.output().wait_for(mark, wait, text).ok_or_else(|| {
            self.guest.error(format!(
                "pppd ({}) did not say {text:?} within {} s; it said:\n{}",
                self.login.name,
                wait.as_secs_f32(),
                self.log.output().text()
            ))
        })
    }

    /// Pings from the session's address; yields sent and received.
    ///
    /// # Errors
    /// Where ping does not run.
    pub fn ping(&self, destination: Ipv4Addr, count: u32) -> Result<(u32, u32)> {
        self.ping_with(&format!("-c {count} -I {} {destination}", self.address))
    }

    /// Like [`Session::ping`], with whatever options and destination.
    ///
    /// # Errors
    /// Where ping does not run.
    pub fn ping_with(&self, arguments: &str) -> Result<(u32, u32)> {
        ping(self.guest, arguments)
    }

    /// Waits for the end of the link; yields what pppd said.
    ///
    /// # Errors
    /// Where it goes on.
    pub fn wait_down(&self, wait: Duration) -> Result<String> {
        let ended = |line: &str| {
            ["Connection terminated", "Modem hangup"]
                .iter()
                .any(|end| line.contains(end))
                .then_some(())
        };
        self.log.output().wait_map(0, wait, ended).ok_or_else(|| {
            self.guest.error(format!(
                "pppd ({}) goes on after {} s; it said:\n{}",
                self.login.name,
                wait.as_secs_f32(),
                self.log.output().text()
            ))
        })?;
        Ok(self.log.output().text())
    }
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        // The follower of the log; pppd is its xl2tpd's.
        let _ = self.guest.signal(&self.log, "TERM");
    }
}

/// Pings from the guest, twenty a second; yields sent and received.
///
/// # Errors
/// Where ping does not run.
pub fn ping(guest: &Guest, arguments: &str) -> Result<(u32, u32)> {
    let job = guest.run(&format!("ping -n -i 0.05 -W 2 {arguments}"), COMMAND_WAIT)?;
    ping_counts(&job.output().lines())
        .ok_or_else(|| guest.error(format!("ping said: {}", job.output().text())))
}

/// Sent and received, from `N packets transmitted, N received, ..`.
pub fn ping_counts(lines: &[String]) -> Option<(u32, u32)> {
    let line = lines.iter().find(|line| line.contains("packets transmitted"))?;
    let mut numbers = line.split(", ").map(|part| part.split(' ').next()?.parse().ok());
    Some((numbers.next()??, numbers.next()??))
}

/// The address at a line's end.
fn last_word<T: FromStr>(line: &str) -> Result<T> {
    let word = line.split_whitespace().next_back();
    word.and_then(|word| word.parse().ok())
        .ok_or_else(|| LabError::new(format!("no address in {line:?}")))
}

fn log_file(login: &Login) -> String {
    format!("/run/pppd-{}.log", login.name)
}

/// pppd as a subscriber: asks for everything an LNS hands out, proves who it is in some ways only.
/// It logs echoes where it is asked twice to say more.
fn pppd_options(login: &Login) -> String {
    let Login { name, protocols, options, .. } = login;
    let all = [Protocol::Chap, Protocol::MsChapV2, Protocol::Pap].into_iter();
    let refused = all.filter(|protocol| !protocols.contains(protocol));
    let refused: String = refused.map(|protocol| format!("refuse-{}\n", protocol.name())).collect();
    format!(
        "user {name}\nname {name}\nnoauth\nrefuse-eap\nrefuse-mschap\n{refused}\
         nodefaultroute\nusepeerdns\nnoipdefault\nipcp-accept-local\nipcp-accept-remote\n\
         mtu 1460\nmru 1460\nlcp-echo-interval 1\nlcp-echo-failure 5\nifname {}\n\
         debug\ndebug\nlogfile {}\n{options}",
        login.interface(),
        log_file(login)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_ping_counts() {
        let lines = ["4 packets transmitted, 3 received, 25% packet loss, time 152ms".to_owned()];
        assert_eq!(ping_counts(&lines), Some((4, 3)));
        assert_eq!(ping_counts(&["no route".to_owned()]), None);
    }

    #[test]
    fn reads_addresses_of_pppd() {
        assert_eq!(last_word("local  IP address 10.64.0.3"), Ok(Ipv4Addr::new(10, 64, 0, 3)));
        assert_eq!(last_word::<Ipv6Addr>("local  LL address fe80::1").unwrap().segments()[7], 1);
        assert!(last_word::<Ipv4Addr>("local  IP address").is_err());
    }

    #[test]
    fn what_is_not_meant_is_refused() {
        let login = Login::new("alice", "", &[Protocol::MsChapV2, Protocol::Pap]).with("noip");
        let options = pppd_options(&login);
        let refused: Vec<_> = options.lines().filter(|line| line.starts_with("refuse-")).collect();
        assert_eq!(refused, ["refuse-eap", "refuse-mschap", "refuse-chap"]);
        assert!(options.ends_with("\nnoip\n"), "{options}");
    }
}
