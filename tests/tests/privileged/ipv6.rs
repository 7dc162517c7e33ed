//! IPv6 to a Linux client: pppd's IPV6CP, the kernel's autoconfiguration, and stock DHCPv6 clients.

use std::net::Ipv6Addr;

use serde_json::Value;
use xlns_tests::judge::Capture;
use xlns_tests::peer::{LinkLocal, Login, Session};
use xlns_tests::topology::{CORE_ADDRESS, CORE_ADDRESS6, LAC_END};
use xlns_tests::xlns::{Settings, Xlns};

use crate::stage::{PATIENCE, Stage, alice, assert_reaches, assert_sound, bob, stage, wait_open};

/// What every judged frame of ours comes from.
const OURS: &str = "ip.src == 192.0.2.1 && udp.srcport == 1701";

/// A /64 for each link, and a /56 for each that asks.
fn settings() -> Settings {
    Settings {
        pool: "ipv6_prefixes = [\"2001:db8:64::/48\"]\n\
               delegated_prefixes = [\"2001:db8:d000::/40\"]\ndelegated_length = 56\n"
            .to_owned(),
        ppp: "ipv6_dns = [\"2001:db8:c0::53\"]\n".to_owned(),
        ..Settings::default()
    }
}

fn row_of(xlns: &Xlns<'_>, user: &str) -> Value {
    let rows = xlns.show("sessions").unwrap();
    rows.into_iter().find(|row| row["user"] == user).unwrap_or(Value::Null)
}

/// The address that autoconfiguration made, of the prefix that xlns shows, reaches the core, and
/// the core reaches it.
#[track_caller]
fn assert_reaches6(stage: &Stage, xlns: &Xlns<'_>, session: &Session<'_>, user: &str) -> Ipv6Addr {
    let address = session.advertised_address().unwrap();
    let row = row_of(xlns, user);
    let prefix: ipnet::Ipv6Net = row["ipv6_prefix"].as_str().unwrap().parse().unwrap();
    assert!(prefix.contains(&address), "{address} is not of {prefix}");
    let up = format!("-6 -c 3 -I {address} {CORE_ADDRESS6}");
    assert_eq!(session.ping_with(&up).unwrap(), (3, 3), "{address}\n{}", session.log().text());
    assert_core_reaches(stage, address);
    address
}

#[track_caller]
fn assert_core_reaches(stage: &Stage, address: Ipv6Addr) {
    let ping = stage.topology.core.run(&format!("ping -6 -n -c 3 -i 0.05 -W 2 {address}"));
    assert!(ping.unwrap().contains(" 3 received"), "{address}");
}

/// Each end reaches the other's link-local address.
#[track_caller]
fn assert_neighbours(session: &Session<'_>, addresses: LinkLocal) {
    let ping = format!("-6 -c 3 {}%{}", addresses.remote, session.interface());
    assert_eq!(session.ping_with(&ping).unwrap(), (3, 3), "{addresses:?}");
}

#[test]
fn both_families_share_a_link() {
    let stage = stage();
    let mut xlns = stage.xlns("both-families", &settings()).unwrap();
    let capture = Capture::start(&stage.lab, &stage.topology.lac, LAC_END, "both").unwrap();
    let login = alice().with("+ipv6");
    let dialer = stage.dialer(std::slice::from_ref(&login)).unwrap();
    let session = dialer.dial(&login).unwrap();
    let addresses = session.link_local(PATIENCE).unwrap();
    assert_reaches6(&stage, &xlns, &session, "alice");
    assert_reaches(&xlns, &session, CORE_ADDRESS);
    assert_neighbours(&session, addresses);
    let row = &wait_open(&xlns, 1)[0];
    let identifier = row["interface_identifier"].as_str().unwrap();
    let ours = addresses.local.to_bits() as u64;
    assert_eq!(u64::from_str_radix(identifier, 16), Ok(ours), "{row}");

    let frames = capture.end().unwrap();
    assert_eq!(frames.complaints(OURS).unwrap(), Vec::<String>::new());
    let advertised = format!("{OURS} && icmpv6.type == 134");
    let fields = ["ipv6.hlim", "icmpv6.opt.prefix", "icmpv6.opt.rdnss"];
    let advertised = frames.fields(&advertised, &fields).unwrap();
    let prefix = row["ipv6_prefix"].as_str().unwrap().trim_end_matches("/64");
    let expected = format!("255\t{prefix}\t2001:db8:c0::53");
    assert!(advertised.contains(&expected), "{advertised:?}");
    assert_sound(&mut xlns);
}

#[test]
fn a_client_without_ipv4_is_served() {
    let stage = stage();
    let mut xlns = stage.xlns("ipv6-only", &settings()).unwrap();
    let login = bob().with("+ipv6").with("noip");
    let dialer = stage.dialer(std::slice::from_ref(&login)).unwrap();
    let (session, addresses) = dialer.dial_ipv6(&login).unwrap();
    assert_reaches6(&stage, &xlns, &session, "bob");
    assert_neighbours(&session, addresses);
    wait_open(&xlns, 1);
    assert!(!session.log().text().contains("sent [IPCP"), "{}", session.log().text());
    assert_sound(&mut xlns);
}

/// A stock DHCPv6 client, and the line of its log that tells of success.
struct Client {
    name: &'static str,
    config: fn(&str) -> String,
    command: &'static str,
}

const CLIENTS: [Client; 2] = [
    Client {
        name: "dhcp6c",
        config: |interface| {
            format!(
                "interface {interface} {{\n send ia-pd 0;\n request domain-name-servers;\n}};\n\
                 id-assoc pd 0 {{\n prefix-interface vec0 {{\n  sla-id 1;\n  sla-len 8;\n }};\n\
                 }};\n"
            )
        },
        command: "mkdir -p /var/lib/dhcpv6 && exec dhcp6c -f -D -c CONFIG -p /run/dhcp6c INTERFACE",
    },
    Client {
        name: "dhcpcd",
        config: |interface| {
            format!(
                "duid\nipv6only\nnoipv6rs\nscript /bin/true\noption dhcp6_name_servers\n\
                 denyinterfaces vec0\ninterface {interface}\n iaid 7\n ia_pd 7 vec0/1\n"
            )
        },
        command: "mkdir -p /var/lib/dhcpcd /run/dhcpcd && exec dhcpcd -B -d -6 -f CONFIG INTERFACE",
    },
];

impl Client {
    /// Has it run over the session until the guest has an address of the prefix delegated.
    fn check(&self, stage: &Stage, xlns: &Xlns<'_>, login: &Login) {
        let interface = login.interface();
        let config = stage.guest.write(self.name, &(self.config)(&interface)).unwrap();
        let script = self.command.replace("CONFIG", &config).replace("INTERFACE", &interface);
        let job = stage.guest.start(&script).unwrap();
        let said = |what: &str| format!("{}: {what}; it said:\n{}", self.name, job.output().text());
        let delegated = |rows: &[Value]| rows.iter().any(|row| row["delegated_prefix"].is_string());
        xlns.wait_rows("sessions", PATIENCE, delegated)
            .unwrap_or_else(|error| panic!("{}", said(&error.to_string())));
        let row = row_of(xlns, &login.name);
        let prefix: ipnet::Ipv6Net = row["delegated_prefix"].as_str().unwrap().parse().unwrap();
        assert_eq!(prefix.prefix_len(), 56, "{row}");
        let find = "for i in $(seq 100); do
                        ip -6 -o addr show dev vec0 scope global -tentative |
                            sed -n 's,.* inet6 \\([^/]*\\)/.*,\\1,p' | grep . && exit 0
                        sleep 0.1
                    done
                    exit 1";
        let address = stage
            .guest
            .check(find, PATIENCE)
            .unwrap_or_else(|error| panic!("{}", said(&error.to_string())));
        let address: Ipv6Addr = address.trim().parse().unwrap();
        assert!(prefix.contains(&address), "{address} is not of {prefix}");
        // The way back from there is the router's that the link has.
        assert_core_reaches(stage, address);
        stage.guest.signal(&job, "TERM").unwrap();
        stage.guest.wait(&job, PATIENCE);
        stage.guest.check("ip -6 addr flush dev vec0 scope global", PATIENCE).unwrap();
    }
}

#[test]
fn stock_dhcpv6_clients_get_a_prefix() {
    let stage = stage();
    let mut xlns = stage.xlns("dhcpv6", &settings()).unwrap();
    let capture = Capture::start(&stage.lab, &stage.topology.lac, LAC_END, "dhcpv6").unwrap();
    for client in CLIENTS {
        let login = alice().with("+ipv6");
        let dialer = stage.dialer(std::slice::from_ref(&login)).unwrap();
        let session = dialer.dial(&login).unwrap();
        session.advertised_address().unwrap();
        client.check(&stage, &xlns, &login);
    }
    let frames = capture.end().unwrap();
    assert_eq!(frames.complaints(OURS).unwrap(), Vec::<String>::new());
    let replies = frames.fields(&format!("{OURS} && dhcpv6"), &["dhcpv6.msgtype"]).unwrap();
    assert!(replies.contains(&"2".to_owned()), "an Advertise: {replies:?}");
    assert!(replies.contains(&"7".to_owned()), "a Reply: {replies:?}");
    assert_sound(&mut xlns);
}
