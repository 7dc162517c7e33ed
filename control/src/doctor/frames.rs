//! What fits a port's frames, and who changes packets before they get there.

use super::machine::{Machine, Port};
use super::{Finding, Level};
use crate::config::PORT_MTU_MAX;
use crate::netlink::{Features, Interface};

/// What a subscriber's packet gains on its way into the tunnel: UDP and L2TP header (RFC 2661
/// section 3.1, without its optional fields) and PPP's address, control and protocol fields.
const TUNNEL_BYTES: u32 = 8 + 6 + 4;
const IPV4_BYTES: u32 = 20;
const IPV6_BYTES: u32 = 40;

/// The largest packet that a subscriber's LAN has.
const ETHERNET_BYTES: u32 = 1500;

/// What merges received packets to ones that are longer than any frame, and ethtool's word for it.
const MERGING: &[(&str, &str)] = &[
    ("rx-lro", "lro"),
    ("rx-gro-hw", "rx-gro-hw"),
    ("rx-gro", "gro"),
    ("rx-gro-list", "rx-gro-list"),
    ("rx-udp-gro-forwarding", "rx-udp-gro-forwarding"),
];

/// What makes the kernel's own packets longer than a frame before they are sent.
const SPLITTING: &[(&str, &str)] = &[
    ("tx-tcp-segmentation", "tso"),
    ("tx-generic-segmentation", "gso"),
    ("tx-udp-segmentation", "tx-udp-segmentation"),
];

/// All checks of sizes and offloads.
pub fn examine(machine: &Machine, port: &Port, link: &Interface) -> Vec<Finding> {
    let mut findings = vec![mtu(port, link), tunnel_mtu(machine, port, link)];
    match &port.features {
        Err(why) => {
            findings.push(Finding::unread("offloads", &port.interface, "its offloads", why))
        }
        Ok(features) => {
            findings.push(merging(port, features));
            findings.push(splitting(port, link, features));
            findings.push(vlan(machine, port, features));
        }
    }
    findings
}

fn mtu(port: &Port, link: &Interface) -> Finding {
    const CHECK: &str = "mtu";
    let (subject, mtu, most) = (&port.interface, link.mtu, u32::from(PORT_MTU_MAX));
    if mtu > most {
        let text = format!("has MTU {mtu}: a frame of 2048 octets holds {most} beside its headers");
        return Finding::fail(CHECK, subject, text)
            .advise("lower it: the data plane does not start otherwise")
            .command(format!("ip link set dev {subject} mtu {most}"));
    }
    Finding::ok(CHECK, subject, format!("has MTU {mtu}, which a frame holds"))
}

/// Whether a subscriber's largest packet crosses the port in one tunnel packet.
fn tunnel_mtu(machine: &Machine, port: &Port, link: &Interface) -> Finding {
    const CHECK: &str = "tunnel-mtu";
    let subject = &port.interface;
    let ip = if machine.plan.ipv6_transport { IPV6_BYTES } else { IPV4_BYTES };
    let around = ip + TUNNEL_BYTES;
    let (mru, fits) = (u32::from(machine.plan.mru), link.mtu.saturating_sub(around));
    if mru <= fits {
        let text = format!("carries tunnels of subscribers with MRU {mru} whole (up to {fits})");
        return Finding::ok(CHECK, subject, text);
    }
    let text = format!(
        "carries packets of subscribers up to {fits} octets in one piece, their MRU may be {mru}: \
         what is longer is cut, or its sender told; TCP is kept to MSS {}",
        fits.saturating_sub(40)
    );
    let wanted = mru.max(ETHERNET_BYTES) + around;
    let may = link.mtu_max == 0 || wanted <= link.mtu_max;
    let finding = Finding::note(CHECK, subject, text);
    if may && wanted <= u32::from(PORT_MTU_MAX) {
        finding
            .advise(format!(
                "where LACs are behind it and all on the way take {wanted} octets, raise its MTU; \
                 else set ppp.mru = {fits}"
            ))
            .command(format!("ip link set dev {subject} mtu {wanted}"))
    } else {
        finding.advise(format!("where LACs are behind it, set ppp.mru = {fits}"))
    }
}

fn words<'a>(features: &Features, of: &[(&str, &'a str)]) -> (Vec<&'a str>, Vec<&'a str>) {
    let on = of.iter().filter(|(name, _)| features.is_on(name));
    let (stuck, loose): (Vec<_>, Vec<_>) = on.partition(|(name, _)| features.is_stuck(name));
    let words = |them: Vec<&(&str, &'a str)>| them.iter().map(|(_, word)| *word).collect();
    (words(loose), words(stuck))
}

fn switch_off(interface: &str, words: &[&str]) -> String {
    let off: Vec<String> = words.iter().map(|word| format!("{word} off")).collect();
    format!("ethtool -K {interface} {}", off.join(" "))
}

fn merging(port: &Port, features: &Features) -> Finding {
    const CHECK: &str = "offloads";
    let subject = &port.interface;
    let (loose, stuck) = words(features, MERGING);
    if loose.is_empty() && stuck.is_empty() {
        return Finding::ok(CHECK, subject, "hands over packets as they came");
    }
    let all = [loose.clone(), stuck.clone()].concat().join(", ");
    let finding = Finding::warn(
        CHECK,
        subject,
        format!("merges received packets ({all}): they fit no frame"),
    );
    if loose.is_empty() {
        return finding.advise("its driver cannot leave it: take another NIC");
    }
    finding.advise("have them left alone").command(switch_off(subject, &loose))
}

fn splitting(port: &Port, link: &Interface, features: &Features) -> Finding {
    const CHECK: &str = "segmentation";
    let subject = &port.interface;
    let (loose, _) = words(features, SPLITTING);
    if loose.is_empty() {
        return Finding::ok(CHECK, subject, "sends the kernel's packets at their size");
    }
    // A NIC cuts them; a veth hands them to its other end whole.
    if link.kind != "veth" {
        let text = format!("the NIC cuts what this host itself sends ({})", loose.join(", "));
        return Finding::ok(CHECK, subject, text);
    }
    let text =
        format!("hands what this host itself sends to its other end uncut ({})", loose.join(", "));
    Finding::note(CHECK, subject, text)
        .advise("have it cut before, if the other end is read by XDP as well")
        .command(switch_off(subject, &loose))
}

/// A tag that the NIC takes off is not seen by an XDP program in the driver.
fn vlan(machine: &Machine, port: &Port, features: &Features) -> Finding {
    const CHECK: &str = "vlan-offload";
    const FEATURE: &str = "rx-vlan-hw-parse";
    let subject = &port.interface;
    let has_vlan = machine.planned(port).is_some_and(|planned| planned.has_vlan);
    if !features.is_on(FEATURE) {
        return Finding::ok(CHECK, subject, "leaves VLAN tags where they are");
    }
    if !has_vlan {
        return Finding::ok(
            CHECK,
            subject,
            "takes VLAN tags off; the configuration has none on it",
        );
    }
    let level = if features.is_stuck(FEATURE) { Level::Fail } else { Level::Warn };
    let finding = Finding::new(
        CHECK,
        subject,
        level,
        "takes VLAN tags off before XDP sees them, and the configuration has a VLAN on it",
    );
    if level == Level::Fail {
        return finding.advise("take another NIC, or the VLAN off: its driver cannot leave them");
    }
    finding
        .advise("have them left where they are")
        .command(format!("ethtool -K {subject} rxvlan off"))
}

#[cfg(test)]
mod tests {
    use super::super::Level::{Fail, Note, Ok as Good, Warn};
    use super::super::sound::{find, machine};
    use super::*;

    fn after(check: &str, change: impl Fn(&mut Machine)) -> (Level, String) {
        let mut machine = machine();
        change(&mut machine);
        find(&machine, check, "eth0")
    }

    fn set_mtu(mtu: u32) -> impl Fn(&mut Machine) {
        move |machine| machine.ports[0].link.as_mut().unwrap().mtu = mtu
    }

    fn set(on: &'static [&'static str], fixed: &'static [&'static str]) -> impl Fn(&mut Machine) {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        move |machine| {
            machine.ports[0].features = Ok(Features { on: owned(on), fixed: owned(fixed) });
        }
    }

    #[test]
    fn an_mtu_fits_a_frame_or_is_one_too_large() {
        assert_eq!(after("mtu", set_mtu(1766)).0, Good);
        let (level, text) = after("mtu", set_mtu(1767));
        assert!(level == Fail && text.contains("ip link set dev eth0 mtu 1766"), "{text}");
    }

    #[test]
    fn an_mru_crosses_whole_or_is_one_too_large() {
        assert_eq!(after("tunnel-mtu", set_mtu(1498)).0, Good);
        let (level, text) = after("tunnel-mtu", set_mtu(1497));
        assert_eq!(level, Note);
        assert!(text.contains("up to 1459 octets") && text.contains("MSS 1419"), "{text}");
        assert!(text.contains("mtu 1538") && text.contains("ppp.mru = 1459"), "{text}");
    }

    #[test]
    fn ipv6_around_it_takes_twenty_octets_more() {
        let at = |mtu| {
            move |machine: &mut Machine| {
                machine.plan.ipv6_transport = true;
                set_mtu(mtu)(machine);
            }
        };
        assert_eq!(after("tunnel-mtu", at(1518)).0, Good);
        let (level, text) = after("tunnel-mtu", at(1517));
        assert!(level == Note && text.contains("mtu 1558"), "{text}");
    }

    #[test]
    fn a_nic_that_cannot_have_more_is_not_asked_to() {
        let (level, text) = after("tunnel-mtu", |machine| {
            let link = machine.ports[0].link.as_mut().unwrap();
            (link.mtu, link.mtu_max) = (1490, 1500);
        });
        assert!(level == Note && !text.contains("ip link") && text.contains("1452"), "{text}");
    }

    #[test]
    fn what_merges_packets_is_switched_off() {
        assert_eq!(after("offloads", set(&["rx-checksum"], &[])).0, Good);
        let (level, text) = after("offloads", set(&["rx-gro", "rx-lro"], &[]));
        assert!(level == Warn && text.contains("ethtool -K eth0 lro off gro off"), "{text}");
        let (level, text) = after("offloads", set(&["rx-gro-hw"], &["rx-gro-hw"]));
        assert!(level == Warn && text.contains("another NIC"), "{text}");
    }

    #[test]
    fn a_nic_may_cut_and_a_veth_should_not() {
        let cuts = set(&["tx-tcp-segmentation", "tx-generic-segmentation"], &[]);
        assert_eq!(after("segmentation", &cuts).0, Good);
        let (level, text) = after("segmentation", |machine| {
            cuts(machine);
            machine.ports[0].link.as_mut().unwrap().kind = "veth".to_owned();
        });
        assert!(level == Note && text.contains("tso off gso off"), "{text}");
    }

    #[test]
    fn tags_stay_where_a_vlan_is_configured() {
        let with = |fixed: &'static [&'static str]| {
            move |machine: &mut Machine| {
                set(&["rx-vlan-hw-parse"], fixed)(machine);
                machine.plan.ports[0].has_vlan = true;
            }
        };
        let (level, text) = after("vlan-offload", with(&[]));
        assert!(level == Warn && text.contains("ethtool -K eth0 rxvlan off"), "{text}");
        assert_eq!(after("vlan-offload", with(&["rx-vlan-hw-parse"])).0, Fail);
        assert_eq!(after("vlan-offload", set(&["rx-vlan-hw-parse"], &[])).0, Good);
        assert_eq!(after("vlan-offload", set(&[], &[])).0, Good);
    }
}
