//! Workers' cores, and what else wants to run on them.

use std::collections::{BTreeMap, BTreeSet};

use super::machine::{Cpu, Interrupt, Machine, Port};
use super::{Finding, HOST, count};

/// All checks of the CPUs.
pub fn examine(machine: &Machine) -> Vec<Finding> {
    let cpus = match &machine.host.cpus {
        Ok(cpus) => cpus,
        Err(why) => return vec![Finding::unread("worker-cores", HOST, "the CPUs", why)],
    };
    let Some(cores) = machine.worker_cores() else {
        let text = "workers are not pinned, or their number is not known";
        return vec![Finding::note("worker-cores", HOST, text)];
    };
    vec![
        worker_cores(cpus, &cores),
        siblings(cpus, &cores),
        governor(cpus, &cores),
        irqbalance(machine),
        isolation(machine, &cores),
    ]
}

/// Checks of the CPUs that are a port's matter.
pub fn examine_port(machine: &Machine, port: &Port) -> Vec<Finding> {
    let Some(cores) = machine.worker_cores() else { return Vec::new() };
    vec![numa(machine, port, &cores), interrupts(machine, port, &cores)]
}

fn worker_cores(cpus: &BTreeMap<u16, Cpu>, cores: &[u16]) -> Finding {
    const CHECK: &str = "worker-cores";
    let absent: Vec<_> = cores.iter().filter(|core| !cpus.contains_key(core)).collect();
    if let Some(core) = absent.first() {
        return Finding::fail(CHECK, HOST, format!("core {core} of dataplane.cores is not online"))
            .advise(format!("name cores that are: {}", list(cpus.keys().copied())));
    }
    let distinct: BTreeSet<_> = cores.iter().collect();
    let text = format!("{} on {}", count(cores.len() as u64, "worker"), plural(cores));
    if distinct.len() < cores.len() {
        return Finding::warn(CHECK, HOST, format!("{text}: some share one"))
            .advise("set dataplane.workers to at most the number of cores, or name more cores");
    }
    Finding::ok(CHECK, HOST, text)
}

fn siblings(cpus: &BTreeMap<u16, Cpu>, cores: &[u16]) -> Finding {
    const CHECK: &str = "hyper-threads";
    let is_shared = |core: &&u16| {
        let siblings = cpus.get(core).map(|cpu| cpu.siblings.as_slice()).unwrap_or_default();
        siblings.iter().any(|other| other != *core && cores.contains(other))
    };
    let shared: Vec<u16> = cores.iter().filter(is_shared).copied().collect();
    if shared.is_empty() {
        return Finding::ok(CHECK, HOST, "no two workers share a core's hyper-threads");
    }
    // One of each core: that is where workers do not share anything.
    let mut firsts = Vec::new();
    for (core, cpu) in cpus {
        if !cpu.siblings.iter().any(|other| firsts.contains(other)) {
            firsts.push(*core);
        }
    }
    let text = format!(
        "workers on {} share cores: together they do little more than one",
        plural(&shared)
    );
    Finding::note(CHECK, HOST, text).advise(format!(
        "one worker a core is steadier: dataplane.cores = [{}]",
        list(firsts.into_iter().take(cores.len()))
    ))
}

fn governor(cpus: &BTreeMap<u16, Cpu>, cores: &[u16]) -> Finding {
    const CHECK: &str = "cpu-governor";
    const FAST: &str = "performance";
    let slow = cores.iter().find_map(|core| {
        let governor = cpus.get(core)?.governor.as_deref()?;
        (governor != FAST).then_some((core, governor))
    });
    let Some((core, governor)) = slow else {
        return Finding::ok(CHECK, HOST, "workers' cores run as fast as they can");
    };
    let text = format!("core {core} has the frequency governor {governor}: it is slow to speed up");
    Finding::warn(CHECK, HOST, text)
        .advise("let workers' cores run at full speed")
        .command(format!("cpupower -c {} frequency-set -g {FAST}", list(cores.iter().copied())))
}

fn irqbalance(machine: &Machine) -> Finding {
    const CHECK: &str = "irqbalance";
    match &machine.host.irqbalance {
        Ok(false) => Finding::ok(CHECK, HOST, "irqbalance does not run"),
        Ok(true) => {
            Finding::warn(CHECK, HOST, "irqbalance runs and moves interrupts between cores")
                .advise("stop it, or keep it off the workers' cores (IRQBALANCE_BANNED_CPULIST)")
                .command("systemctl disable --now irqbalance")
        }
        Err(why) => Finding::unread(CHECK, HOST, "the list of processes", why),
    }
}

fn isolation(machine: &Machine, cores: &[u16]) -> Finding {
    const CHECK: &str = "isolation";
    let (isolated, tickless) = match (&machine.host.isolated, &machine.host.tickless) {
        (Ok(isolated), Ok(tickless)) => (isolated, tickless),
        (Err(why), _) | (_, Err(why)) => {
            return Finding::unread(CHECK, HOST, "isolated CPUs", why);
        }
    };
    let online = machine.host.cpus.as_ref().map_or(0, BTreeMap::len);
    if cores.iter().all(|core| isolated.contains(core)) {
        let ticks =
            if cores.iter().all(|core| tickless.contains(core)) { ", nor a tick" } else { "" };
        return Finding::ok(CHECK, HOST, format!("nothing else runs on the workers' cores{ticks}"));
    }
    if cores.len() >= online {
        return Finding::ok(CHECK, HOST, "workers are on every core: there is none to isolate");
    }
    let list = list(cores.iter().copied());
    Finding::note(CHECK, HOST, "other programs may run on the workers' cores").advise(format!(
        "where jitter matters, keep them off: isolcpus={list} nohz_full={list} on the kernel's \
         command line, and dataplane.cores = [{list}]: nobody gets such cores without asking"
    ))
}

fn numa(machine: &Machine, port: &Port, cores: &[u16]) -> Finding {
    const CHECK: &str = "numa";
    let subject = &port.interface;
    let cpus = machine.host.cpus.as_ref().ok();
    let node_of = |core: &u16| cpus.and_then(|cpus| cpus.get(core)).and_then(|cpu| cpu.node);
    let Some(node) = port.numa_node else {
        return Finding::ok(CHECK, subject, "belongs to no NUMA node");
    };
    let far: Vec<u16> =
        cores.iter().filter(|core| node_of(core).is_some_and(|of| of != node)).copied().collect();
    if far.is_empty() {
        return Finding::ok(CHECK, subject, format!("is on NUMA node {node}, as its workers are"));
    }
    let near: Vec<u16> = cpus
        .into_iter()
        .flatten()
        .filter(|(_, cpu)| cpu.node == Some(node))
        .map(|(core, _)| *core)
        .collect();
    let text = format!("is on NUMA node {node}, and workers on {} are not", plural(&far));
    Finding::warn(CHECK, subject, text)
        .advise(format!("run workers near it: dataplane.cores = [{}]", list(near)))
}

fn interrupts(machine: &Machine, port: &Port, cores: &[u16]) -> Finding {
    const CHECK: &str = "interrupts";
    let subject = &port.interface;
    let interrupts = match &port.interrupts {
        Ok(interrupts) => interrupts,
        Err(why) => return Finding::unread(CHECK, subject, "its interrupts", why),
    };
    if interrupts.is_empty() {
        return Finding::ok(CHECK, subject, "has no interrupts of its own");
    }
    // Worker w has the queues q of every port with q mod workers = w.
    let worker_of = |queue: u16| cores.get(usize::from(queue) % cores.len().max(1)).copied();
    let used = machine.queues(port).unwrap_or(u16::MAX);
    let (mut wrong, mut elsewhere) = (Vec::new(), 0);
    for interrupt in interrupts.iter().filter(|interrupt| interrupt.queue < used) {
        let Some(core) = worker_of(interrupt.queue) else { continue };
        match place(interrupt, core, cores) {
            Place::Worker => {}
            Place::Other => elsewhere += 1,
            Place::AnotherWorker => wrong.push((interrupt, core)),
        }
    }
    if let Some((interrupt, core)) = wrong.first() {
        let text = format!(
            "{} of {} queues interrupt another worker's core (queue {}: core {}, its worker: {core})",
            wrong.len(),
            interrupts.len(),
            interrupt.queue,
            list(interrupt.cpus.iter().copied()),
        );
        return Finding::warn(CHECK, subject, text)
            .advise("interrupt the core of the worker that has the queue")
            .command(bindings(&wrong));
    }
    if elsewhere > 0 {
        let text = format!("{elsewhere} of its queues: interrupts on cores without a worker");
        return Finding::note(CHECK, subject, text).advise(
            "each such queue takes two cores: fine where they are plenty, on the NIC's node",
        );
    }
    Finding::ok(CHECK, subject, "queues interrupt the cores of their workers")
}

/// Where an interrupt comes to.
enum Place {
    Worker,
    AnotherWorker,
    Other,
}

fn place(interrupt: &Interrupt, core: u16, cores: &[u16]) -> Place {
    if interrupt.cpus == [core] {
        Place::Worker
    } else if interrupt.cpus.iter().any(|cpu| *cpu != core && cores.contains(cpu)) {
        Place::AnotherWorker
    } else {
        Place::Other
    }
}

fn bindings(wrong: &[(&Interrupt, u16)]) -> String {
    let bind = |(interrupt, core): &(&Interrupt, u16)| {
        format!("echo {core} > /proc/irq/{}/smp_affinity_list", interrupt.number)
    };
    wrong.iter().map(bind).collect::<Vec<_>>().join("; ")
}

/// `core 3`, or `cores 0-2, 5`.
fn plural(cores: &[u16]) -> String {
    let distinct: BTreeSet<u16> = cores.iter().copied().collect();
    let noun = if distinct.len() == 1 { "core" } else { "cores" };
    format!("{noun} {}", list(distinct))
}

fn list(cores: impl IntoIterator<Item = u16>) -> String {
    cores.into_iter().map(|core| core.to_string()).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::super::Level::{self, Fail, Note, Ok as Good, Warn};
    use super::super::sound::{find, machine};
    use super::*;

    /// The level, and all that is said, of a check of a machine that was changed.
    fn after(check: &str, subject: &str, change: impl Fn(&mut Machine)) -> (Level, String) {
        let mut machine = machine();
        change(&mut machine);
        find(&machine, check, subject)
    }

    #[test]
    fn a_core_that_is_not_online_fails() {
        let (level, text) = after("worker-cores", HOST, |machine| {
            machine.running.as_mut().unwrap().cores = vec![Some(0), Some(64)];
        });
        assert_eq!(level, Fail, "{text}");
        assert!(text.contains("core 64") && text.contains("0,1,2,3,4,5,6,7"), "{text}");
    }

    #[test]
    fn workers_that_share_a_core_are_warned_of() {
        let (level, text) = after("worker-cores", HOST, |machine| {
            machine.running.as_mut().unwrap().cores = vec![Some(0), Some(0)];
        });
        assert!(level == Warn && text.contains("share one"), "{text}");
        let (level, text) = after("worker-cores", HOST, |_| {});
        assert!(level == Good && text.contains("4 workers on cores 0,1,2,3"), "{text}");
    }

    #[test]
    fn hyper_threads_of_one_core_are_noted() {
        let share = |machine: &mut Machine| {
            for (core, cpu) in machine.host.cpus.as_mut().unwrap() {
                cpu.siblings = vec![core & !1, core | 1];
            }
        };
        let (level, text) = after("hyper-threads", HOST, share);
        assert_eq!(level, Note);
        assert!(text.contains("cores 0,1,2,3") && text.contains("[0,2,4,6]"), "{text}");
        let (level, _) = after("hyper-threads", HOST, |machine| {
            share(machine);
            machine.running.as_mut().unwrap().cores = vec![Some(0), Some(2)];
        });
        assert_eq!(level, Good);
    }

    #[test]
    fn a_governor_that_saves_power_is_warned_of() {
        let govern = |governor: &'static str| {
            move |machine: &mut Machine| {
                let cpu = machine.host.cpus.as_mut().unwrap().get_mut(&3).unwrap();
                cpu.governor = Some(governor.to_owned());
            }
        };
        let (level, text) = after("cpu-governor", HOST, govern("powersave"));
        assert!(level == Warn && text.contains("cpupower -c 0,1,2,3"), "{text}");
        assert_eq!(after("cpu-governor", HOST, govern("performance")).0, Good);
    }

    #[test]
    fn irqbalance_is_warned_of() {
        let (level, text) = after("irqbalance", HOST, |machine| machine.host.irqbalance = Ok(true));
        assert!(level == Warn && text.contains("disable --now irqbalance"), "{text}");
        assert_eq!(after("irqbalance", HOST, |_| {}).0, Good);
    }

    #[test]
    fn cores_that_others_use_are_noted() {
        let (level, text) = after("isolation", HOST, |machine| machine.host.isolated = Ok(vec![]));
        assert!(level == Note && text.contains("isolcpus=0,1,2,3"), "{text}");
        let (level, text) = after("isolation", HOST, |machine| {
            machine.host.isolated = Ok(vec![]);
            machine.running.as_mut().unwrap().cores = (0..8).map(Some).collect();
        });
        assert!(level == Good && text.contains("none to isolate"), "{text}");
        assert_eq!(after("isolation", HOST, |_| {}).0, Good);
    }

    #[test]
    fn a_nic_far_from_its_workers_is_warned_of() {
        let (level, text) = after("numa", "eth0", |machine| machine.ports[0].numa_node = Some(1));
        assert_eq!(level, Warn);
        assert!(text.contains("cores 0,1,2,3") && text.contains("cores = [4,5,6,7]"), "{text}");
        let (level, _) = after("numa", "eth0", |machine| machine.ports[0].numa_node = None);
        assert_eq!(level, Good);
        assert_eq!(after("numa", "eth0", |_| {}).0, Good);
    }

    #[test]
    fn queues_interrupt_their_workers_or_it_is_said() {
        let at = |cpus: &'static [u16]| {
            move |machine: &mut Machine| {
                machine.ports[0].interrupts.as_mut().unwrap()[1].cpus = cpus.to_vec();
            }
        };
        let (level, text) = after("interrupts", "eth0", at(&[0]));
        assert_eq!(level, Warn);
        assert!(text.contains("queue 1: core 0, its worker: 1"), "{text}");
        assert!(text.contains("echo 1 > /proc/irq/101/smp_affinity_list"), "{text}");
        assert_eq!(after("interrupts", "eth0", at(&[1, 2])).0, Warn, "it may come to another's");
        assert_eq!(after("interrupts", "eth0", at(&[7])).0, Note);
        assert_eq!(after("interrupts", "eth0", at(&[1])).0, Good);
    }

    #[test]
    fn queues_that_are_not_used_may_interrupt_anything() {
        let (level, _) = after("interrupts", "eth0", |machine| {
            machine.plan.ports[0].queues = 2;
            machine.running.as_mut().unwrap().cores = vec![Some(0), Some(1)];
        });
        assert_eq!(level, Good, "queues 2 and 3 interrupt cores 2 and 3");
    }

    #[test]
    fn what_is_not_pinned_is_noted() {
        let (level, _) = after("worker-cores", HOST, |machine| {
            machine.running.as_mut().unwrap().cores[0] = None;
        });
        assert_eq!(level, Note);
    }
}
