//! A port's queues against CPUs and workers, and how the NIC spreads packets over them.

use super::machine::{Machine, Port, Spreading};
use super::{Finding, count};
use crate::netlink::{Channels, HashFields};

/// A table that gives one queue this much more than another (percent) is not even.
const UNEVEN_PERCENT: u32 = 50;

/// All checks of the queues.
pub fn examine(machine: &Machine, port: &Port) -> Vec<Finding> {
    let mut findings = vec![queues(machine, port)];
    let queues = machine.queues(port).unwrap_or(1);
    match &port.spreading {
        Err(why) => {
            findings.push(
                Finding::unread("rss", &port.interface, "its spreading over queues", why).command(
                    format!("ethtool -x {0}; ethtool -n {0} rx-flow-hash udp4", port.interface),
                ),
            );
        }
        Ok(Some(spreading)) if queues > 1 => {
            findings.push(indirection(port, spreading, queues));
            findings.push(flow_hash(port, spreading));
        }
        Ok(_) => {
            let text = "there is nothing to set about the spreading over its queues";
            findings.push(Finding::ok("rss", &port.interface, text));
        }
    }
    findings
}

fn queues(machine: &Machine, port: &Port) -> Finding {
    const CHECK: &str = "queues";
    let subject = &port.interface;
    let channels = match &port.channels {
        Ok(channels) => channels.unwrap_or(Channels { combined: 1, ..Channels::default() }),
        Err(why) => return Finding::unread(CHECK, subject, "its queues", why),
    };
    let pairs = port.pairs().unwrap_or(1);
    let configured = machine.planned(port).map_or(0, |planned| planned.queues);
    let workers = machine.workers();
    let cpus = machine.host.cpus.as_ref().ok().and_then(|cpus| u16::try_from(cpus.len()).ok());
    let counted = format!("has {}", count(pairs, "queue"));
    let set = |queues: u16| set_queues(subject, &channels, queues);
    let wanted = configured.max(machine.plan.workers);
    if wanted > pairs {
        let text = format!("{counted}, {wanted} are configured (workers, or queues of the port)");
        let finding = Finding::fail(CHECK, subject, text);
        return if u32::from(wanted) <= channels.pairs_max() {
            finding.advise("give it more").command(set(wanted))
        } else {
            finding.advise(format!("configure at most {pairs}: it cannot have more"))
        };
    }
    if let Some(cpus) = cpus
        && pairs > cpus
    {
        let text = format!(
            "{counted} and the machine {}: those beyond may send nothing",
            count(cpus, "CPU")
        );
        return Finding::warn(CHECK, subject, text)
            .advise("let it have no more queues than there are CPUs")
            .command(set(cpus));
    }
    if configured != 0 && configured < pairs {
        let text = format!(
            "{counted} and workers only {configured}: what comes on the others goes to the kernel"
        );
        return Finding::warn(CHECK, subject, text)
            .advise("let it have as many as are configured, or configure all (queues = 0)")
            .command(set(configured));
    }
    let Some(workers) = workers else { return Finding::ok(CHECK, subject, counted) };
    let text = format!("{counted} for {}", count(workers, "worker"));
    let possible =
        cpus.unwrap_or(workers).min(u16::try_from(channels.pairs_max()).unwrap_or(u16::MAX));
    if machine.plan.workers == 0 && pairs == workers && possible > workers {
        let text = format!("{text}, where the machine has {}", count(cpus.unwrap_or(0), "CPU"));
        return Finding::note(CHECK, subject, text)
            .advise("more queues on all ports make more workers")
            .command(set(possible));
    }
    if !pairs.is_multiple_of(workers) {
        return Finding::note(CHECK, subject, format!("{text}: some have one more than others"))
            .advise("let it have as many queues as there are workers, or twice as many")
            .command(set(workers));
    }
    Finding::ok(CHECK, subject, text)
}

fn set_queues(interface: &str, channels: &Channels, queues: u16) -> String {
    if channels.combined > 0 || channels.combined_max > 0 {
        format!("ethtool -L {interface} combined {queues}")
    } else {
        format!("ethtool -L {interface} rx {queues} tx {queues}")
    }
}

/// Whether what is received comes to the queues in use, and evenly.
fn indirection(port: &Port, spreading: &Spreading, queues: u16) -> Finding {
    const CHECK: &str = "rss";
    let subject = &port.interface;
    if spreading.entries.is_empty() {
        return Finding::ok(CHECK, subject, "the driver shows no table of its spreading");
    }
    let fix = format!("ethtool -X {subject} equal {queues}");
    let inside = |queue: &u32| *queue < u32::from(queues);
    if spreading.entries.keys().any(|queue| !inside(queue)) {
        let text = format!("spreads over queues beyond the {queues} that workers have");
        return Finding::warn(CHECK, subject, text)
            .advise("spread over those of the workers alone")
            .command(fix);
    }
    let without = u32::from(queues).saturating_sub(spreading.entries.len() as u32);
    if without > 0 {
        let text = format!("sends nothing to {without} of {queues} queues: their workers idle");
        return Finding::warn(CHECK, subject, text).advise("spread over all queues").command(fix);
    }
    let most = spreading.entries.values().copied().max().unwrap_or(0);
    let fewest = spreading.entries.values().copied().min().unwrap_or(0);
    // One entry more than another is what is left over by a division.
    let more = most.saturating_sub(fewest);
    if more > 1 && more.saturating_mul(100) > fewest.saturating_mul(UNEVEN_PERCENT) {
        let text = format!("spreads unevenly: one queue has {most} entries, another {fewest}");
        return Finding::note(CHECK, subject, text)
            .advise("spread evenly, unless the weights are meant")
            .command(fix);
    }
    Finding::ok(CHECK, subject, format!("spreads over {queues} queues evenly"))
}

/// Whether tunnels between the same two hosts, and subscribers' connections, are told apart.
fn flow_hash(port: &Port, spreading: &Spreading) -> Finding {
    const CHECK: &str = "flow-hash";
    let subject = &port.interface;
    let families = ["udp4", "udp6"];
    let known: Vec<(&str, HashFields)> = families
        .iter()
        .zip(spreading.udp)
        .filter_map(|(family, fields)| Some((*family, fields?)))
        .collect();
    if known.is_empty() {
        return Finding::note(CHECK, subject, "does not say what of UDP it spreads by")
            .advise("look for addresses and ports (sdfn)")
            .command(format!("ethtool -n {subject} rx-flow-hash udp4"));
    }
    let set = |families: Vec<&str>| {
        let one = |family| format!("ethtool -N {subject} rx-flow-hash {family} sdfn");
        families.into_iter().map(one).collect::<Vec<_>>().join("; ")
    };
    let without = |test: fn(&HashFields) -> bool| -> Vec<&str> {
        known.iter().filter(|(_, fields)| !test(fields)).map(|(family, _)| *family).collect()
    };
    let no_addresses = without(|fields| fields.addresses);
    if !no_addresses.is_empty() {
        let text = format!(
            "spreads {} by neither address: all of it to few queues",
            no_addresses.join(", ")
        );
        return Finding::warn(CHECK, subject, text)
            .advise("spread by addresses and ports")
            .command(set(no_addresses));
    }
    let no_ports = without(|fields| fields.ports);
    if !no_ports.is_empty() {
        let text = format!(
            "spreads {} by addresses alone: all tunnels of a LAC to one queue",
            no_ports.join(", ")
        );
        return Finding::warn(CHECK, subject, text)
            .advise("spread by ports as well; it tells tunnels apart where source_ports is above 1")
            .command(set(no_ports));
    }
    Finding::ok(CHECK, subject, "spreads UDP by addresses and ports")
}

#[cfg(test)]
mod tests {
    use super::super::Level::{self, Fail, Note, Ok as Good, Warn};
    use super::super::sound::{find, machine};
    use super::*;

    fn after(check: &str, change: impl Fn(&mut Machine)) -> (Level, String) {
        let mut machine = machine();
        change(&mut machine);
        find(&machine, check, "eth0")
    }

    fn has(machine: &mut Machine, combined: u32) {
        let channels = machine.ports[0].channels.as_mut().unwrap().as_mut().unwrap();
        channels.combined = combined;
    }

    #[test]
    fn fewer_queues_than_workers_fail() {
        let (level, text) = after("queues", |machine| {
            machine.plan.workers = 4;
            has(machine, 2);
        });
        assert_eq!(level, Fail);
        assert!(text.contains("ethtool -L eth0 combined 4"), "{text}");
        let (level, text) = after("queues", |machine| {
            machine.plan.workers = 65;
            has(machine, 2);
        });
        assert!(level == Fail && text.contains("at most 2"), "{text}");
    }

    #[test]
    fn more_queues_than_cpus_are_warned_of() {
        let (level, text) = after("queues", |machine| has(machine, 9));
        assert!(level == Warn && text.contains("combined 8"), "{text}");
        let (level, _) = after("queues", |machine| has(machine, 8));
        assert_eq!(level, Good);
    }

    #[test]
    fn queues_without_a_worker_are_warned_of() {
        let (level, text) = after("queues", |machine| {
            machine.plan.ports[0].queues = 2;
            machine.running.as_mut().unwrap().cores = vec![Some(0), Some(1)];
        });
        assert!(level == Warn && text.contains("combined 2"), "{text}");
    }

    #[test]
    fn more_queues_than_workers_have_to_be_a_multiple() {
        assert_eq!(after("queues", |machine| has(machine, 6)).0, Note);
        assert_eq!(after("queues", |machine| has(machine, 8)).0, Good);
    }

    #[test]
    fn fewer_queues_than_could_be_are_noted() {
        let (level, text) = after("queues", |machine| {
            machine.plan.workers = 0;
            machine.running = Err(String::new());
            has(machine, 2);
        });
        assert!(level == Note && text.contains("combined 8"), "{text}");
    }

    #[test]
    fn a_veth_has_queues_of_two_kinds() {
        let (level, text) = after("queues", |machine| {
            let apart = Channels { receive: 2, transmit: 2, receive_max: 8, ..Channels::default() };
            machine.ports[0].channels = Ok(Some(apart));
            machine.plan.workers = 4;
        });
        assert!(level == Fail && text.contains("ethtool -L eth0 rx 4 tx 4"), "{text}");
    }

    fn spread(entries: &[(u32, u32)]) -> impl Fn(&mut Machine) {
        let entries: std::collections::BTreeMap<u32, u32> = entries.iter().copied().collect();
        move |machine| {
            let spreading = machine.ports[0].spreading.as_mut().unwrap().as_mut().unwrap();
            spreading.entries = entries.clone();
        }
    }

    #[test]
    fn the_table_leads_to_the_queues_of_workers() {
        assert_eq!(after("rss", spread(&[(0, 32), (1, 32), (2, 32), (3, 32)])).0, Good);
        assert_eq!(after("rss", spread(&[(0, 33), (1, 33), (2, 32), (3, 32)])).0, Good);
        let (level, text) = after("rss", spread(&[(0, 64), (1, 64), (4, 1)]));
        assert!(level == Warn && text.contains("beyond the 4"), "{text}");
        let (level, text) = after("rss", spread(&[(0, 64), (1, 64)]));
        assert!(level == Warn && text.contains("ethtool -X eth0 equal 4"), "{text}");
        assert_eq!(after("rss", spread(&[(0, 60), (1, 32), (2, 32), (3, 4)])).0, Note);
        assert_eq!(after("rss", spread(&[])).0, Good);
    }

    #[test]
    fn a_port_with_one_queue_spreads_nothing() {
        let (level, _) = after("rss", |machine| {
            spread(&[(7, 1)])(machine);
            has(machine, 1);
            machine.plan.workers = 1;
        });
        assert_eq!(level, Good);
    }

    #[test]
    fn udp_is_spread_by_ports_too() {
        let by = |addresses: bool, ports: bool| {
            move |machine: &mut Machine| {
                let spreading = machine.ports[0].spreading.as_mut().unwrap().as_mut().unwrap();
                spreading.udp = [Some(HashFields { addresses, ports }), None];
            }
        };
        assert_eq!(after("flow-hash", by(true, true)).0, Good);
        let (level, text) = after("flow-hash", by(true, false));
        assert_eq!(level, Warn);
        assert!(text.contains("ethtool -N eth0 rx-flow-hash udp4 sdfn"), "{text}");
        assert!(!text.contains("rx-flow-hash udp6"), "{text}");
        let (level, text) = after("flow-hash", by(false, true));
        assert!(level == Warn && text.contains("neither address"), "{text}");
        let (level, _) = after("flow-hash", |machine| {
            machine.ports[0].spreading.as_mut().unwrap().as_mut().unwrap().udp = [None; 2];
        });
        assert_eq!(level, Note);
    }
}
